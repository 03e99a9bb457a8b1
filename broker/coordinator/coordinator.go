package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	// ErrLoading says that groups are not loaded yet, or that too much is in flight; the client retries.
	ErrLoading = errors.New("coordinator is loading")

	// ErrStopped says that the broker is stopping; the client looks for the coordinator again.
	ErrStopped = errors.New("coordinator has stopped")

	// ErrNotCoordinator says that another broker coordinates the group, or nobody does; the client looks for the coordinator again.
	ErrNotCoordinator = errors.New("this broker does not coordinate the group")

	// ErrCutOff says that this broker has not heard from the controller for so long that others may coordinate its groups by
	// now; the client looks for the coordinator again.
	ErrCutOff = errors.New("this broker is cut off from its cluster")
)

// Quorum is what the coordinator needs of metadata/quorum; see there.
type Quorum interface {
	Ready(ctx context.Context) error
	Image() *image.Image

	// ProposeAsync applies in the order of calls. done may be called from any goroutine, even before ProposeAsync
	// returns; when it is, the image shows the change.
	ProposeAsync(c command.Command, done func(result any, err error))
}

// Config are the coordinator's settings.
type Config struct {
	// Node is the broker whose shards are coordinated here.
	Node kafka.BrokerID

	// Leased tells whether this broker may still believe its image about what it coordinates. Lock-free; nil: always.
	Leased func() bool

	Limits              group.Limits
	OffsetMetadataBytes int           // offset.metadata.max.bytes
	OffsetsRetention    time.Duration // offsets.retention.minutes
	CheckInterval       time.Duration // offsets.retention.check.interval.ms
	MaxGroups           int           // groups in memory at once
	MaxInFlight         int           // offset commits proposed and not yet applied
}

// DefaultConfig is Kafka's, with bounds where Kafka has none.
func DefaultConfig() Config {
	return Config{
		Limits:              group.DefaultLimits(),
		OffsetMetadataBytes: 4096,
		OffsetsRetention:    7 * 24 * time.Hour,
		CheckInterval:       10 * time.Minute,
		MaxGroups:           100_000,
		MaxInFlight:         1 << 15, // half of what the quorum queues
	}
}

// groupType marks this protocol's groups in the image.
const groupType = "classic"

// MaxNameBytes bounds a group's name. Kafka's bound is what a string of its protocol holds; a name is a key in every
// broker's memory, so ours is lower.
const MaxNameBytes = 1024

// linger is how long a group without members stays in memory after it was used.
const linger = 30 * time.Second

// Coordinator is safe for concurrent use. Nothing is served until Run has loaded the groups.
type Coordinator struct {
	cfg    Config
	quorum Quorum
	log    *slog.Logger

	phase     atomic.Int32 // loading, serving, stopped
	following sync.Mutex   // held while the shards follow an image
	shards    [image.CoordinatorShards]shard
	groups    atomic.Int64 // entries in all shards
	inFlight  atomic.Int64 // offset commits
	timers    timers
	inbox     inbox
}

const (
	loading int32 = iota
	serving
	stopped
)

// shard is the groups that are placed together, on this broker or on another.
type shard struct {
	mu     sync.Mutex
	groups map[string]*entry

	// placed is the newest placement that was followed. Invariant: without mine there are no groups in memory.
	placed image.Coordinator
	mine   bool
}

// entry is a group in memory. Its fields are guarded by the shard's lock, but for commits.
type entry struct {
	name  string
	shard *shard
	g     *group.Group

	dropped  bool         // the shard has moved away: outcomes that are still to come are nobody's
	persists int          // group states and deletions in flight
	commits  atomic.Int32 // offset commands in flight; counted up under the lock, down by the quorum's callback

	wake time.Time // when Run is to look at it; what was last told to timers
	slot slot
}

// quiet: nothing of the entry is in flight and the image says all there is to say.
func (e *entry) quiet() bool { return e.persists == 0 && e.commits.Load() == 0 && e.g.Idle() }

// New returns a coordinator that serves once Run has loaded.
func New(cfg Config, q Quorum, log *slog.Logger) *Coordinator {
	c := &Coordinator{cfg: cfg, quorum: q, log: log}
	for i := range c.shards {
		c.shards[i].groups = map[string]*entry{}
	}
	c.timers.wake = make(chan struct{}, 1)
	c.inbox.wake = make(chan struct{}, 1)
	return c
}

// Config returns the settings.
func (c *Coordinator) Config() Config { return c.cfg }

// Serving is nil while groups are served; ErrLoading before, ErrStopped after.
func (c *Coordinator) Serving() error {
	switch c.phase.Load() {
	case loading:
		return ErrLoading
	case stopped:
		return ErrStopped
	}
	if c.cfg.Leased != nil && !c.cfg.Leased() {
		return ErrCutOff
	}
	return nil
}

// Serves is nil while this broker coordinates a group: what its image shows of it is then all that there is.
func (c *Coordinator) Serves(name string) error {
	if err := c.Serving(); err != nil {
		return err
	}
	s := c.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serves()
}

// serves says no when the shard is elsewhere. Under s.mu.
func (s *shard) serves() error {
	if !s.mine {
		return ErrNotCoordinator
	}
	return nil
}

// checkName refuses names that no honest client has. Offsets may be kept under the empty name, as Kafka allows for
// old clients; membership may not.
func checkName(name string, allowEmpty bool) error {
	if name == "" && !allowEmpty || len(name) > MaxNameBytes || !utf8.ValidString(name) {
		return group.ErrInvalidGroupID
	}
	return nil
}

func (c *Coordinator) shardOf(name string) *shard {
	return &c.shards[image.CoordinatorShard(name)]
}

// with runs f on the group under its lock, then carries out the effects. The group is loaded from the image, or new
// when there is none; it stays in memory if f leaves something in it.
func (c *Coordinator) with(name string, f func(e *entry, now time.Time, out *group.Effects) error) error {
	if err := c.Serving(); err != nil {
		return err
	}
	var out group.Effects
	err := c.locked(name, func(e *entry, now time.Time) error {
		err := f(e, now, &out)
		c.settle(e, now, out.Persists)
		return err
	})
	c.deliver(name, &out)
	return err
}

// locked finds the group and runs f under its lock.
func (c *Coordinator) locked(name string, f func(e *entry, now time.Time) error) error {
	s := c.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.Serving(); err != nil { // again: what is parked after the end would never be answered
		return err
	}
	if err := s.serves(); err != nil {
		return err
	}
	now := time.Now()
	e, err := c.find(s, name, now)
	if err != nil {
		return err
	}
	return f(e, now)
}

// find returns the group in memory, or one made from the image that is not yet kept in memory. Under s.mu.
func (c *Coordinator) find(s *shard, name string, now time.Time) (*entry, error) {
	if e := s.groups[name]; e != nil {
		return e, nil
	}
	var state []byte
	if ig, ok := c.quorum.Image().Group(name); ok {
		if ig.Type != "" && ig.Type != groupType {
			return nil, fmt.Errorf("%w: it is a %s group", group.ErrInconsistentProtocol, ig.Type)
		}
		state = ig.State
	}
	g, err := group.Load(&c.cfg.Limits, now, state)
	if err != nil {
		return nil, fmt.Errorf("load group %q: %w", name, err)
	}
	e := &entry{name: name, shard: s, g: g}
	e.slot.index = -1
	return e, nil
}

// exists tells whether a group is known at all, in memory or in the image. Under the shard's lock.
func (c *Coordinator) exists(e *entry) bool {
	if e.g.Exists() || e.commits.Load() > 0 {
		return true
	}
	_, ok := c.quorum.Image().Group(e.name)
	return ok
}

// settle proposes what the machine wants kept, keeps or forgets the entry, and sets its deadline. Under the shard's lock.
func (c *Coordinator) settle(e *entry, now time.Time, persists []group.Persist) {
	for _, p := range persists {
		e.persists++
		seq := p.Seq
		c.quorum.ProposeAsync(command.PutGroup{Group: e.name, Type: groupType, State: p.State, Coordinator: e.shard.placed.Epoch}, func(_ any, err error) {
			c.inbox.add(note{e: e, seq: seq, err: outcome(err)})
		})
	}
	known := e.shard.groups[e.name] == e
	if !known {
		if e.quiet() {
			return
		}
		e.shard.groups[e.name] = e
		c.groups.Add(1)
	}
	wake := e.g.Next()
	if e.g.Idle() {
		if wake = e.wake; wake.IsZero() || !wake.After(now) {
			wake = now.Add(linger)
		}
	}
	if wake != e.wake {
		e.wake = wake
		c.timers.set(e, wake)
	}
}

// forget drops an entry from memory. Under the shard's lock.
func (c *Coordinator) forget(e *entry) {
	if e.shard.groups[e.name] == e {
		delete(e.shard.groups, e.name)
		c.groups.Add(-1)
	}
	e.wake = time.Time{}
	c.timers.set(e, time.Time{})
}

// room refuses another group in memory when there are too many: members of groups that exist are served, new groups wait.
func (c *Coordinator) room(e *entry) error {
	if e.shard.groups[e.name] != e && c.groups.Load() >= int64(c.cfg.MaxGroups) {
		return ErrLoading
	}
	return nil
}

// deliver sends replies and logs events; no lock is held.
func (c *Coordinator) deliver(name string, out *group.Effects) {
	for _, r := range out.Joins {
		r.Ticket.(func(group.JoinResult))(r.JoinResult)
	}
	for _, r := range out.Syncs {
		r.Ticket.(func(group.SyncResult))(r.SyncResult)
	}
	for _, e := range out.Events {
		level := slog.LevelDebug
		if e.Kind == group.GroupStable || e.Kind == group.MemberFailed || e.Kind == group.MemberUnfit {
			level = slog.LevelInfo
		}
		c.log.LogAttrs(context.Background(), level, e.Kind.String(), slog.String("group", name),
			slog.Int("generation", int(e.Generation)), slog.Int("members", e.Members),
			slog.String("member", e.Member), slog.String("reason", e.Reason))
	}
}
