package api

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// memoryQuorum applies commands at once, to a real image.
type memoryQuorum struct {
	mu      sync.Mutex
	image   *image.Image
	index   uint64
	err     error                     // when set, what every proposal ends with
	applied func(old, m *image.Image) // when set, called after each command
}

func (q *memoryQuorum) Image() *image.Image {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.image
}

func (q *memoryQuorum) Propose(_ context.Context, c command.Command) (any, error) {
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return nil, q.err
	}
	old := q.image
	q.index++
	next, result, _, err := image.Apply(old, q.index, command.Envelope{TimeMs: 1}, c)
	q.image = next
	q.mu.Unlock()
	if q.applied != nil {
		q.applied(old, next)
	}
	return result, err
}

func (q *memoryQuorum) ProposeAsync(c command.Command, done func(any, error)) {
	done(q.Propose(context.Background(), c))
}

func (q *memoryQuorum) Ready(context.Context) error { return nil }

func (q *memoryQuorum) LeaderID() kafka.BrokerID { return 1 }

func (q *memoryQuorum) Describe(context.Context) (quorum.Status, error) {
	return quorum.Status{
		LeaderID: 1, Term: 3, LastIndex: q.index, CommitIndex: q.index, AppliedIndex: q.index,
		Voters:    []quorum.Member{{ID: 1, Addr: "127.0.0.1:9093", LastIndex: q.index}},
		NonVoters: []quorum.Member{{ID: 2, Directory: [16]byte{2}}},
	}, nil
}

// Promote and Demote have one voter, which stays.
func (q *memoryQuorum) Promote(context.Context, kafka.BrokerID) error { return nil }

func (q *memoryQuorum) Demote(context.Context, kafka.BrokerID) error {
	return fmt.Errorf("%w: the last voter", quorum.ErrRefused)
}

// unit is the size of a fakeLog's batches; each holds one record.
const unit = 100

// fakeLog is a partition whose data are made up: batch n is unit bytes that begin with its offset.
type fakeLog struct {
	id    kafka.Partition
	reads atomic.Int64
	held  atomic.Int64 // runs given out and not released

	mu        sync.Mutex
	epoch     kafka.LeaderEpoch // < 0: not leading
	start     kafka.Offset
	local     kafka.Offset // below it, reads are loading until load is called
	loaded    bool
	high      kafka.Offset
	listeners map[int]partition.Listener
	nextID    int
	waiting   []func()
	pending   []func() // produces with acks=-1 that wait for flush
	hold      bool     // acks=-1 waits for flush
	fail      error    // what Produce and Read end with
	producers []partition.ProducerInfo
	afterRead func() // called once, when a read has been made
}

func (l *fakeLog) ID() kafka.Partition { return l.id }

// append adds n records and tells the listeners.
func (l *fakeLog) append(n int) {
	l.change(func() { l.high += kafka.Offset(n) })
}

// change does something and tells the listeners, like a partition: without its lock.
func (l *fakeLog) change(f func()) {
	l.mu.Lock()
	f()
	told := make([]partition.Listener, 0, len(l.listeners))
	for _, s := range l.listeners {
		told = append(told, s)
	}
	l.mu.Unlock()
	for _, s := range told {
		s.Advanced(nil)
	}
}

// load makes cold data readable.
func (l *fakeLog) load() {
	l.mu.Lock()
	l.loaded = true
	ready := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, f := range ready {
		f()
	}
}

func (l *fakeLog) subscribers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.listeners)
}

func (l *fakeLog) Produce(records []byte, _ *batch.Checked, acks partition.Acks, _ time.Duration, w partition.Waiter, slot int) {
	l.mu.Lock()
	if l.fail != nil || l.epoch < 0 {
		err := l.fail
		if err == nil {
			err = partition.ErrNotLeader
		}
		l.mu.Unlock()
		w.Produced(slot, partition.Produced{Err: err, Base: -1, LogAppendTime: -1, LogStart: -1})
		return
	}
	r := partition.Produced{Base: l.high, LogAppendTime: -1, LogStart: l.start}
	if acks == -1 && l.hold {
		l.pending = append(l.pending, func() { w.Produced(slot, r) })
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	l.append(1)
	w.Produced(slot, r)
}

// flush answers what hold kept back.
func (l *fakeLog) flush() {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, f := range pending {
		f()
	}
}

func (l *fakeLog) Read(r partition.ReadRequest) (partition.ReadResult, error) {
	l.reads.Add(1)
	l.mu.Lock()
	if after := l.afterRead; after != nil {
		l.afterRead = nil
		defer after()
	}
	defer l.mu.Unlock()
	res := partition.ReadResult{HighWatermark: l.high, LastStable: l.high, LogStart: l.start}
	switch {
	case l.epoch < 0:
		return res, partition.ErrNotLeader
	case l.fail != nil:
		return res, l.fail
	case r.CurrentEpoch >= 0 && r.CurrentEpoch < l.epoch:
		return res, partition.ErrFencedEpoch
	case r.From < l.start || r.From > l.high:
		return res, partition.ErrOutOfRange
	case r.From < l.local && !l.loaded:
		l.waiting = append(l.waiting, r.Ready)
		res.Loading, res.Cold = true, true
		return res, nil
	}
	res.Cold = r.From < l.local
	n := min(int(l.high-r.From), max(r.MaxBytes/unit, 1))
	var data []byte
	for i := range n {
		b := make([]byte, unit)
		copy(b, fmt.Sprintf("%d", int(r.From)+i))
		data = append(data, b...)
	}
	if n > 0 {
		l.held.Add(1)
		res.Run = batch.Run{Bytes: data, N: len(data), Hold: &held{log: l}}
	}
	return res, nil
}

// held counts a run as given back, once.
type held struct {
	log  *fakeLog
	done atomic.Bool
}

func (h *held) Release() {
	if h.done.Swap(true) {
		panic("a run was released twice")
	}
	h.log.held.Add(-1)
}

func (l *fakeLog) Subscribe(s partition.Listener) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.nextID
	l.nextID++
	if l.listeners == nil {
		l.listeners = map[int]partition.Listener{}
	}
	l.listeners[id] = s
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, id)
	}
}

func (l *fakeLog) LeaderEpoch() kafka.LeaderEpoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

func (l *fakeLog) HighWatermark() kafka.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.high
}

func (l *fakeLog) LastStable() kafka.Offset { return l.HighWatermark() }

func (l *fakeLog) Settings() *config.Topic { return &config.Topic{Delete: true} }

func (l *fakeLog) LogStart() kafka.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

func (l *fakeLog) ListOffset(ctx context.Context, timestamp int64, _ bool) (partition.Listed, error) {
	l.mu.Lock()
	fail, start, high := l.fail, l.start, l.high
	l.mu.Unlock()
	switch {
	case fail != nil:
		return partition.Listed{}, fail
	case timestamp == -1:
		return partition.Listed{Offset: high, Timestamp: -1, Epoch: 0}, nil
	case timestamp >= 0 && timestamp < int64(start) || timestamp >= int64(high):
		return partition.Listed{Offset: -1, Timestamp: -1, Epoch: -1}, nil
	case timestamp >= 0:
		return partition.Listed{Offset: kafka.Offset(timestamp), Timestamp: timestamp, Epoch: 0}, nil
	}
	return partition.Listed{Offset: start, Timestamp: -1, Epoch: 0}, nil
}

func (l *fakeLog) MayBlock(timestamp int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return timestamp >= 0 && l.local > l.start
}

func (l *fakeLog) Unsettled() bool { return false }

func (l *fakeLog) Settle(context.Context) {}

func (l *fakeLog) CheckEpoch(current kafka.LeaderEpoch) error {
	return partition.CompareEpochs(l.LeaderEpoch(), current)
}

func (l *fakeLog) EpochEnd(requested kafka.LeaderEpoch) partition.EpochEnd {
	if requested < 0 {
		return partition.EpochEnd{Epoch: -1, End: -1}
	}
	return partition.EpochEnd{Epoch: l.LeaderEpoch(), End: l.HighWatermark()}
}

func (l *fakeLog) Served(int, bool, bool) {}

func (l *fakeLog) Sizes() (local, remote int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.high-l.local) * unit, int64(l.local-l.start) * unit
}

func (l *fakeLog) SubscribeAppends(to partition.Listener) (cancel func()) { return l.Subscribe(to) }

func (l *fakeLog) ReplicaFetched(partition.Replica, kafka.LeaderEpoch, partition.Position) (*partition.EpochEnd, error) {
	return nil, nil
}

func (l *fakeLog) Near(kafka.Offset, func(kafka.BrokerID) bool) (kafka.BrokerID, bool) {
	return kafka.NoBroker, false
}

func (l *fakeLog) LocalEnd() kafka.Offset { return l.HighWatermark() }

func (l *fakeLog) Producers() []partition.ProducerInfo { return l.producers }

var _ leader = (*fakeLog)(nil)

// nowhere hosts nothing; the harness finds its partitions itself.
type nowhere struct{}

func (nowhere) Get(kafka.Partition) *partition.Partition     { return nil }
func (nowhere) Await(context.Context, kafka.Partition) error { return nil }
func (nowhere) Followed() <-chan struct{}                    { return nil }

// harness is a handler over a memory quorum and made-up partitions, which come and go with the image.
type harness struct {
	*Handler
	t      testing.TB
	meta   *memoryQuorum
	mu     sync.Mutex
	logs   map[kafka.Partition]*fakeLog
	every  []*fakeLog // also of deleted topics
	topics byte
	peer   *wire.Client
	leave  context.CancelFunc
}

// newHarness starts with broker 1 registered; sets are configuration as "key=value".
func newHarness(t testing.TB, sets ...string) *harness {
	t.Helper()
	cfg, err := config.Load("", nil, sets)
	if err != nil {
		t.Fatal(err)
	}
	s := &harness{t: t, meta: &memoryQuorum{image: image.Empty()}, logs: map[kafka.Partition]*fakeLog{}}
	s.Handler = New(Deps{Node: 1, Partitions: nowhere{}, Config: cfg, Volume: Volume{Dir: "/data", Space: func() (int64, int64, error) { return 1000, 400, nil }}, BucketURL: "s3://bucket"})
	s.Handler.quorum = s.meta
	groups := coordinator.DefaultConfig()
	groups.Node = 1
	s.Groups = coordinator.New(groups, s.meta, s.Log)
	s.Handler.find = s.findLog
	s.Shares = shareleader.New(shareleader.Config{Node: 1, Sessions: 2, Settings: ShareSettings(cfg), Find: s.shareLog}, s.meta, s.Log)
	gone, leave := context.WithCancel(context.Background())
	s.peer, s.leave = &wire.Client{Listener: "PLAINTEXT", Gone: gone}, leave
	s.meta.applied = s.follow
	s.propose1(command.RegisterBroker{ID: 1, Rack: "a", Endpoints: []command.Endpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9092}}})
	var shards []command.ShardPlacement
	for shard := range int32(image.CoordinatorShards) {
		shards = append(shards, command.ShardPlacement{Shard: shard, Broker: 1})
	}
	s.propose1(command.PlaceCoordinators{Shards: shards})
	return s
}

func (s *harness) propose1(c command.Command) {
	s.t.Helper()
	if _, err := s.meta.Propose(context.Background(), c); err != nil {
		s.t.Fatalf("%T: %v", c, err)
	}
}

func (s *harness) findLog(p kafka.Partition) leader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logs[p]; l != nil {
		return l
	}
	return nil
}

// follow opens and closes made-up partitions as the image says.
func (s *harness) follow(_, m *image.Image) {
	s.mu.Lock()
	var ended []*fakeLog
	for p, l := range s.logs {
		if _, ok := m.Partition(p); !ok {
			delete(s.logs, p)
			ended = append(ended, l)
		}
	}
	var trimmed []func()
	m.Topics(func(t *image.Topic) bool {
		m.Partitions(t.ID, func(p *image.Partition) bool {
			l := s.logs[p.Partition]
			if l == nil {
				l = &fakeLog{id: p.Partition}
				s.logs[p.Partition] = l
				s.every = append(s.every, l)
			}
			if start := p.LogStart; start > l.LogStart() {
				trimmed = append(trimmed, func() { l.change(func() { l.start = start }) })
			}
			return true
		})
		return true
	})
	s.mu.Unlock()
	for _, l := range ended {
		l.change(func() { l.epoch = -1 })
	}
	for _, f := range trimmed {
		f()
	}
}

// topic creates a topic and returns its id.
func (s *harness) topic(name string, partitions int) kafka.TopicID {
	s.t.Helper()
	s.topics++
	id := kafka.TopicID{15: s.topics} // the same in every run, so that failures repeat
	s.propose1(newTopicCommand(id, name, partitions))
	return id
}

func newTopicCommand(id kafka.TopicID, name string, partitions int) command.CreateTopic {
	return command.CreateTopic{ID: id, Name: name, Partitions: slices.Repeat([][]kafka.BrokerID{{1}}, partitions)}
}

func (s *harness) log(id kafka.TopicID, index int32) *fakeLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[kafka.Partition{Topic: id, Index: index}]
}

// call is one exchange in flight.
type call struct {
	x       *wire.Exchange
	replies chan wire.Reply
}

// start hands a request to the handler.
func (s *harness) start(req kmsg.Request, version int16) *call {
	req.SetVersion(version)
	c := &call{replies: make(chan wire.Reply, 2)}
	c.x = wire.NewExchange(func(_ *wire.Exchange, r wire.Reply) { c.replies <- r })
	c.x.Client, c.x.Key, c.x.Version, c.x.Request = s.peer, req.Key(), version, req
	s.Handle(c.x)
	return c
}

// now is the reply, which must be there.
func (c *call) now(t testing.TB) wire.Reply {
	t.Helper()
	select {
	case r := <-c.replies:
		return r
	default:
		t.Fatal("not answered yet")
		return wire.Reply{}
	}
}

// parked tells that there is no reply yet.
func (c *call) parked(t testing.TB) {
	t.Helper()
	select {
	case r := <-c.replies:
		t.Fatalf("answered already: %+v", r.Fetch)
	default:
	}
}

// ask is an exchange whose reply is a message of type R.
func ask[R kmsg.Response](s *harness, req kmsg.Request, version int16) R {
	s.t.Helper()
	r := <-s.start(req, version).replies
	m, ok := r.Message.(R)
	if !ok {
		s.t.Fatalf("%T v%d: replied %+v", req, version, r)
	}
	return m
}

// release gives back a fetch response's runs, as the server does after sending.
func release(r *wire.FetchResponse) {
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			r.Topics[i].Partitions[j].Records.Release()
		}
	}
}

// nothingHeld checks that every run was released.
func (s *harness) nothingHeld() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.every {
		if n := l.held.Load(); n != 0 {
			s.t.Errorf("%v: %d runs were not released", l.id, n)
		}
	}
}

func (l *fakeLog) ProduceWithin(_ partition.Transaction, records []byte, seen *batch.Checked, acks partition.Acks, timeout time.Duration, w partition.Waiter, slot int) {
	l.Produce(records, seen, acks, timeout, w, slot)
}

func (l *fakeLog) Enlists([]byte) bool { return false }

func (l *fakeLog) AppendMarker(_ partition.End, _ time.Duration, w partition.Waiter, slot int) {
	w.Produced(slot, partition.Produced{Err: partition.ErrNotLeader})
}
