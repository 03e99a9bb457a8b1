package shareleader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/broker/inbox"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	// ErrStopped says that the broker is stopping.
	ErrStopped = errors.New("share leader has stopped")

	// ErrNotAvailable says that what has become of records may, or may not, have been kept; they may come again.
	ErrNotAvailable = errors.New("what has become of the records could not be kept")
)

// Quorum is what the leader needs of metadata/quorum; see there.
type Quorum interface {
	Image() *image.Image
	ProposeAsync(c command.Command, done func(result any, err error))
}

// Log is what the leader asks of a *partition.Partition; see there.
type Log interface {
	Read(partition.ReadRequest) (partition.ReadResult, error)
	Subscribe(partition.Listener) (cancel func())
	ListOffset(ctx context.Context, timestamp int64, committed bool) (partition.Listed, error)
	LeaderEpoch() kafka.LeaderEpoch
	LogStart() kafka.Offset
	HighWatermark() kafka.Offset
	LastStable() kafka.Offset
}

// Config are the leader's settings.
type Config struct {
	Node kafka.BrokerID
	// Find returns nil when this broker does not host a partition.
	Find func(kafka.Partition) Log
	// Leased tells whether this broker may still believe its image about what it leads. Lock-free; nil: always.
	Leased func() bool
	// Settings of a group, as they are now.
	Settings func(m *image.Image, group string) Settings
	// Sessions is group.share.max.share.sessions.
	Sessions int
	// Forget ends what is read ahead from the bucket for a share. May be nil.
	Forget func(stream any)
}

// Settings are a group's.
type Settings struct {
	share.Limits
	Committed bool // share.isolation.level is read_committed
	Renews    bool // share.renew.acknowledge.enable
	// Reset is where a group begins that has not been there yet, as a timestamp of ListOffsets; negative ones are the special ones.
	Reset func(now time.Time) int64
}

// Leader is safe for concurrent use. Changes are made durable once Run has begun.
type Leader struct {
	cfg    Config
	quorum Quorum
	log    *slog.Logger
	said   *hush.Log // what members cause

	stopped atomic.Bool
	mu      sync.Mutex
	entries map[key]*entry
	aside   aside.Set[key]      // shares that have broken a rule
	pending map[*fetch]struct{} // who waits for a group that this broker does not know yet
	sessions
	inbox *inbox.Box[note]
	alarm alarm
}

// key is a group's share of a partition.
type key struct {
	group string
	at    kafka.Partition
}

// New returns a leader.
func New(cfg Config, q Quorum, log *slog.Logger) *Leader {
	l := &Leader{cfg: cfg, quorum: q, log: log, said: hush.New(log), entries: map[key]*entry{}, pending: map[*fetch]struct{}{}}
	l.sessions.open = map[sessionKey]*session{}
	l.inbox = inbox.New[note]()
	l.alarm.wake = make(chan struct{}, 1)
	return l
}

// errCutOff says that another broker may lead by now, without this one having heard of it.
var errCutOff = fmt.Errorf("%w: it does not hear from its cluster", partition.ErrNotLeader)

// leased is nil while nobody can lead in this broker's place that it has not heard of, but for leaders that are moved while their brokers are well.
func (l *Leader) leased() error {
	if l.cfg.Leased != nil && !l.cfg.Leased() {
		return errCutOff
	}
	return nil
}

// errUnknownGroup says that the image has no such share group, yet or any more.
var errUnknownGroup = image.ErrUnknownGroup

// find is the share that this broker leads; it is made from the image if need be. The entry is not locked, and may be dropped meanwhile.
func (l *Leader) find(k key) (*entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.entries[k]; e != nil {
		return e, nil
	}
	switch {
	case l.stopped.Load():
		return nil, ErrStopped
	case l.aside.Has(k, time.Now()):
		return nil, errAside
	}
	m := l.quorum.Image()
	epoch, err := l.leads(m, k)
	if err != nil {
		return nil, err
	}
	log := l.cfg.Find(k.at)
	if log == nil || log.LeaderEpoch() != epoch {
		return nil, partition.ErrNotLeader
	}
	e := &entry{l: l, key: k, log: log, epoch: epoch, used: time.Now()}
	if s, ok := m.Share(k.group, k.at); ok {
		e.p, e.version = share.LoadPartition(s.Start, s.Runs), s.Version
	}
	e.cancel = log.Subscribe(e)
	l.entries[k] = e
	return e, nil
}

// leads is the epoch under which this broker leads a share's partition, as an image shows it.
func (l *Leader) leads(m *image.Image, k key) (kafka.LeaderEpoch, error) {
	p, ok := m.Partition(k.at)
	switch {
	case !ok:
		return 0, image.ErrUnknownPartition
	case p.Leader != l.cfg.Node:
		return 0, partition.ErrNotLeader
	}
	if g, ok := m.Group(k.group); !ok || g.Type != share.GroupType || !g.Kept() {
		return 0, errUnknownGroup
	}
	return p.LeaderEpoch, nil
}

// forget takes an entry out of memory. No lock is held.
func (l *Leader) forget(e *entry) {
	l.mu.Lock()
	if l.entries[e.key] == e {
		delete(l.entries, e.key)
	}
	l.mu.Unlock()
	e.cancel()
	if l.cfg.Forget != nil {
		l.cfg.Forget(e)
	}
}

func (l *Leader) all() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*entry, 0, len(l.entries))
	for _, e := range l.entries {
		list = append(list, e)
	}
	return list
}
