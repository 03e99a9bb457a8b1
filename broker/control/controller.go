package control

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Leader is who leads the metadata quorum, as this node knows it.
type Leader struct {
	ID    kafka.BrokerID // kafka.NoBroker: nobody is known to
	Term  uint64
	Ready bool // this node leads, and its image holds everything that was committed before
}

// Quorum is what control needs of metadata/quorum; see there.
type Quorum interface {
	Image() *image.Image
	Propose(ctx context.Context, c command.Command) (result any, err error)
	ProposeAsync(c command.Command, done func(result any, err error))
	Subscribe(f func(old, new *image.Image, ch image.Changes)) *image.Image
	// Leader is who leads, and a channel that is closed when that has changed.
	Leader() (Leader, <-chan struct{})
	// LastContact is when this node has last heard of a leader, as a follower.
	LastContact() time.Time
	// TransferLeadership hands the quorum's leadership to whichever voter is furthest.
	TransferLeadership(ctx context.Context) error
}

// Found is what a look at a broker has found.
type Found uint8

const (
	Silent Found = iota // nothing answers in time
	Gone                // its port refuses: the process is dead
	There               // it answers
)

// ErrNotLeader says that only the quorum's leader answers heartbeats.
var ErrNotLeader = errors.New("this broker is not the controller")

// Peers is the way to the other brokers; package broker has it from broker/peer.
type Peers interface {
	// Heartbeat asks the controller; its error wraps ErrNotLeader when that is what the other says.
	Heartbeat(ctx context.Context, to kafka.BrokerID, body []byte) ([]byte, error)
	// Probe looks whether a broker's process lives.
	Probe(ctx context.Context, node kafka.BrokerID) Found
	// Ping returns when a broker has answered what Answer says there, or its connection has closed.
	Ping(ctx context.Context, node kafka.BrokerID) ([]byte, error)
	// OnClose is to call f, which does not block, when a connection to or from a broker has closed.
	OnClose(f func(kafka.BrokerID))
}

// Config is what the controller and the sessions are told. The same on every broker.
type Config struct {
	Node     kafka.BrokerID
	Settings *config.Broker
	Wall     func() time.Time // the machine's clock; nil: time.Now
}

func (c Config) wall() time.Time {
	if c.Wall != nil {
		return c.Wall()
	}
	return time.Now()
}

func (c Config) timeout() time.Duration  { return c.Settings.Duration("broker.session.timeout.ms") }
func (c Config) interval() time.Duration { return c.Settings.Duration("broker.heartbeat.interval.ms") }

const (
	// ticksPerSession is how often within a session's time the controller looks who is silent, and whether it slept itself.
	ticksPerSession = 12

	// A broker whose connection has closed is looked at so many times, the pauses doubling, while it is not heard.
	probes      = 5
	probePause  = 50 * time.Millisecond
	probeWithin = time.Second

	// A leader that has lost its majority knows it after this at the latest, and answers no heartbeat any more, its own
	// included.
	deposed = 600 * time.Millisecond

	// retryPause is how long the controller waits when a decision was not applied at all.
	retryPause = 100 * time.Millisecond
)

// Controller decides, while this node leads the metadata quorum. Its methods may be called concurrently.
type Controller struct {
	cfg    Config
	quorum Quorum
	peers  Peers // nil: a cluster of one
	log    *slog.Logger

	mu     sync.Mutex
	leads  bool
	live   *liveness
	clocks *clocks
	skews  []Skew // that were warned of
	// ailments are what brokers have told of their partitions.
	ailments map[kafka.BrokerID][]Ailment
	sizes    map[kafka.Partition]int64
	pending  image.Folder // what has changed since the last decision
	all      bool         // everything is to be looked at

	wake   chan struct{} // there is something to decide
	closed chan kafka.BrokerID
}

// NewController returns a controller that acts once Run does.
func NewController(cfg Config, q Quorum, p Peers, log *slog.Logger) *Controller {
	c := &Controller{
		cfg: cfg, quorum: q, peers: p, log: log, live: newLiveness(cfg.timeout()), clocks: newClocks(), sizes: map[kafka.Partition]int64{},
		ailments: map[kafka.BrokerID][]Ailment{}, wake: make(chan struct{}, 1), closed: make(chan kafka.BrokerID, 256),
	}
	q.Subscribe(c.follow)
	if p != nil {
		p.OnClose(func(node kafka.BrokerID) {
			select {
			case c.closed <- node:
			default: // so many at once: silence will tell
			}
		})
	}
	return c
}

// Run decides whenever this node leads the quorum, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	before := kafka.NoBroker
	for {
		now, changed := c.quorum.Leader()
		if now.ID != c.cfg.Node && now.ID != kafka.NoBroker {
			before = now.ID
		}
		if now.Ready {
			during, end := context.WithCancel(ctx)
			var watch sync.WaitGroup
			watch.Go(func() {
				select {
				case <-changed:
				case <-during.Done():
				}
				end()
			})
			c.lead(during, before)
			before = kafka.NoBroker
			end()
			watch.Wait()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// follow is the quorum's subscriber.
func (c *Controller) follow(_, m *image.Image, ch image.Changes) {
	c.mu.Lock()
	if c.leads {
		c.live.follow(m, time.Now())
		c.pending.Add(ch)
		c.all = c.all || len(ch.Brokers)+len(ch.Configs)+len(ch.Topics) > 0
		for _, id := range ch.Topics {
			if _, ok := m.TopicByID(id); !ok {
				maps.DeleteFunc(c.sizes, func(p kafka.Partition, _ int64) bool { return p.Topic == id })
			}
		}
	}
	c.mu.Unlock()
	signal(c.wake)
}

// lead is one leadership; before is who led last.
func (c *Controller) lead(ctx context.Context, before kafka.BrokerID) {
	c.begin(before)
	defer c.end()
	var probing sync.WaitGroup
	defer probing.Wait()
	m := c.quorum.Image()
	m.Brokers(func(b *image.Broker) bool {
		if b.ID != c.cfg.Node && b.State != command.Fenced && c.peers != nil {
			probing.Go(func() { c.look(ctx, b.ID, 1) })
		}
		return true
	})
	tick := time.NewTicker(c.cfg.timeout() / ticksPerSession)
	defer tick.Stop()
	rebalance := time.NewTicker(time.Duration(c.cfg.Settings.Int("leader.imbalance.check.interval.seconds")) * time.Second)
	defer rebalance.Stop()
	last := time.Now()
	for {
		c.decide(ctx)
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case node := <-c.closed:
			if node != c.cfg.Node && state(c.quorum.Image(), node) != command.Fenced {
				probing.Go(func() { c.look(ctx, node, probes) })
			}
		case <-rebalance.C:
			if c.cfg.Settings.Bool("auto.leader.rebalance.enable") {
				c.propose(ctx, controller.Rebalance(c.quorum.Image(), int(c.cfg.Settings.Int("leader.imbalance.per.broker.percentage"))))
			}
		case <-tick.C:
			now := time.Now()
			c.tick(now, now.Sub(last))
			last = now
		}
	}
}

// begin gives everybody the time of a session to be heard. The leader before, if it is still there, has answered its own
// heartbeats for as long as it had a majority: it has that time from then on.
func (c *Controller) begin(before kafka.BrokerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.leads, c.all = true, true
	c.live, c.clocks, c.skews = newLiveness(c.cfg.timeout()), newClocks(), nil
	clear(c.ailments)
	c.live.follow(c.quorum.Image(), now)
	if last := c.quorum.LastContact(); !last.IsZero() && last.Add(deposed).Before(now) {
		c.live.lastHeard(before, last.Add(deposed))
	}
	c.log.Info("controller begins")
}

func (c *Controller) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leads = false
	c.pending = image.Folder{}
	clear(c.sizes)
	c.log.Info("controller ends")
}

// tick notes who is silent. slept is the time since the last one: a controller that was not there itself has heard nobody,
// and fencing everybody for that would stop the cluster.
func (c *Controller) tick(now time.Time, slept time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearSelf(now)
	if slept > c.cfg.timeout()/2 {
		c.live.spare(now)
		c.log.Warn("the controller has slept: everybody has the time of a session to be heard", "slept", slept)
		return
	}
	for _, id := range c.live.expire(now) {
		c.log.Warn("broker is silent: it is fenced", "broker", id, "timeout", c.cfg.timeout())
		c.all = true
	}
}

// hearSelf keeps the controller's own broker alive. Under mu.
func (c *Controller) hearSelf(now time.Time) {
	if b, ok := c.quorum.Image().Broker(c.cfg.Node); ok {
		c.live.hear(b.ID, b.Epoch, now)
	}
}

// look probes a broker whose connection has closed, until it is known to be dead or is heard.
func (c *Controller) look(ctx context.Context, node kafka.BrokerID, times int) {
	pause := probePause
	for i := range times {
		if i > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause *= 2
		}
		b, ok := c.quorum.Image().Broker(node)
		if !ok || b.State == command.Fenced {
			return
		}
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, probeWithin)
		found := c.peers.Probe(within, node)
		cancel()
		c.mu.Lock()
		heard := c.live.heardSince(node, began)
		dead := found == Gone && c.live.bury(node, b.Epoch, began)
		c.all = c.all || dead
		c.mu.Unlock()
		if dead {
			c.log.Warn("broker's process is dead: it is fenced", "broker", node)
			signal(c.wake)
		}
		if dead || heard || ctx.Err() != nil {
			return
		}
	}
}

// decide proposes what the image and the living ask for.
func (c *Controller) decide(ctx context.Context) {
	for ctx.Err() == nil {
		w, scope := c.world()
		if !scope.All && len(scope.Partitions) == 0 {
			return
		}
		cs := controller.Decide(w, scope)
		if len(cs) == 0 {
			cs = c.balanced(w)
		}
		cs = append(cs, c.moved(w)...)
		if len(cs) == 0 {
			return
		}
		if !c.propose(ctx, cs) {
			c.mu.Lock()
			c.all = true
			c.mu.Unlock()
			select {
			case <-time.After(retryPause):
			case <-ctx.Done():
			}
		}
	}
}

// world is what the next decision is made from.
func (c *Controller) world() (controller.World, controller.Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.quorum.Image()
	now := time.Now()
	c.live.follow(m, now)
	c.hearSelf(now)
	ch := c.pending.Take()
	scope := controller.Scope{All: c.all || len(ch.Coordinators) > 0, Partitions: ch.Partitions}
	c.all = false
	dead, heard := map[kafka.BrokerID]kafka.BrokerEpoch{}, map[kafka.BrokerID]bool{}
	for id, p := range c.live.brokers {
		if heard[id] = p.spoke; p.dead {
			dead[id] = p.epoch
		}
	}
	w := c.cfg.world(m)
	w.Heard = func(id kafka.BrokerID) bool { return heard[id] }
	w.Dead = func(id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
		at, ok := dead[id]
		return ok && at == epoch
	}
	if w.Balance {
		sizes := maps.Clone(c.sizes)
		w.Bytes = func(p kafka.Partition) int64 { return sizes[p] }
	}
	return w, scope
}

// World is what decisions are made from, as far as an image and the configuration say it.
func (c Config) world(m *image.Image) controller.World {
	defaults := m.Configs(command.Broker, "")
	moves, err := strconv.Atoi(c.Settings.Dynamic("cluster.moves.max", defaults))
	if err != nil {
		moves = 1
	}
	return controller.World{
		Image: m, Moves: moves, Balance: c.Settings.Dynamic("cluster.balance", defaults) != "off",
		Rules: Rules(c.Settings, m),
	}
}

// Rules are the topics' settings that controller.World wants.
func Rules(settings *config.Broker, m *image.Image) func(string) controller.Rules {
	defaults := m.Configs(command.Broker, "")
	return func(topic string) controller.Rules {
		minISR, unclean, async := settings.Durability(m.Configs(command.Topic, topic), defaults)
		return controller.Rules{MinISR: min(minISR, math.MaxInt32), Unclean: unclean, Async: async}
	}
}

// balanced ends cluster.balance=once when there is nothing left to move. Leaders follow the replicas first: who has asked for it would find the newcomer
// without any until the next look at preferred leaders, minutes later.
func (c *Controller) balanced(w controller.World) []command.Command {
	if !w.Balance || w.Image.Configs(command.Broker, "")["cluster.balance"] != "once" {
		return nil
	}
	if controller.Moving(w.Image) > 0 || len(controller.Plan(w, 1)) > 0 {
		return nil
	}
	if cs := controller.Rebalance(w.Image, 0); len(cs) > 0 {
		return cs
	}
	c.log.Info("cluster is balanced")
	return []command.Command{command.SetConfigs{Type: command.Broker, Delete: []string{"cluster.balance"}}}
}

// moved takes back the throttle that was set for moves when none is under way and none is to come.
func (c *Controller) moved(w controller.World) []command.Command {
	if _, set := w.Image.Configs(command.Broker, "")[ThrottleKey]; !set || w.Balance || controller.Moving(w.Image) > 0 {
		return nil
	}
	draining := false
	w.Image.Brokers(func(b *image.Broker) bool {
		draining = b.Drain && controller.Draining(w.Image, b.ID).Replicas > 0
		return !draining
	})
	if draining {
		return nil
	}
	c.log.Info("nothing is moved any more: the throttle of moves ends")
	return []command.Command{command.SetConfigs{Type: command.Broker, Delete: []string{ThrottleKey}}}
}

// ThrottleKey bounds how fast moves copy.
const ThrottleKey = "cluster.moves.max.bytes.per.second"

// propose proposes all at once, so that they share a Raft entry, and waits until all are applied. It returns false when one
// of them was not: then what it decided is decided again.
func (c *Controller) propose(ctx context.Context, cs []command.Command) bool {
	type outcome struct {
		c   command.Command
		err error
	}
	done := make(chan outcome, len(cs))
	for _, cmd := range cs {
		c.quorum.ProposeAsync(cmd, func(_ any, err error) { done <- outcome{cmd, err} })
	}
	applied := true
	for range cs {
		select {
		case o := <-done:
			if o.err != nil {
				applied = false
				c.log.Warn("decision not applied: it is made again", "command", o.c.Kind().String(), "error", o.err)
			}
		case <-ctx.Done():
			return false
		}
	}
	return applied
}

// Heartbeat answers a broker. It is peer's handler; the error is ErrNotLeader where another broker is the controller.
func (c *Controller) Heartbeat(from kafka.BrokerID, body []byte) ([]byte, error) {
	h, err := decode[heartbeat](body)
	if err != nil {
		return nil, err
	}
	v, err := c.hear(from, h)
	if err != nil {
		return nil, err
	}
	return cbor.MustMarshal(v), nil
}

func (c *Controller) hear(from kafka.BrokerID, h heartbeat) (verdict, error) {
	now := time.Now()
	leader, _ := c.quorum.Leader()
	m := c.quorum.Image()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !leader.Ready || !c.leads {
		return verdict{}, ErrNotLeader
	}
	v := verdict{Index: m.Index(), Voters: len(c.cfg.Settings.Peers())}
	b, known := m.Broker(from)
	if !known || b.Epoch != h.Epoch {
		v.Replaced = known && b.Epoch > h.Epoch || !known && m.Index() >= h.Index
		return v, nil
	}
	c.live.follow(m, now)
	if c.live.hear(from, h.Epoch, now) { // others may leave an ISR now, in which it was not known to be there
		c.all = true
		signal(c.wake)
	}
	v.MayActivate = c.live.mayActivate(from, now)
	v.WantSizes = c.cfg.world(m).Balance
	c.clocks.hear(from, h.Clock, now)
	v.Time, v.Skews = c.clocks.look(now, c.live.lives)
	c.warn(v.Skews)
	v.Ailments = c.ail(from, h.Ailments)
	for _, s := range h.Sizes {
		c.sizes[s.Partition] = s.Bytes
	}
	return v, nil
}

// warn tells once of each clock that is off, and when it is right again. Under mu.
func (c *Controller) warn(off []Skew) {
	is := func(list []Skew, id kafka.BrokerID) bool {
		return slices.ContainsFunc(list, func(s Skew) bool { return s.Broker == id })
	}
	for _, s := range off {
		if !is(c.skews, s.Broker) {
			c.log.Warn("a broker's clock is off: the timestamps that it gives and checks are wrong; set it, and have it kept (NTP)", "broker", s.Broker, "ahead", s.By())
		}
	}
	for _, s := range c.skews {
		if !is(off, s.Broker) {
			c.log.Info("a broker's clock is right again, or it is gone", "broker", s.Broker)
		}
	}
	c.skews = off
}

// signal wakes a loop that has a one-place channel; a signal that is pending already says the same.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
