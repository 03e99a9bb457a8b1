package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// etl is an exactly-once loop: several members of a group read numbers, write each of them to another topic and commit, in transactions, some
// of which are aborted on purpose.
type etl struct {
	t     *testing.T
	seeds []string
	count int
	parts int32

	commits, aborts, failures atomic.Int64
}

func newETL(ctx context.Context, t *testing.T, seeds []string, replicas int16, count int) *etl {
	t.Helper()
	e := &etl{t: t, seeds: seeds, count: count, parts: 4}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, e.parts, replicas, nil, "in", "out"); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: "in", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return e
}

// member takes part until ctx ends.
func (e *etl) member(ctx context.Context, n int) {
	for ctx.Err() == nil {
		if err := e.session(ctx, n); err != nil && ctx.Err() == nil {
			e.failures.Add(1)
			e.t.Logf("member %d begins anew: %v", n, err)
		}
	}
}

func (e *etl) session(ctx context.Context, n int) error {
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(e.seeds...), kgo.TransactionalID(fmt.Sprintf("etl-%d", n)), kgo.TransactionTimeout(10*time.Second),
		kgo.ConsumerGroup("etl"), kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.DefaultProduceTopic("out"), kgo.RecordDeliveryTimeout(8*time.Second), kgo.RetryTimeout(15*time.Second),
	)
	if err != nil {
		return err
	}
	defer s.Close()
	for ctx.Err() == nil {
		fetches := s.PollRecords(ctx, 10)
		if ctx.Err() != nil {
			return nil
		}
		for _, f := range fetches.Errors() {
			return f.Err
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := s.Begin(); err != nil {
			return err
		}
		promise := kgo.AbortingFirstErrPromise(s.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Key: r.Key, Value: r.Value}, promise.Promise())
		})
		want := kgo.TransactionEndTry(promise.Err() == nil && rand.IntN(5) > 0)
		committed, err := s.End(ctx, want)
		switch {
		case err != nil:
			return err
		case committed:
			e.commits.Add(1)
		default:
			e.aborts.Add(1)
		}
	}
	return nil
}

// done tells whether the group has committed the whole input.
func (e *etl) done(ctx context.Context, admin *kadm.Client) bool {
	lags, err := admin.Lag(ctx, "etl")
	if err != nil {
		return false
	}
	l, ok := lags["etl"]
	return ok && l.Error() == nil && len(l.Lag["in"]) == int(e.parts) && l.Lag.Total() == 0
}

// check reads all that was committed: each number once.
func (e *etl) check(ctx context.Context) {
	e.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.seeds...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		e.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, "out")
	if err != nil || ends.Error() != nil {
		e.t.Fatal(err, ends.Error())
	}
	high, err := kadm.NewClient(cl).ListEndOffsets(ctx, "out")
	if err != nil || high.Error() != nil {
		e.t.Fatal(err, high.Error())
	}
	high.Each(func(h kadm.ListedOffset) {
		if l, _ := ends.Lookup("out", h.Partition); l.Offset != h.Offset {
			e.t.Errorf("partition %d: last stable offset %d, high watermark %d, and nothing is under way", h.Partition, l.Offset, h.Offset)
		}
	})
	seen := map[string]int{}
	read := 0
	for len(seen) < e.count && ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++; read++ })
	}
	// What comes after the last new number would be a second of one.
	late, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for late.Err() == nil {
		cl.PollFetches(late).EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++; read++ })
	}
	for i := range e.count {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			e.t.Errorf("%d was read %d times", i, n)
		}
	}
	if read != e.count {
		e.t.Errorf("%d records of %d", read, e.count)
	}
}

// run has members at work until the input is done; disturb is called meanwhile, again and again.
func (e *etl) run(ctx context.Context, members int, disturb func(round int)) {
	e.t.Helper()
	working, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	for n := range members {
		all.Go(func() { e.member(working, n) })
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.seeds...))
	if err != nil {
		e.t.Fatal(err)
	}
	defer cl.Close()
	for round := 0; !e.done(ctx, kadm.NewClient(cl)); round++ {
		if ctx.Err() != nil {
			end()
			all.Wait()
			e.t.Fatalf("not done: %d commits, %d aborts, %d failures", e.commits.Load(), e.aborts.Load(), e.failures.Load())
		}
		if disturb != nil {
			disturb(round)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	end()
	all.Wait()
	e.t.Logf("%d commits, %d aborts, %d sessions that failed", e.commits.Load(), e.aborts.Load(), e.failures.Load())
	e.check(ctx)
}

// A number would be written twice, or not at all, or read although its transaction was aborted.
func TestExactlyOnce(t *testing.T) {
	ctx := within(t, 90*time.Second)
	b := startBroker(t, "group.initial.rebalance.delay.ms=0")
	newETL(ctx, t, []string{b.Listen}, 1, 3000).run(ctx, 3, nil)
}

// Likewise, while the broker is killed under its clients again and again.
func TestExactlyOnceUnderKills(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	b := startBroker(t, "group.initial.rebalance.delay.ms=0")
	newETL(ctx, t, []string{b.Listen}, 1, 20_000).run(ctx, 3, killing(ctx, t, 8, b))
}

// Likewise in a cluster, whose brokers lead partitions, coordinate transactions and groups, and are killed in turn.
func TestExactlyOnceInACluster(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	c := newCluster(ctx, t, 3, "group.initial.rebalance.delay.ms=0")
	newETL(ctx, t, c.seeds(), 3, 20_000).run(ctx, 3, killing(ctx, t, 6, c.b...))
}

// A client that was replaced would go on in its transaction, and a transaction that nobody ends would hold up readers for ever.
func TestTransactionsAreFencedAndTimeOut(t *testing.T) {
	ctx := within(t, time.Minute)
	b := startBroker(t)
	client := func(o ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{
			kgo.SeedBrokers(b.Listen), kgo.TransactionalID("t"), kgo.DefaultProduceTopic("x"), kgo.AllowAutoTopicCreation(), kgo.TransactionTimeout(2 * time.Second),
		}, o...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	begin := func(cl *kgo.Client, value string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	zombie := client()
	begin(zombie, "of the zombie")
	next := client()
	begin(next, "of the next")
	if err := zombie.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("the zombie has committed")
	}
	if err := next.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	slow := client(kgo.TransactionalID("slow"))
	begin(slow, "nobody ends this")
	reader := client(kgo.ConsumeTopics("x"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	after := client(kgo.TransactionalID("after"))
	begin(after, "after it")
	if err := after.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 2 && ctx.Err() == nil {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if fmt.Sprint(got) != "[of the next after it]" {
		t.Errorf("read %v", got)
	}
	if err := slow.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("a transaction that had run out of time was committed")
	}
}
