package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

var _ Quorum = (*quorum.Quorum)(nil)

// fakeQuorum applies real commands to a real image, in order, some time after they were proposed.
type fakeQuorum struct {
	t testing.TB

	mu      sync.Mutex
	delay   func() time.Duration
	m       *image.Image
	queue   []proposed
	down    bool // refuses everything
	kinds   map[command.Kind]int
	applied func(old, new *image.Image, c command.Command)

	filled chan struct{}
	ready  chan struct{}
	subs   []chan struct{} // told of every change
}

type proposed struct {
	entry []byte
	done  func(any, error)
}

var errDown = errors.New("fake quorum is down")

func newFakeQuorum(t testing.TB) *fakeQuorum {
	q := &fakeQuorum{t: t, m: image.Empty(), kinds: map[command.Kind]int{}, filled: make(chan struct{}, 1), ready: make(chan struct{})}
	q.every(time.Millisecond)
	close(q.ready)
	q.place(1)
	return q
}

// place gives every shard to a broker, at once.
func (q *fakeQuorum) place(to kafka.BrokerID) {
	var c command.PlaceCoordinators
	for s := range int32(image.CoordinatorShards) {
		c.Shards = append(c.Shards, command.ShardPlacement{Shard: s, Broker: to, Expected: q.Image().Coordinator(s).Epoch})
	}
	entry, err := command.Encode(command.Envelope{}, c)
	if err == nil {
		_, err = q.apply(entry)
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

// subscribe calls f after changes, until ctx ends.
func (q *fakeQuorum) subscribe(ctx context.Context, f func(*image.Image)) {
	told := make(chan struct{}, 1)
	q.mu.Lock()
	q.subs = append(q.subs, told)
	q.mu.Unlock()
	go func() {
		for {
			select {
			case <-told:
				f(q.Image())
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (q *fakeQuorum) Ready(ctx context.Context) error {
	select {
	case <-q.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *fakeQuorum) Image() *image.Image {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.m
}

func (q *fakeQuorum) ProposeAsync(c command.Command, done func(any, error)) {
	entry, err := command.Encode(command.Envelope{TimeMs: time.Now().UnixMilli()}, c)
	q.mu.Lock()
	if err == nil && q.down {
		err = errDown
	}
	if err == nil {
		q.queue = append(q.queue, proposed{entry, done})
	}
	q.mu.Unlock()
	if err != nil {
		done(nil, err) // inline, as the real one does
		return
	}
	signal(q.filled)
}

// every makes proposals wait d before they are applied.
func (q *fakeQuorum) every(d time.Duration) { q.setDelay(func() time.Duration { return d }) }

func (q *fakeQuorum) setDelay(f func() time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.delay = f
}

func (q *fakeQuorum) pause() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.delay()
}

func (q *fakeQuorum) setDown(down bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = down
}

func (q *fakeQuorum) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.filled:
		}
		for {
			select {
			case <-time.After(q.pause()):
			case <-ctx.Done():
				return
			}
			q.mu.Lock()
			batch := q.queue
			q.queue = nil
			q.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			for _, p := range batch {
				result, err := q.apply(p.entry)
				p.done(result, err)
			}
		}
	}
}

func (q *fakeQuorum) apply(entry []byte) (any, error) {
	ps, err := command.Decode(entry)
	if err != nil {
		q.t.Errorf("proposed what cannot be read: %v", err)
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.m
	next, result, _, err := image.Apply(old, old.Index()+1, ps[0].Envelope, ps[0].Command)
	q.m = next
	q.kinds[ps[0].Command.Kind()]++
	for _, told := range q.subs {
		signal(told)
	}
	if q.applied != nil {
		q.applied(old, next, ps[0].Command)
	}
	return result, err
}

// must applies a command at once.
func (q *fakeQuorum) must(t testing.TB, c command.Command) {
	t.Helper()
	entry, err := command.Encode(command.Envelope{}, c)
	if err == nil {
		_, err = q.apply(entry)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// count is how many commands of a kind were applied.
func (q *fakeQuorum) count(k command.Kind) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kinds[k]
}

// topic makes a topic at once.
func (q *fakeQuorum) topic(name string, partitions int) kafka.TopicID {
	id := kafka.NewTopicID()
	c := command.CreateTopic{ID: id, Name: name}
	for range partitions {
		c.Partitions = append(c.Partitions, []kafka.BrokerID{1})
	}
	entry, err := command.Encode(command.Envelope{}, command.RegisterBroker{ID: 1, Incarnation: [16]byte{1}})
	if err != nil {
		q.t.Fatal(err)
	}
	if _, ok := q.Image().Broker(1); !ok {
		if _, err := q.apply(entry); err != nil {
			q.t.Fatal(err)
		}
	}
	if entry, err = command.Encode(command.Envelope{TimeMs: 1}, c); err != nil {
		q.t.Fatal(err)
	}
	if _, err := q.apply(entry); err != nil {
		q.t.Fatal(err)
	}
	return id
}

// running starts a coordinator over a quorum; stop ends it and waits.
func running(t testing.TB, cfg Config, q *fakeQuorum) (c *Coordinator, stop func()) {
	if cfg.Node == 0 {
		cfg.Node = 1
	}
	c = New(cfg, q, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	q.subscribe(ctx, func(m *image.Image) {
		if err := c.Follow(m); err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return c, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// rig is a quorum and a coordinator that both run until stop.
func rig(t testing.TB, cfg Config) (q *fakeQuorum, c *Coordinator, stop func()) {
	q = newFakeQuorum(t)
	ctx, cancel := context.WithCancel(context.Background())
	go q.run(ctx)
	c, stopC := running(t, cfg, q)
	return q, c, func() { stopC(); cancel() }
}

func jitter(max time.Duration) func() time.Duration {
	return func() time.Duration { return rand.N(max) }
}

// Waiting forms of the calls, for tests that go one step at a time.

func join(c *Coordinator, name string, r group.JoinRequest) group.JoinResult {
	ch := make(chan group.JoinResult, 1)
	c.Join(name, r, func(j group.JoinResult) { ch <- j })
	return <-ch
}

func sync_(c *Coordinator, name string, r group.SyncRequest) group.SyncResult {
	ch := make(chan group.SyncResult, 1)
	c.Sync(name, r, func(s group.SyncResult) { ch <- s })
	return <-ch
}

func commit(c *Coordinator, name string, who group.Identity, os ...command.OffsetCommit) ([]kafka.Partition, error) {
	type answer struct {
		gone []kafka.Partition
		err  error
	}
	ch := make(chan answer, 1)
	c.Commit(name, who, os, func(gone []kafka.Partition, err error) { ch <- answer{gone, err} })
	a := <-ch
	return a.gone, a.err
}

func remove(c *Coordinator, name string) error {
	ch := make(chan error, 1)
	c.Delete(name, func(err error) { ch <- err })
	return <-ch
}

func deleteOffsets(c *Coordinator, name string, ts ...TopicOffsets) ([]error, error) {
	type answer struct {
		each []error
		err  error
	}
	ch := make(chan answer, 1)
	c.DeleteOffsets(name, ts, func(each []error, err error) { ch <- answer{each, err} })
	a := <-ch
	return a.each, a.err
}

func ask(id string) group.JoinRequest {
	return group.JoinRequest{
		MemberID: id, ClientID: "client", Session: 10 * time.Second, Rebalance: 30 * time.Second, Type: "consumer",
		Protocols: []group.Protocol{{Name: "range", Metadata: subscription("t")}},
	}
}

func subscription(topics ...string) []byte {
	b := []byte{0, 0, 0, 0, 0, byte(len(topics))}
	for _, t := range topics {
		b = append(append(b, 0, byte(len(t))), t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

// alone makes a stable group of one member.
func alone(t testing.TB, c *Coordinator, name string) group.Identity {
	t.Helper()
	return aloneWith(t, c, name, []byte("all"))
}

// aloneWith is alone with an assignment.
func aloneWith(t testing.TB, c *Coordinator, name string, assignment []byte) group.Identity {
	t.Helper()
	j := join(c, name, ask(""))
	if j.Err != nil {
		t.Fatal(j.Err)
	}
	s := sync_(c, name, group.SyncRequest{MemberID: j.MemberID, Generation: j.Generation, Assignments: []group.Assignment{{MemberID: j.MemberID, Data: assignment}}})
	if s.Err != nil {
		t.Fatal(s.Err)
	}
	return group.Identity{MemberID: j.MemberID, Generation: j.Generation}
}

func at(id kafka.TopicID, index int32, offset kafka.Offset) command.OffsetCommit {
	return command.OffsetCommit{Partition: kafka.Partition{Topic: id, Index: index}, Offset: offset, LeaderEpoch: -1}
}

func nobody() group.Identity { return group.Identity{Generation: -1} }
