package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrReplaced says that another process has registered under this broker's id: this one must end.
var ErrReplaced = errors.New("another process has registered under this broker's node.id")

// Session is a broker's life in its cluster. Register, then Run; Stop while Run goes on.
type Session struct {
	cfg        Config
	quorum     Quorum
	peers      Peers // nil: a cluster of one
	controller *Controller
	log        *slog.Logger

	// Clock is told what time the cluster has; nil: nobody is.
	Clock *Clock

	// Sizes are what the partitions that this broker leads take on its disk; nil: not told.
	Sizes func(func(kafka.Partition, int64))

	// Ailments are what is wrong with this broker's partitions; nil: not told. Asked by Run.
	Ailments func() []Ailment

	epoch   atomic.Int64 // kafka.BrokerEpoch; 0 before Register
	ready   atomic.Bool
	leaving atomic.Bool
	lone    atomic.Bool  // no other broker is registered
	until   atomic.Int64 // when the lease ends, in nanoseconds behind start
	start   time.Time    // what until counts from: the monotonic clock, which goes on while a process sleeps

	skews  atomic.Pointer[[]Skew]
	ailing atomic.Pointer[[]Ailment]
	voters atomic.Int32

	// Run's: what Ailments said, and when.
	own    []Ailment
	looked time.Time

	poke chan struct{} // something has changed: the next heartbeat is due at once

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every image that changes brokers or partitions
}

// NewSession returns a session that begins with Register. c is this node's controller.
func NewSession(cfg Config, q Quorum, p Peers, c *Controller, log *slog.Logger) *Session {
	s := &Session{
		cfg: cfg, quorum: q, peers: p, controller: c, log: log,
		start: time.Now(), poke: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	q.Subscribe(s.follow)
	s.lone.Store(alone(q.Image(), cfg.Node))
	return s
}

func (s *Session) follow(_, m *image.Image, ch image.Changes) {
	if len(ch.Brokers) > 0 {
		s.lone.Store(alone(m, s.cfg.Node))
	}
	if len(ch.Brokers)+len(ch.Partitions)+len(ch.Topics) == 0 {
		return
	}
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if len(ch.Brokers) > 0 {
		signal(s.poke)
	}
}

// image is the newest image, and a channel that is closed when a newer one may differ.
func (s *Session) image() (*image.Image, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quorum.Image(), s.changed
}

// Register registers the broker, which gives it its epoch. It begins fenced, and becomes active when Run is heard and Ready
// was called; but in a cluster that has no other broker it is active at once, and starts its leaderships anew: there is
// nobody who could know better.
func (s *Session) Register(ctx context.Context, r command.RegisterBroker) error {
	r.Fenced = !alone(s.quorum.Image(), r.ID)
	result, err := s.quorum.Propose(ctx, r)
	if err != nil {
		return fmt.Errorf("register broker %d: %w", r.ID, err)
	}
	s.epoch.Store(int64(result.(kafka.BrokerEpoch)))
	if r.Fenced {
		return nil
	}
	for _, c := range controller.StartLeaders(s.quorum.Image(), r.ID) {
		if _, err := s.quorum.Propose(ctx, c); err != nil {
			return fmt.Errorf("start leaderships of broker %d: %w", r.ID, err)
		}
	}
	// Its groups' coordinators, if they are not here yet, before the first client asks for one.
	for _, c := range controller.Decide(s.cfg.world(s.quorum.Image()), controller.Scope{}) {
		if _, err := s.quorum.Propose(ctx, c); err != nil {
			return fmt.Errorf("place coordinators on broker %d: %w", r.ID, err)
		}
	}
	return nil
}

// alone tells whether no other broker is registered.
func alone(m *image.Image, node kafka.BrokerID) bool {
	alone := true
	m.Brokers(func(b *image.Broker) bool {
		alone = b.ID == node
		return alone
	})
	return alone
}

// Epoch is the broker's, 0 before it is registered.
func (s *Session) Epoch() kafka.BrokerEpoch { return kafka.BrokerEpoch(s.epoch.Load()) }

// Ready says that the broker's partitions are open and its listeners answer: it may be active.
func (s *Session) Ready() {
	s.ready.Store(true)
	signal(s.poke)
}

// Leased tells whether the controller cannot have moved anything away from this broker without it: see the package. Lock-free.
func (s *Session) Leased() bool {
	return s.lone.Load() || time.Since(s.start) < time.Duration(s.until.Load())
}

// Skews are the brokers whose clocks are off, as the controller last said.
func (s *Session) Skews() []Skew {
	if list := s.skews.Load(); list != nil {
		return *list
	}
	return nil
}

// Voters is how many voters the controller wants the metadata quorum to have, as it last said: in a cluster whose cluster.peers is being changed
// that is not what this broker's own says. 0: not known.
func (s *Session) Voters() int { return int(s.voters.Load()) }

// State is the broker's state in the newest image.
func (s *Session) State() command.BrokerState { return state(s.quorum.Image(), s.cfg.Node) }

// Run keeps the session until ctx ends. The error is ErrReplaced.
func (s *Session) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sizes, seen := false, uint64(0)
	for {
		leader, changed := s.quorum.Leader()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.poke:
		case <-changed:
			leader, _ = s.quorum.Leader()
		}
		v, err := s.beat(ctx, leader, sizes)
		next := s.cfg.interval()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Debug("heartbeat not answered", "controller", leader.ID, "error", err)
			next /= 5 // another may lead by now, or this one in a moment
		case v.Replaced:
			return ErrReplaced
		default:
			sizes = v.WantSizes
			if v.MayActivate {
				s.activate(ctx, seen)
			}
			seen = v.Index
		}
		timer.Reset(next)
	}
}

// beat sends one heartbeat, and renews the lease when it is answered.
func (s *Session) beat(ctx context.Context, leader Leader, sizes bool) (v verdict, err error) {
	if leader.ID == kafka.NoBroker && !leader.Ready {
		return v, errors.New("no controller is known")
	}
	h := heartbeat{Epoch: s.Epoch(), Index: s.quorum.Image().Index()}
	if sizes && s.Sizes != nil {
		s.Sizes(func(p kafka.Partition, n int64) {
			if len(h.Sizes) < maxSizes {
				h.Sizes = append(h.Sizes, size{p, n})
			}
		})
	}
	began := time.Now()
	h.Clock, h.Ailments = s.cfg.wall().UnixMilli(), s.ownAilments(began)
	sent := began.Sub(s.start)
	if leader.ID == s.cfg.Node {
		v, err = s.controller.hear(s.cfg.Node, h)
	} else if s.peers == nil {
		return v, errors.New("there is no way to the controller")
	} else {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout()/2)
		defer cancel()
		var answer []byte
		if answer, err = s.peers.Heartbeat(ctx, leader.ID, cbor.MustMarshal(h)); err == nil {
			v, err = decode[verdict](answer)
		}
	}
	if err == nil && !v.Replaced {
		s.until.Store(int64(sent + s.cfg.timeout()))
		s.skews.Store(&v.Skews)
		s.ailing.Store(&v.Ailments)
		s.voters.Store(int32(v.Voters))
		if s.Clock != nil {
			s.Clock.tell(v.Time, began, time.Now())
		}
	}
	return v, err
}

// activate makes the broker active, when it is fenced and there is nothing in the way: its image is as new as the
// controller's was at the heartbeat before (that of this moment it never has while there is much to do), it is ready, and what
// its registration calls for has been decided.
func (s *Session) activate(ctx context.Context, index uint64) {
	m := s.quorum.Image()
	b, ok := m.Broker(s.cfg.Node)
	if !ok || b.Epoch != s.Epoch() || b.State != command.Fenced || !s.ready.Load() || s.leaving.Load() || m.Index() < index {
		return
	}
	if !controller.MayActivate(s.cfg.world(m), s.cfg.Node) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout()/2)
	defer cancel()
	if err := s.become(ctx, command.Active); err != nil {
		s.log.Warn("broker is not active yet", "error", err)
		return
	}
	s.log.Info("broker is active", "epoch", s.Epoch())
}

func (s *Session) become(ctx context.Context, to command.BrokerState) error {
	_, err := s.quorum.Propose(ctx, command.SetBrokerState{ID: s.cfg.Node, Epoch: s.Epoch(), State: to})
	return err
}

// Active waits until the broker is active.
func (s *Session) Active(ctx context.Context) error {
	for {
		m, changed := s.image()
		if b, ok := m.Broker(s.cfg.Node); ok && b.Epoch == s.Epoch() && b.State == command.Active {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("broker %d has not become active: %w", s.cfg.Node, ctx.Err())
		}
	}
}

// Stop gives away what the broker leads and is in sync with, then the lead of the quorum. It returns when others can do
// without this broker, or ctx ends; the broker goes on serving meanwhile, and for as long afterwards as its clients need to
// be told where to go. Without another active broker there is nobody to give anything to.
//
// moved tells whether anybody else could have taken something.
func (s *Session) Stop(ctx context.Context) (moved bool, err error) {
	s.leaving.Store(true)
	if !s.others() || s.Epoch() == 0 {
		return false, nil
	}
	began := time.Now()
	// A cluster that cannot even note it will not take anything over: when all of it stops, the last ones need not wait.
	announce, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	err = s.become(announce, command.Stopping)
	cancel()
	if err != nil {
		return true, fmt.Errorf("announce the stop of broker %d: %w", s.cfg.Node, err)
	}
	for {
		m, changed := s.image()
		held := controller.Held(m, s.cfg.Node)
		if held == 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return true, fmt.Errorf("%d partitions cannot do without broker %d yet: %w", held, s.cfg.Node, ctx.Err())
		}
	}
	s.log.Info("others lead what this broker led", "took", time.Since(began))
	if leader, _ := s.quorum.Leader(); leader.ID == s.cfg.Node {
		if err := s.quorum.TransferLeadership(ctx); err != nil {
			return true, fmt.Errorf("hand over the metadata quorum: %w", err)
		}
	}
	return true, nil
}

// Leave says that the broker is gone. The last thing that it does for the cluster: whoever is still waiting for it need not
// find out.
func (s *Session) Leave(ctx context.Context) error {
	s.leaving.Store(true)
	if !s.others() || s.Epoch() == 0 {
		return nil
	}
	return s.become(ctx, command.Fenced)
}

// others tells whether another broker is active.
func (s *Session) others() (found bool) {
	s.quorum.Image().Brokers(func(b *image.Broker) bool {
		found = b.ID != s.cfg.Node && b.State == command.Active
		return !found
	})
	return found
}
