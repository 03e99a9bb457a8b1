package txncoordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/broker/inbox"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	// ErrLoading says that nothing is served yet, or that too much is in flight; the client retries.
	ErrLoading = errors.New("transaction coordinator is loading")

	// ErrNotAvailable says that what was decided may, or may not, have been kept; the client asks again.
	ErrNotAvailable = errors.New("transaction coordinator could not keep its decision")

	// ErrNotCoordinator says that another broker coordinates the transactional id; the client looks for it.
	ErrNotCoordinator = errors.New("this broker does not coordinate the transactional id")

	// ErrTimeout says that a client wants its transactions to last for longer than transaction.max.timeout.ms.
	ErrTimeout = errors.New("transaction timeout is not positive, or longer than transaction.max.timeout.ms")
)

// Quorum is what the coordinator needs of metadata/quorum; see there.
type Quorum interface {
	Ready(ctx context.Context) error
	Image() *image.Image
	// Reached waits until the image holds the entry at an index.
	Reached(ctx context.Context, index uint64) error
	// ProposeAsync applies in the order of calls; done may be called from within.
	ProposeAsync(c command.Command, done func(result any, err error))
}

// Peers is the way to other brokers. Both are requests of the private API; see encode.go.
type Peers interface {
	Enlist(ctx context.Context, node kafka.BrokerID, body []byte) ([]byte, error)
	Mark(ctx context.Context, node kafka.BrokerID, body []byte) ([]byte, error)
}

// Config are the coordinator's settings.
type Config struct {
	Node kafka.BrokerID
	// Leased tells whether this broker may still believe its image about what it coordinates. Lock-free; nil: always.
	Leased func() bool
	// NewProducerID gives an id that nobody had.
	NewProducerID func(context.Context) (kafka.ProducerID, error)

	MaxTimeout time.Duration // transaction.max.timeout.ms
	Expiry     time.Duration // transactional.id.expiration.ms
	Sweep      time.Duration // how often timeouts and leftovers are looked for
}

// parkFor bounds how long a request waits for the transaction before to be ended: markers take milliseconds while leaders are there.
// Then its client is told to come again.
const parkFor = 2 * time.Second

// maxBusy bounds the ids in memory.
const maxBusy = 100_000

// Coordinator is safe for concurrent use. Nothing is served until Run has begun.
type Coordinator struct {
	cfg    Config
	quorum Quorum
	peers  Peers
	leader *Leader
	log    *slog.Logger
	said   *hush.Log // what clients cause
	clock  func() time.Time

	phase     atomic.Int32 // loading, serving, stopped
	following sync.Mutex   // held while the shards follow an image
	shards    [image.CoordinatorShards]shard
	busy      atomic.Int64 // entries in all shards
	inbox     *inbox.Box[note]
	senders   senders
}

const (
	loading int32 = iota
	serving
	stopped
)

// shard is the ids that are placed together, on this broker or on another.
type shard struct {
	mu      sync.Mutex
	entries map[string]*entry
	aside   aside.Set[string] // ids that have broken a rule
	// placed is the newest placement that was followed. Invariant: without mine there are no entries.
	placed image.Coordinator
	mine   bool
}

// entry is an id with something in flight. Guarded by its shard's lock.
type entry struct {
	id    string
	shard *shard
	// record is the newest: the image's, or one that is proposed. nil: the id is not known.
	record *txn.Record
	// proposals are in flight, oldest first.
	proposals []*proposal
	// broken: one of them has failed, and what follows it with it. The entry begins anew from the image when all are back.
	broken  bool
	dropped bool // the shard has moved away
	parked  []*request
	asking  []*request // are being decided, the first of them now
	marking *marking
}

// proposal is a record on its way, with the answers that wait for it.
type proposal struct {
	next    *txn.Record // nil: the id is to be forgotten
	answers []func(error)
}

// request is asked again when the transaction before is ended.
type request struct {
	decide func(old *txn.Record) (next *txn.Record, err error)
	answer func(error) // once
	timer  *time.Timer
}

// New returns a coordinator that serves once Run has begun.
func New(cfg Config, q Quorum, peers Peers, leader *Leader, clock func() time.Time, log *slog.Logger) *Coordinator {
	c := &Coordinator{cfg: cfg, quorum: q, peers: peers, leader: leader, clock: clock, log: log, said: hush.New(log), inbox: inbox.New[note]()}
	for i := range c.shards {
		c.shards[i].entries = map[string]*entry{}
	}
	c.senders.nodes = map[kafka.BrokerID]*sender{}
	return c
}

func (c *Coordinator) shardOf(id string) *shard { return &c.shards[image.CoordinatorShard(id)] }

// Serves is nil while this broker coordinates an id.
func (c *Coordinator) Serves(id string) error {
	s := c.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.serves(s)
}

// serves is under s.mu.
func (c *Coordinator) serves(s *shard) error {
	switch {
	case c.phase.Load() == loading:
		return ErrLoading
	case c.phase.Load() == stopped, !s.mine, c.cfg.Leased != nil && !c.cfg.Leased():
		return ErrNotCoordinator
	}
	return nil
}

// Init gives a client its identity; see txn.Init. answer is called once, from any goroutine, and must not block. ctx bounds the wait
// for a producer id.
func (c *Coordinator) Init(ctx context.Context, id string, timeoutMs int32, expected *txn.Identity, answer func(txn.Identity, error)) {
	var me txn.Identity
	if timeoutMs <= 0 || time.Duration(timeoutMs)*time.Millisecond > c.cfg.MaxTimeout {
		answer(me, ErrTimeout)
		return
	}
	err := c.Serves(id)
	fresh := kafka.NoProducer
	if err == nil {
		fresh, err = c.cfg.NewProducerID(ctx)
	}
	if err != nil {
		answer(me, err)
		return
	}
	c.decide(id, &request{
		decide: func(old *txn.Record) (next *txn.Record, err error) {
			next, me, err = txn.Init(old, txn.InitRequest{ID: id, TimeoutMs: timeoutMs, Expected: expected, Fresh: fresh, NowMs: c.nowMs()})
			return next, err
		},
		answer: func(err error) { answer(me, err) },
	})
}

// Enlist adds to a transaction, or begins one; answer as in Init.
func (c *Coordinator) Enlist(id string, r txn.EnlistRequest, answer func(error)) {
	c.decide(id, &request{
		decide: func(old *txn.Record) (*txn.Record, error) {
			r.NowMs = c.nowMs()
			return txn.Enlist(old, r)
		},
		answer: answer,
	})
}

// Verify answers, when everything that was decided of the id before is applied, whether a transaction has partitions.
func (c *Coordinator) Verify(id string, who txn.Identity, partitions []kafka.Partition, answer func(error)) {
	c.decide(id, &request{
		decide: func(old *txn.Record) (*txn.Record, error) {
			for _, p := range partitions {
				if err := txn.Verify(old, who, p); err != nil {
					return nil, err
				}
			}
			return nil, nil
		},
		answer: answer,
	})
}

// End decides a transaction; see txn.End. answer as in Init: it comes when the decision is applied, markers follow.
func (c *Coordinator) End(ctx context.Context, id string, r txn.EndRequest, answer func(txn.Identity, error)) {
	var me txn.Identity
	r.Fresh = kafka.NoProducer
	if r.Bump && txn.Exhausted(r.Epoch) {
		var err error
		if r.Fresh, err = c.cfg.NewProducerID(ctx); err != nil {
			answer(me, err)
			return
		}
	}
	c.decide(id, &request{
		decide: func(old *txn.Record) (next *txn.Record, err error) {
			r.NowMs = c.nowMs()
			next, me, err = txn.End(old, r)
			return next, err
		},
		answer: func(err error) { answer(me, err) },
	})
}

func (c *Coordinator) nowMs() int64 { return c.clock().UnixMilli() }

// calls are made when no lock is held.
type calls []func()

func (l *calls) add(answer func(error), err error) { *l = append(*l, func() { answer(err) }) }

func (l calls) make() {
	for _, f := range l {
		f()
	}
}

// decide has a request decided on the newest record.
func (c *Coordinator) decide(id string, r *request) {
	s := c.shardOf(id)
	c.guarded(s, id, func(out *calls) {
		e, err := c.find(s, id)
		if err != nil {
			out.add(r.answer, err)
			return
		}
		c.ask(e, out, r)
		c.settle(e)
	})
}

// find returns the entry of an id that is coordinated here, from the image if need be. Under s.mu.
func (c *Coordinator) find(s *shard, id string) (*entry, error) {
	if err := c.serves(s); err != nil {
		return nil, err
	}
	if e := s.entries[id]; e != nil {
		return e, nil
	}
	switch {
	case s.aside.Has(id, time.Now()):
		return nil, errAside
	case c.busy.Load() >= maxBusy:
		return nil, ErrLoading
	}
	e := &entry{id: id, shard: s, record: c.recorded(id)}
	s.entries[id] = e
	c.busy.Add(1)
	return e, nil
}

func (c *Coordinator) recorded(id string) *txn.Record {
	r, _ := c.quorum.Image().Transaction(id)
	return r
}

// settle forgets an entry that has nothing in flight. Under the shard's lock.
func (c *Coordinator) settle(e *entry) {
	if len(e.proposals) == 0 && len(e.parked) == 0 && e.marking == nil && e.shard.entries[e.id] == e {
		delete(e.shard.entries, e.id)
		c.busy.Add(-1)
	}
}

// ask decides requests one after the other. Under the shard's lock.
func (c *Coordinator) ask(e *entry, out *calls, rs ...*request) {
	for e.asking = rs; len(e.asking) > 0; e.asking = e.asking[1:] {
		c.askOne(e, e.asking[0], out)
	}
}

// askOne decides a request, and then answers it, has the answer wait for what is in flight, or parks it, which it does last of all. Under the
// shard's lock.
func (c *Coordinator) askOne(e *entry, r *request, out *calls) {
	if e.broken {
		out.add(r.answer, ErrNotAvailable)
		return
	}
	for {
		next, err := r.decide(e.record)
		if errors.Is(err, txn.ErrFenced) {
			c.log.Debug("client of a transactional id is fenced", "transactional_id", e.id, "epoch", e.record.Epoch, "state", e.record.State)
		}
		if next != nil {
			c.propose(e, next)
		}
		switch {
		case errors.Is(err, txn.ErrConcurrent) && next != nil && !next.State.Decided():
			continue // ended at once
		case errors.Is(err, txn.ErrConcurrent):
			c.park(e, r)
		case len(e.proposals) > 0:
			last := e.proposals[len(e.proposals)-1]
			last.answers = append(last.answers, func(failed error) {
				if failed == nil {
					failed = err
				}
				r.answer(failed)
			})
		default:
			out.add(r.answer, err)
		}
		return
	}
}

// propose puts a record on top of the newest. Under the shard's lock.
func (c *Coordinator) propose(e *entry, next *txn.Record) {
	p := &proposal{next: next}
	e.record = next
	e.proposals = append(e.proposals, p)
	c.quorum.ProposeAsync(command.PutTransaction{Transaction: *next, Coordinator: e.shard.placed.Epoch}, func(_ any, err error) {
		c.inbox.Add(note{e: e, p: p, err: outcome(err)})
	})
}

// outcome is a proposal's error in the coordinator's words.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, image.ErrNotCoordinator):
		return fmt.Errorf("%w: %w", ErrNotCoordinator, err)
	case errors.Is(err, command.ErrTooLarge), errors.Is(err, image.ErrLevel):
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotAvailable, err)
}

// park keeps a request until the transaction before is ended, or its time is up. Under the shard's lock.
func (c *Coordinator) park(e *entry, r *request) {
	r.timer = time.AfterFunc(parkFor, func() { c.unpark(e, r) })
	e.parked = append(e.parked, r)
}

// unpark answers a parked request whose time is up.
func (c *Coordinator) unpark(e *entry, r *request) {
	c.guarded(e.shard, e.id, func(out *calls) {
		if i := slices.Index(e.parked, r); i >= 0 {
			e.parked = slices.Delete(e.parked, i, i+1)
			out.add(r.answer, txn.ErrConcurrent)
		}
		c.settle(e)
	})
}

// again has the parked requests decided anew. Under the shard's lock.
func (c *Coordinator) again(e *entry, out *calls) {
	parked := e.parked
	e.parked = nil
	for _, r := range parked {
		r.timer.Stop() // who comes too late for that finds nothing
	}
	c.ask(e, out, parked...)
}
