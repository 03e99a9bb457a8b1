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

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/broker/inbox"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/streams"
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
	Consumer            ConsumerConfig
	Share               ShareConfig
	Streams             StreamsConfig
	OffsetMetadataBytes int           // offset.metadata.max.bytes
	OffsetsRetention    time.Duration // offsets.retention.minutes
	CheckInterval       time.Duration // offsets.retention.check.interval.ms
	// Clock is what the age of offsets is told by; nil: time.Now. Sessions and rebalances are durations, and have nothing to do with it.
	Clock       func() time.Time
	MaxGroups   int // groups in memory at once
	MaxInFlight int // offset commits proposed and not yet applied
}

// DefaultConfig is Kafka's, with bounds where Kafka has none.
func DefaultConfig() Config {
	return Config{
		Limits:              group.DefaultLimits(),
		Consumer:            defaultConsumerConfig(),
		Share:               defaultShareConfig(),
		Streams:             defaultStreamsConfig(),
		OffsetMetadataBytes: 4096,
		OffsetsRetention:    7 * 24 * time.Hour,
		CheckInterval:       10 * time.Minute,
		MaxGroups:           100_000,
		MaxInFlight:         1 << 15, // half of what the quorum queues
	}
}

// classicType marks the classic protocol's groups in the image.
const classicType = "classic"

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
	said   *hush.Log // what members cause, who may come and go as fast as they like

	phase     atomic.Int32 // loading, serving, stopped
	following sync.Mutex   // held while the shards follow an image
	shards    [image.CoordinatorShards]shard
	groups    atomic.Int64 // entries in all shards
	inFlight  atomic.Int64 // offset commits
	timers    timers
	inbox     *inbox.Box[note]
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

	aside aside.Set[string] // until when nobody is let into groups that have broken their rules
}

// entry is a group in memory. Its fields are guarded by the shard's lock, but for commits.
type entry struct {
	name  string
	shard *shard
	g     machine // of one protocol at a time

	// version of the state that the machine was loaded from or has made, where that state is by parts.
	version uint64

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
	c := &Coordinator{cfg: cfg, quorum: q, log: log, said: hush.NewUpTo(eventLines, log)}
	for i := range c.shards {
		c.shards[i].groups = map[string]*entry{}
	}
	c.timers.wake = make(chan struct{}, 1)
	c.inbox = inbox.New[note]()
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

// checkHeartbeat refuses what no group would take, before a group is looked for, as Kafka does: names, and then what check finds. Of the newer
// protocols' groups a name of blanks is none, and the request is what is not valid, not the name.
func checkHeartbeat(name string, invalid error, check func() error) error {
	if group.Blank(name) {
		return fmt.Errorf("%w: no group id", invalid)
	}
	if err := checkName(name, false); err != nil {
		return err
	}
	return check()
}

func (c *Coordinator) shardOf(name string) *shard {
	return &c.shards[image.CoordinatorShard(name)]
}

// with runs f on the group under its lock, then carries out the effects. The group is loaded from the image, or new
// when there is none; it stays in memory if f leaves something in it.
func (c *Coordinator) with(name string, f func(e *entry, now time.Time, out *effects) error) error {
	if err := c.Serving(); err != nil {
		return err
	}
	var out effects
	err := c.locked(name, func(e *entry, now time.Time) error {
		err := f(e, now, &out)
		c.settle(e, now, &out)
		return err
	})
	c.deliver(name, &out)
	return err
}

// find returns the group in memory, or one made from the image that is not yet kept in memory. Under s.mu.
func (c *Coordinator) find(s *shard, name string, now time.Time) (*entry, error) {
	if e := s.groups[name]; e != nil {
		return e, nil
	}
	if s.aside.Has(name, now) {
		return nil, errAside
	}
	e := &entry{name: name, shard: s}
	e.slot.index = -1
	if err := c.restore(e, now); err != nil {
		return nil, err
	}
	return e, nil
}

// restore makes an entry's machine from the image.
func (c *Coordinator) restore(e *entry, now time.Time) error {
	m := c.quorum.Image()
	ig, ok := m.Group(e.name)
	if !ok {
		ig = &image.Group{}
	}
	switch ig.Type {
	case "", classicType:
		g, err := group.Load(&c.cfg.Limits, now, ig.State)
		if err != nil {
			return fmt.Errorf("load group %q: %w", e.name, err)
		}
		e.g, e.version = classicGroup{g}, 0
	case consumer.GroupType:
		g, err := c.loadConsumer(m, ig, now)
		if err != nil {
			return fmt.Errorf("load group %q: %w", e.name, err)
		}
		e.g, e.version = consumerGroup{g}, ig.Version
	case share.GroupType:
		g, err := c.loadShare(m, ig, now)
		if err != nil {
			return fmt.Errorf("load group %q: %w", e.name, err)
		}
		e.g, e.version = shareGroup{g}, ig.Version
	case streams.GroupType:
		g, err := c.loadStreams(m, ig, now)
		if err != nil {
			return fmt.Errorf("load group %q: %w", e.name, err)
		}
		e.g, e.version = streamsGroup{g}, ig.Version
	default:
		return fmt.Errorf("%w: it is a %s group", group.ErrInconsistentProtocol, ig.Type)
	}
	return nil
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
func (c *Coordinator) settle(e *entry, now time.Time, out *effects) {
	if out != nil {
		c.downgrade(e, now, out)
		for _, p := range out.classic.Persists {
			c.propose(e, p.Seq, command.PutGroup{Group: e.name, Type: classicType, State: p.State, Coordinator: e.shard.placed.Epoch})
		}
		change := func(kind string, seq uint64, put []command.GroupPart, gone []string) {
			c.propose(e, seq, command.ChangeGroup{Group: e.name, Type: kind, Base: e.version, Put: put, Delete: gone, Coordinator: e.shard.placed.Epoch})
		}
		if p := out.consumer.Change; p != nil {
			change(consumer.GroupType, p.Seq, p.Put, p.Delete)
		}
		if p := out.share.Change; p != nil {
			change(share.GroupType, p.Seq, p.Put, p.Delete)
		}
		if p := out.streams.Change; p != nil {
			change(streams.GroupType, p.Seq, p.Put, p.Delete)
		}
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

// propose has a state of the entry's machine made durable. Under the shard's lock.
func (c *Coordinator) propose(e *entry, seq uint64, state command.Command) {
	e.persists++
	g := e.g
	c.quorum.ProposeAsync(state, func(_ any, err error) {
		c.inbox.Add(note{e: e, g: g, seq: seq, err: outcome(err)})
	})
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
func (c *Coordinator) deliver(name string, out *effects) {
	for _, r := range out.consumer.Replies {
		r.Ticket.(func(consumer.Reply))(r.Reply)
	}
	for _, r := range out.share.Replies {
		r.Ticket.(func(share.Reply))(r.Reply)
	}
	for _, r := range out.streams.Replies {
		r.Ticket.(func(streams.Reply))(r.Reply)
	}
	for _, joins := range [][]group.JoinReply{out.classic.Joins, out.consumer.Joins} {
		for _, r := range joins {
			r.Ticket.(func(group.JoinResult))(r.JoinResult)
		}
	}
	for _, syncs := range [][]group.SyncReply{out.classic.Syncs, out.consumer.Syncs} {
		for _, r := range syncs {
			r.Ticket.(func(group.SyncResult))(r.SyncResult)
		}
	}
	c.report(name, out.classic.Events)
	c.report(name, out.consumer.Events)
	c.report(name, out.share.Events)
	c.report(name, out.streams.Events)
}

// eventLines is how many lines of a kind are written in a minute: a client that joins and does not sync, with a timeout of a millisecond, makes 25,000
// a second.
const eventLines = 100

func (c *Coordinator) report(name string, events []group.Event) {
	for _, e := range events {
		level := slog.LevelDebug
		if e.Kind == group.GroupStable || e.Kind == group.MemberFailed || e.Kind == group.MemberUnfit {
			level = slog.LevelInfo
		}
		c.said.Say(level, e.Kind.String(), nil, e.Kind.String(), slog.String("group", name),
			slog.Int("generation", int(e.Generation)), slog.Int("members", e.Members),
			slog.String("member", e.Member), slog.String("reason", e.Reason))
	}
}
