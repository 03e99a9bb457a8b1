package txncoordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is a quorum, two coordinators between which the shards move, and a leader of four partitions: everything that is sent takes its
// time, may fail although it was carried out, and may arrive twice.
type world struct {
	t   *testing.T
	rng *rand.Rand
	ctx context.Context

	mu       sync.Mutex
	image    *image.Image
	index    uint64
	advanced chan struct{}
	queue    chan proposed
	ids      kafka.ProducerID
	logs     map[kafka.Partition]*log
	c        []*Coordinator
	tough    bool
}

type proposed struct {
	c    command.Command
	done func(any, error)
}

// log is a partition: for each transactional id what is undecided, and how what was decided ended.
type log struct {
	open    map[string][]string
	newest  map[string]kafka.ProducerEpoch // of batches and markers, as a partition knows it of its producers
	outcome map[string]bool                // by value: committed
}

var errLost = errors.New("the answer was lost")

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), image: image.Empty(), advanced: make(chan struct{}), queue: make(chan proposed, 10_000),
		logs: map[kafka.Partition]*log{}, tough: true,
	}
	topic := command.CreateTopic{ID: kafka.TopicID{1}, Name: "x"}
	for i := range 4 {
		topic.Partitions = append(topic.Partitions, []kafka.BrokerID{9})
		w.logs[kafka.Partition{Topic: kafka.TopicID{1}, Index: int32(i)}] = &log{open: map[string][]string{}, newest: map[string]kafka.ProducerEpoch{}, outcome: map[string]bool{}}
	}
	w.apply(topic)
	return w
}

func (w *world) chance(percent int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tough && w.rng.IntN(100) < percent
}

func (w *world) pause(most time.Duration) {
	w.mu.Lock()
	d := time.Duration(w.rng.Int64N(int64(most)))
	w.mu.Unlock()
	time.Sleep(d)
}

func (w *world) apply(c command.Command) (any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	next, result, _, err := image.Apply(w.image, w.index, command.Envelope{TimeMs: time.Now().UnixMilli()}, c)
	w.image = next
	close(w.advanced)
	w.advanced = make(chan struct{})
	return result, err
}

// The methods of Quorum.

func (w *world) Ready(context.Context) error { return nil }

func (w *world) Image() *image.Image { w.mu.Lock(); defer w.mu.Unlock(); return w.image }

func (w *world) Reached(ctx context.Context, index uint64) error {
	for {
		w.mu.Lock()
		reached, advanced := w.image.Index() >= index, w.advanced
		w.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *world) ProposeAsync(c command.Command, done func(any, error)) {
	w.queue <- proposed{c, done}
}

// run applies what was proposed, in order.
func (w *world) run() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case p := <-w.queue:
			w.pause(3 * time.Millisecond)
			if w.chance(4) {
				p.done(nil, errLost) // never applied
				continue
			}
			result, err := w.apply(p.c)
			if w.chance(4) {
				result, err = nil, errLost // applied, but who knows
			}
			p.done(result, err)
		}
	}
}

// The methods of Peers.

func (w *world) Enlist(ctx context.Context, node kafka.BrokerID, body []byte) ([]byte, error) {
	w.pause(2 * time.Millisecond)
	if w.chance(5) {
		return nil, errLost
	}
	answer, err := w.c[node-1].ServeEnlist(ctx, body)
	if w.chance(5) {
		return nil, errLost
	}
	return answer, err
}

func (w *world) Mark(ctx context.Context, _ kafka.BrokerID, body []byte) ([]byte, error) {
	w.pause(3 * time.Millisecond)
	if w.chance(10) {
		return nil, errLost
	}
	if w.chance(20) { // it arrives twice, and late
		go func() {
			w.pause(200 * time.Millisecond)
			_, _ = w.written(ctx, body)
		}()
	}
	answer, err := w.written(ctx, body)
	if w.chance(10) {
		return nil, errLost
	}
	return answer, err
}

// written does what a leader does; see Leader.write and partition.AppendMarker.
func (w *world) written(ctx context.Context, body []byte) ([]byte, error) {
	var r markRequest
	if err := decoding.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	if err := w.Reached(ctx, r.Index); err != nil {
		return nil, err
	}
	a := markAnswer{Written: make([]bool, len(r.Marks))}
	leader := Leader{Quorum: lockedImage{w}}
	w.mu.Lock() // the append lock
	defer w.mu.Unlock()
	for i, m := range r.Marks {
		if leader.decided(m) != nil {
			continue
		}
		l := w.logs[m.Partition]
		for _, value := range l.open[m.ID] {
			l.outcome[value] = m.Commit
		}
		delete(l.open, m.ID)
		l.newest[m.ID] = max(l.newest[m.ID], m.Epoch)
		a.Written[i] = true
	}
	return cbor.Marshal(a)
}

// lockedImage is the quorum for who holds the lock.
type lockedImage struct{ *world }

func (q lockedImage) Image() *image.Image { return q.world.image }

// produce appends a value, if the transaction is seen to be under way: when it is the first there, once it is enlisted.
func (w *world) produce(ctx context.Context, id string, me txn.Identity, p kafka.Partition, value string, verify bool) error {
	leader := Leader{Quorum: lockedImage{w}}
	w.mu.Lock()
	first := len(w.logs[p].open[id]) == 0
	needs := first && leader.Verify(id, me, p) != nil
	via := w.c[w.rng.IntN(2)]
	w.mu.Unlock()
	if needs {
		if err := via.EnlistAnywhere(ctx, id, txn.EnlistRequest{Identity: me, Partitions: []kafka.Partition{p}, Version: 2}, verify); err != nil {
			return err
		}
	}
	w.pause(2 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[p]
	open := len(l.open[id]) > 0
	if me.Epoch < l.newest[id] || open && me.Epoch > l.newest[id] {
		return txn.ErrFenced
	}
	if !open {
		if err := leader.Verify(id, me, p); err != nil {
			return err
		}
	}
	l.newest[id] = me.Epoch
	l.open[id] = append(l.open[id], value)
	return nil
}

// coordinator is who is asked; clients look it up again when they are told to.
func (w *world) coordinator(id string) *Coordinator {
	if at := w.Image().Coordinator(image.CoordinatorShard(id)).Broker; at == 2 {
		return w.c[1]
	}
	return w.c[0]
}

// again asks until there is an answer that does not ask to come again.
func (w *world) again(ctx context.Context, ask func(answer func(txn.Identity, error))) (me txn.Identity, err error) {
	for {
		answered := make(chan struct{})
		ask(func(got txn.Identity, failed error) { me, err = got, failed; close(answered) })
		select {
		case <-answered:
		case <-time.After(20 * time.Second):
			w.t.Error("a request was never answered")
			return me, errLost
		}
		switch {
		case ctx.Err() != nil:
			return me, ctx.Err()
		case errors.Is(err, ErrNotCoordinator), errors.Is(err, ErrNotAvailable), errors.Is(err, ErrLoading), errors.Is(err, txn.ErrConcurrent):
			time.Sleep(5 * time.Millisecond)
		default:
			return me, err
		}
	}
}

// attempt is a transaction that a client has tried.
type attempt struct {
	values []string
	ended  bool // the client knows how
	commit bool
}

// client has transactions, one after the other, until ctx ends.
func (w *world) client(ctx context.Context, n int, bump bool) (list []attempt) {
	id := fmt.Sprintf("t%d", n%3) // some share an id, and fence one another
	var me txn.Identity
	fresh := true
	for i := 0; ctx.Err() == nil; i++ {
		if fresh {
			var err error
			me, err = w.again(ctx, func(a func(txn.Identity, error)) { w.coordinator(id).Init(ctx, id, 500, nil, a) })
			if err != nil {
				continue
			}
			fresh = false
		}
		var a attempt
		ok := true
		for k := range 3 {
			w.mu.Lock()
			p := kafka.Partition{Topic: kafka.TopicID{1}, Index: int32(w.rng.IntN(4))}
			w.mu.Unlock()
			if !bump {
				_, err := w.again(ctx, func(answer func(txn.Identity, error)) {
					w.coordinator(id).Enlist(id, txn.EnlistRequest{Identity: me, Partitions: []kafka.Partition{p}, Version: 1}, func(err error) { answer(me, err) })
				})
				if ok = err == nil; !ok {
					break
				}
			}
			value := fmt.Sprintf("%d/%d/%d", n, i, k)
			if err := w.produce(ctx, id, me, p, value, !bump); err != nil {
				ok = false
				break
			}
			a.values = append(a.values, value)
		}
		if w.chance(2) {
			time.Sleep(time.Second) // longer than the transaction may last
		}
		a.commit = ok && !w.chance(25)
		next, err := w.again(ctx, func(answer func(txn.Identity, error)) {
			w.coordinator(id).End(ctx, id, txn.EndRequest{Identity: me, Commit: a.commit, Bump: bump}, answer)
		})
		a.ended = err == nil
		if fresh = err != nil; err == nil {
			me = next
		}
		list = append(list, a)
	}
	return list
}

// A transaction would be committed in one partition and aborted in another, or not as its client was told; a marker would end another
// transaction than its own; a request would never be answered; or something would be left undecided: while coordinators move and time out
// transactions, proposals and answers get lost, markers arrive twice and late, and an id breaks a rule of its own.
func TestHistoriesOfCoordinators(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { history(t, seed) })
		})
	}
}

func history(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	ctx, stop := context.WithCancel(t.Context())
	w.ctx = ctx
	var running sync.WaitGroup
	for node := range kafka.BrokerID(2) {
		w.c = append(w.c, New(Config{
			Node: node + 1, MaxTimeout: time.Minute, Expiry: time.Hour, Sweep: 100 * time.Millisecond,
			NewProducerID: func(context.Context) (kafka.ProducerID, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ids++
				return w.ids, nil
			},
		}, w, w, &Leader{Quorum: w}, time.Now, slog.New(slog.DiscardHandler)))
	}
	running.Go(w.run)
	for _, c := range w.c {
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	move := func(to kafka.BrokerID) {
		var p command.PlaceCoordinators
		for s := range int32(image.CoordinatorShards) {
			p.Shards = append(p.Shards, command.ShardPlacement{Shard: s, Broker: to, Expected: w.Image().Coordinator(s).Epoch})
		}
		if _, err := w.apply(p); err != nil {
			t.Error(err)
		}
		for _, c := range w.c {
			running.Go(func() {
				w.pause(30 * time.Millisecond)
				c.Follow(w.Image())
			})
		}
	}
	move(1)

	working, end := context.WithCancel(ctx)
	lists := make([][]attempt, 5)
	var clients sync.WaitGroup
	for n := range lists {
		clients.Go(func() { lists[n] = w.client(working, n, seed%2 == 0) })
	}
	for i := range 12 {
		w.pause(600 * time.Millisecond)
		if seed%3 == 0 && i == 6 {
			w.breaks("t1")
		}
		move(kafka.BrokerID(i%2 + 1))
	}
	end()
	clients.Wait()
	w.mu.Lock()
	w.tough = false
	w.mu.Unlock()
	time.Sleep(10*time.Second + aside.For) // timeouts, and whatever is left over

	ended := w.check(lists)
	if ended < 20 {
		t.Errorf("only %d transactions ended: nothing was tried", ended)
	}
	stop()
	running.Wait()
}

// breaks has both coordinators find that an id breaks a rule of its own, while others of its shard wait and are decided. The client that has it
// broken is answered.
func (w *world) breaks(id string) {
	for _, c := range w.c {
		var err error
		told := 0
		c.decide(id, &request{
			decide: func(*txn.Record) (*txn.Record, error) { panic("a broken invariant") },
			answer: func(failed error) { told, err = told+1, failed },
		})
		if told != 1 || !errors.Is(err, ErrNotAvailable) && !errors.Is(err, ErrNotCoordinator) {
			w.t.Errorf("who asks a broken id is answered %d times: %v", told, err)
		}
	}
}

func (w *world) check(lists [][]attempt) (ended int) {
	outcome := map[string]bool{}
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, l := range w.logs {
		for id, values := range l.open {
			r, _ := w.image.Transaction(id)
			w.t.Errorf("partition %d: %v of %q are undecided, its record: %+v", p.Index, values, id, r)
		}
		for v, commit := range l.outcome {
			outcome[v] = commit
		}
	}
	w.image.Transactions(func(r *txn.Record) bool {
		if r.State == command.TxnOngoing || r.State.Decided() {
			w.t.Errorf("left over: %+v", r)
		}
		return true
	})
	for n, list := range lists {
		for _, a := range list {
			if a.ended {
				ended++
			}
			for _, v := range a.values {
				got, written := outcome[v]
				switch {
				case !written:
					w.t.Errorf("client %d: %s is nowhere", n, v)
				case a.ended && got != a.commit:
					w.t.Errorf("client %d: %s was committed: %v, the client was told: %v", n, v, got, a.commit)
				case got != outcome[a.values[0]]:
					w.t.Errorf("client %d: torn: %s and %s", n, a.values[0], v)
				}
			}
		}
	}
	return ended
}
