package shareleader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var part = kafka.Partition{Topic: kafka.TopicID{1}}

// world is a quorum and one partition's log, for as many brokers as want to lead it.
type world struct {
	t        testing.TB
	mu       sync.Mutex
	m        *image.Image
	index    uint64
	held     []func() // proposals that wait, while hold
	hold     bool
	changes  int
	high     kafka.Offset
	list     func(context.Context) error // nil: at once
	listener map[partition.Listener]struct{}
	cutOff   atomic.Int64 // a broker
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, m: image.Empty(), listener: map[partition.Listener]struct{}{}}
	w.apply(command.CreateTopic{ID: part.Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}}})
	w.apply(command.ChangeGroup{Group: "g", Type: share.GroupType, Put: []command.GroupPart{{Key: "g"}}})
	return w
}

func (w *world) Image() *image.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.m
}

// try applies a command. Under mu.
func (w *world) try(c command.Command) (any, error) {
	w.index++
	m, result, _, err := image.Apply(w.m, w.index, command.Envelope{}, c)
	w.m = m
	return result, err
}

func (w *world) apply(c command.Command) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.try(c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ProposeAsync(c command.Command, done func(any, error)) {
	w.mu.Lock()
	w.changes++
	carry := func() {
		w.mu.Lock()
		result, err := w.try(c)
		w.mu.Unlock()
		done(result, err)
	}
	held := w.hold
	if held {
		w.held = append(w.held, carry)
	}
	w.mu.Unlock()
	if !held {
		carry()
	}
}

// release carries out what was held.
func (w *world) release() {
	w.mu.Lock()
	held := w.held
	w.held, w.hold = nil, false
	w.mu.Unlock()
	for _, f := range held {
		f()
	}
}

func (w *world) produce(n int) {
	w.mu.Lock()
	w.high += kafka.Offset(n)
	var told []partition.Listener
	for l := range w.listener {
		told = append(told, l)
	}
	w.mu.Unlock()
	for _, l := range told {
		l.Advanced(nil)
	}
}

// log is the partition as one broker has it.
type log struct {
	w    *world
	node kafka.BrokerID
}

func (l log) LeaderEpoch() kafka.LeaderEpoch {
	if p, _ := l.w.Image().Partition(part); p.Leader == l.node {
		return p.LeaderEpoch
	}
	return kafka.NoEpoch
}
func (l log) LogStart() kafka.Offset { return 0 }
func (l log) HighWatermark() kafka.Offset {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.high
}
func (l log) LastStable() kafka.Offset { return l.HighWatermark() }
func (l log) ListOffset(ctx context.Context, _ int64, _ bool) (partition.Listed, error) {
	l.w.mu.Lock()
	list := l.w.list
	l.w.mu.Unlock()
	if list == nil {
		return partition.Listed{}, nil
	}
	return partition.Listed{}, list(ctx)
}
func (l log) Subscribe(s partition.Listener) func() {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.listener[s] = struct{}{}
	return func() {
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		delete(l.w.listener, s)
	}
}

// Read gives batches of one record.
func (l log) Read(r partition.ReadRequest) (partition.ReadResult, error) {
	var res partition.ReadResult
	if l.LeaderEpoch() != r.CurrentEpoch {
		return res, partition.ErrNotLeader
	}
	for at := r.From; at < l.HighWatermark() && len(res.Run.Bytes) < r.MaxBytes; at++ {
		b := batch.Builder{BaseOffset: at}
		b.Add(1, nil, []byte("v"))
		v, err := b.Build()
		if err != nil {
			return res, err
		}
		res.Run.Bytes = append(res.Run.Bytes, v...)
	}
	res.Run.N = len(res.Run.Bytes)
	return res, nil
}

// leader begins a broker's; it ends with the test.
func (w *world) leader(t *testing.T, node kafka.BrokerID) *Leader {
	l := New(Config{
		Node: node, Find: func(kafka.Partition) Log { return log{w, node} }, Sessions: 10,
		Leased: func() bool { return kafka.BrokerID(w.cutOff.Load()) != node },
		Settings: func(*image.Image, string) Settings {
			return Settings{Limits: share.Limits{Deliveries: 5, Locks: 2000, Lock: 30 * time.Second}, Reset: func(time.Time) int64 { return -2 }}
		},
	}, w, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

func fetchOf(member string, records int) Request {
	return Request{
		Request: share.Request{Member: member, Records: records, Exactly: true}, Group: "g", Partitions: []kafka.Partition{part}, MaxBytes: 1 << 20, Wait: time.Second,
	}
}

func accept(l *Leader, member string, first, next kafka.Offset, answer func(error)) {
	l.Acknowledge("g", member, []PartitionAcks{{Partition: part, Acks: []share.Ack{{First: first, Next: next, Types: []share.AckType{share.Accept}}}}}, func(errs []error) { answer(errs[0]) })
}

// Of a hundred consumers that wait on a partition some would get nothing of what is enough for all, or the same as others.
func TestManyConsumersOfOnePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.leader(t, 1)
		const consumers, each = 100, 5
		var mu sync.Mutex
		of := map[kafka.Offset]string{}
		var all sync.WaitGroup
		for i := range consumers {
			all.Go(func() {
				me := fmt.Sprint(i)
				res := l.Fetch(t.Context(), fetchOf(me, each))[part]
				mu.Lock()
				defer mu.Unlock()
				n := 0
				for _, a := range res.Acquired {
					for o := a.First; o < a.Next; o++ {
						if of[o] != "" {
							t.Errorf("offset %d is %s's and %s's", o, of[o], me)
						}
						of[o] = me
						n++
					}
				}
				if n != each || res.Err != nil {
					t.Errorf("consumer %s has %d records, %v", me, n, res.Err)
				}
			})
		}
		synctest.Wait()
		w.produce(consumers * each)
		all.Wait()
		if len(of) != consumers*each {
			t.Errorf("%d records are somebody's", len(of))
		}
	})
}

// A member that has no room for a byte would be given records, or one whose room is less than a batch none (librdkafka's test 0180).
func TestRoomOfAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.leader(t, 1)
		w.produce(10)
		for _, c := range []struct{ room, want int }{{0, 0}, {1, 1}} {
			r := fetchOf("a", 1)
			r.MaxBytes = c.room
			if got := len(l.Fetch(t.Context(), r)[part].Acquired); got != c.want {
				t.Errorf("a room of %d bytes: acquired %d ranges, want %d", c.room, got, c.want)
			}
		}
	})
}

// Who waits would get nothing of a share while the one that looked where it begins has gone.
func TestWhoLooksWhereAShareBeginsGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.list = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		l := w.leader(t, 1)
		w.produce(1)
		looking, leave := context.WithCancel(t.Context())
		var first, second Result
		var took time.Duration
		var both sync.WaitGroup
		both.Go(func() { first = l.Fetch(looking, fetchOf("a", 1))[part] })
		synctest.Wait()
		both.Go(func() {
			began := time.Now()
			second = l.Fetch(t.Context(), fetchOf("b", 1))[part]
			took = time.Since(began)
		})
		synctest.Wait()
		w.mu.Lock()
		w.list = nil
		w.mu.Unlock()
		leave()
		both.Wait()
		if first.Err == nil || second.Err != nil || len(second.Acquired) != 1 || took != 0 {
			t.Errorf("the one that went: %+v; the other, after %v: %+v", first, took, second)
		}
	})
}

// A session would grow without end, or would not go on after a request that was too large for it.
func TestSessionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newWorld(t).leader(t, 1)
		v := Visit{Group: "g", Member: "a", Gone: t.Context()}
		if _, err := l.OpenSession(v, []kafka.Partition{part}); err != nil {
			t.Fatal(err)
		}
		v.Epoch = InitialEpoch + 1
		if _, err := l.UseSession(v, make([]kafka.Partition, maxPartitions), nil); !errors.Is(err, share.ErrInvalidRequest) {
			t.Errorf("%d partitions more: %v", maxPartitions, err)
		}
		if ps, err := l.UseSession(v, nil, nil); err != nil || len(ps) != 1 {
			t.Errorf("then: %v, %v", ps, err)
		}
	})
}

// A share that breaks its rules would take its broker with it, or whoever waits for it would wait for ever, or it would not be served again.
func TestBrokenShareIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.leader(t, 1)
		w.produce(1)
		if got := l.Fetch(t.Context(), fetchOf("a", 1))[part]; len(got.Acquired) != 1 {
			t.Fatalf("%+v", got)
		}
		w.mu.Lock()
		w.hold = true
		w.mu.Unlock()
		told := 0
		var outcome error
		accept(l, "a", 0, 1, func(err error) { told, outcome = told+1, err })
		var waiting sync.WaitGroup
		var waited Result
		waiting.Go(func() {
			r := fetchOf("b", 1)
			r.Wait = aside.For
			waited = l.Fetch(t.Context(), r)[part]
		})
		synctest.Wait()

		e, err := l.find(key{"g", part})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.with(func(time.Time, *share.PartitionEffects) { panic("a broken invariant") }); !errors.Is(err, ErrNotAvailable) {
			t.Errorf("who broke it: %v", err)
		}
		waiting.Wait()
		if told != 1 || !errors.Is(outcome, ErrNotAvailable) {
			t.Errorf("who waited for an acknowledgement was told %d times, of %v", told, outcome)
		}
		if !errors.Is(waited.Err, ErrNotAvailable) {
			t.Errorf("who waited for records: %+v", waited)
		}
		w.release()
		time.Sleep(aside.For)
		w.produce(1)
		if got := l.Fetch(t.Context(), fetchOf("b", 1))[part]; got.Err != nil || len(got.Acquired) != 1 {
			t.Errorf("a minute later: %+v", got)
		}
	})
}

// Acknowledgements would be a write each, or be answered before they are durable.
func TestAcknowledgementsAreOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.leader(t, 1)
		w.produce(100)
		if got := l.Fetch(t.Context(), fetchOf("a", 100))[part]; len(got.Acquired) != 1 {
			t.Fatalf("%+v", got)
		}
		w.mu.Lock()
		w.hold = true
		before := w.changes
		w.mu.Unlock()
		answered := 0
		for o := range kafka.Offset(100) {
			accept(l, "a", o, o+1, func(err error) {
				if err != nil {
					t.Error(err)
				}
				answered++
			})
		}
		synctest.Wait()
		if answered != 0 {
			t.Fatalf("%d are answered before anything is durable", answered)
		}
		w.release()
		synctest.Wait()
		if n := w.changes - before; answered != 100 || n != 2 {
			t.Errorf("%d answered, %d writes", answered, n)
		}
		if s, _ := w.Image().Share("g", part); s.Start != 100 || len(s.Runs) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A broker that is cut off would go on giving out what its successor has the word on, or, heard again, not go on where it was.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.leader(t, 1)
		w.produce(10)
		if got := l.Fetch(t.Context(), fetchOf("a", 5))[part]; len(got.Acquired) != 1 || got.Acquired[0].Next != 5 {
			t.Fatalf("%+v", got)
		}
		w.cutOff.Store(1)
		if got := l.Fetch(t.Context(), fetchOf("b", 5))[part]; !errors.Is(got.Err, partition.ErrNotLeader) || len(got.Acquired) != 0 {
			t.Errorf("cut off: %+v", got)
		}
		w.cutOff.Store(0)
		if got := l.Fetch(t.Context(), fetchOf("b", 5))[part]; len(got.Acquired) != 1 || got.Acquired[0].First != 5 {
			t.Errorf("heard again: %+v", got)
		}
	})
}

// What a leader that was replaced still decides would count, or what it had given out would be lost.
func TestLeaderMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old, next := w.leader(t, 1), w.leader(t, 2)
		w.produce(10)
		old.Fetch(t.Context(), fetchOf("a", 10))
		accept(old, "a", 0, 2, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		w.mu.Lock()
		w.hold = true
		w.mu.Unlock()
		var late error
		accept(old, "a", 2, 4, func(err error) { late = err })
		w.apply(command.ElectLeaders{Elections: []command.Election{{Partition: part, Leader: 2, ISR: []kafka.BrokerID{2}}}})
		w.release()
		synctest.Wait()
		if !errors.Is(late, partition.ErrNotLeader) {
			t.Errorf("an acknowledgement to the leader that was: %v", late)
		}
		if got := old.Fetch(t.Context(), fetchOf("b", 10))[part]; !errors.Is(got.Err, partition.ErrNotLeader) {
			t.Errorf("a fetch from it: %+v", got)
		}
		got := next.Fetch(t.Context(), fetchOf("b", 10))[part]
		if len(got.Acquired) != 1 || got.Acquired[0].First != 2 || got.Acquired[0].Next != 10 {
			t.Fatalf("from the next: %+v", got)
		}
		accept(next, "a", 4, 5, func(err error) { late = err })
		if !errors.Is(late, share.ErrRecordState) {
			t.Errorf("of who had it before: %v", late)
		}
		// A lock that ends is the next one's to take, who waits for it.
		if got := next.Fetch(t.Context(), Request{Request: share.Request{Member: "c", Records: 1, Exactly: true}, Group: "g", Partitions: []kafka.Partition{part}, MaxBytes: 1 << 20, Wait: time.Minute})[part]; len(got.Acquired) != 1 || got.Acquired[0].Deliveries != 2 {
			t.Errorf("when locks have ended: %+v", got)
		}
	})
}
