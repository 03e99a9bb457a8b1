package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// queue is a topic whose records the members of a share group take from one another.
type queue struct {
	t     *testing.T
	seeds []string
	count int

	mu       sync.Mutex
	seen     map[string]int
	accepted map[string]int // as the broker has answered

	deliveries, refused atomic.Int64
}

const (
	queueTopic = "queue"
	queueGroup = "workers"
	queueParts = 3
)

func newQueue(ctx context.Context, t *testing.T, seeds []string, replicas int16, count int) *queue {
	t.Helper()
	q := &queue{t: t, seeds: seeds, count: count, seen: map[string]int{}, accepted: map[string]int{}}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if _, err := admin.CreateTopics(ctx, queueParts, replicas, nil, queueTopic); err != nil {
		t.Fatal(err)
	}
	configureShareGroup(ctx, t, cl, queueGroup, "share.auto.offset.reset=earliest")
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: queueTopic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return q
}

// configureShareGroup sets configurations, NAME=VALUE, of a group.
func configureShareGroup(ctx context.Context, t *testing.T, cl *kgo.Client, group string, configs ...string) {
	t.Helper()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for _, config := range configs {
		name, value, _ := strings.Cut(config, "=")
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, &value
		r.Configs = append(r.Configs, c)
	}
	set := kmsg.NewPtrIncrementalAlterConfigsRequest()
	set.Resources = append(set.Resources, r)
	if got, err := set.RequestWith(ctx, cl); err != nil || got.Resources[0].ErrorCode != 0 {
		t.Fatal(err, got)
	}
}

// worker takes records and accepts them, but for every seventh at its first delivery, which it gives back.
func (q *queue) worker(ctx context.Context) {
	var mu sync.Mutex
	failed := map[int32]bool{} // partitions of whose acknowledgements one was refused since the last poll
	cl, err := kgo.NewClient(kgo.SeedBrokers(q.seeds...), kgo.ShareGroup(queueGroup), kgo.ConsumeTopics(queueTopic), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ShareMaxRecords(50), kgo.RetryTimeout(15*time.Second), kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range results {
				if r.Err != nil {
					failed[r.Partition] = true
					q.refused.Add(1)
				}
			}
		}))
	if err != nil {
		q.t.Error(err)
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fetches := cl.PollRecords(ctx, 50)
		accepted := map[int32][]string{}
		fetches.EachRecord(func(r *kgo.Record) {
			v := string(r.Value)
			q.deliveries.Add(1)
			q.mu.Lock()
			q.seen[v]++
			again := q.seen[v] > 1
			q.mu.Unlock()
			if !again && r.Offset%7 == 3 {
				cl.MarkAcks(kgo.AckRelease, r)
				return
			}
			cl.MarkAcks(kgo.AckAccept, r)
			accepted[r.Partition] = append(accepted[r.Partition], v)
		})
		if len(accepted) == 0 {
			continue
		}
		if err := cl.FlushAcks(ctx); err != nil {
			return // what became of them is not known
		}
		mu.Lock()
		for p, values := range accepted {
			if !failed[p] {
				q.mu.Lock()
				for _, v := range values {
					q.accepted[v]++
				}
				q.mu.Unlock()
			}
		}
		clear(failed)
		mu.Unlock()
	}
}

// left is how many records are still to do; false when nobody can tell.
func (q *queue) left(ctx context.Context, cl *kgo.Client) (int64, bool) {
	req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	req.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: queueGroup}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	got, err := req.RequestWith(ctx, cl)
	if err != nil || len(got.Groups) != 1 || got.Groups[0].ErrorCode != 0 || len(got.Groups[0].Topics) != 1 || len(got.Groups[0].Topics[0].Partitions) != queueParts {
		return 0, false
	}
	var left int64
	for _, p := range got.Groups[0].Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Lag < 0 {
			return 0, false
		}
		left += p.Lag
	}
	return left, true
}

// run has workers at it until nothing is left; disturb is called meanwhile, again and again.
func (q *queue) run(ctx context.Context, workers int, disturb func(round int)) {
	q.t.Helper()
	working, end := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() { q.worker(working) })
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(q.seeds...))
	if err != nil {
		q.t.Fatal(err)
	}
	defer cl.Close()
	for round := 0; ; round++ {
		left, known := q.left(ctx, cl)
		if known && left == 0 {
			break
		}
		if ctx.Err() != nil {
			end()
			all.Wait()
			q.t.Fatalf("not done: %d left (%v), %d deliveries", left, known, q.deliveries.Load())
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
	q.t.Logf("%d records, %d deliveries, %d acknowledgements refused", q.count, q.deliveries.Load(), q.refused.Load())
	for i := range q.count {
		v := fmt.Sprint(i)
		if q.seen[v] == 0 {
			q.t.Errorf("record %s was given to nobody", v)
		}
		if q.accepted[v] > 1 {
			q.t.Errorf("record %s was accepted %d times", v, q.accepted[v])
		}
	}
}

// A record would be given to nobody, or be accepted twice.
func TestShareGroup(t *testing.T) {
	ctx := within(t, 90*time.Second)
	b := startBroker(t)
	newQueue(ctx, t, []string{b.Listen}, 1, 5000).run(ctx, 4, nil)
}

// Likewise, while the broker is killed under its consumers again and again.
func TestShareGroupUnderKills(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	b := startBroker(t)
	newQueue(ctx, t, []string{b.Listen}, 1, 30_000).run(ctx, 4, killing(ctx, t, 5, b))
}

// Members would be given what was aborted although their group does not want it, miss what was committed, or not be given what only the bucket has.
func TestShareGroupOverHistory(t *testing.T) {
	b := startBroker(t, "log.retention.check.interval.ms=200", "log.segment.delete.delay.ms=0")
	createTopic(t, b, "history", 1, "segment.bytes=65536", "local.retention.bytes=1")
	ctx := within(t, 2*time.Minute)
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.Listen), kgo.TransactionalID("history"), kgo.DefaultProduceTopic("history"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	all, committed := map[string]int{}, map[string]int{}
	for n := range 90 {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		var records []*kgo.Record
		for i := range 20 {
			v := fmt.Sprintf("%d.%d %s", n, i, strings.Repeat("x", 300))
			records = append(records, &kgo.Record{Value: []byte(v)})
			if all[v]++; n%3 > 0 {
				committed[v]++
			}
		}
		if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := producer.EndTransaction(ctx, kgo.TransactionEndTry(n%3 > 0)); err != nil {
			t.Fatal(err)
		}
	}
	archived(t, b)
	until(t, "local segments are not released", func() bool { return storageOf(t, b, "history").Partitions[0].Hot.Start > 1000 })
	for level, want := range map[string]map[string]int{"read_committed": committed, "read_uncommitted": all} {
		configureShareGroup(ctx, t, producer, level, "share.auto.offset.reset=earliest", "share.isolation.level="+level)
		got := takeAll(ctx, t, b.Listen, level, "history", len(want))
		if !maps.Equal(got, want) {
			t.Errorf("%s: %d records were given out, of %d", level, len(got), len(want))
		}
	}
}

// takeAll has one member take and accept until it has had so many records, and the group has nothing left to do; how often it had each.
func takeAll(ctx context.Context, t *testing.T, broker, group, topic string, count int) map[string]int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ShareGroup(group), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := map[string]int{}
	for {
		cl.PollRecords(ctx, 100).EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
		cl.MarkAcks(kgo.AckAccept)
		if err := cl.FlushAcks(ctx); err != nil {
			t.Fatalf("%s: %d records of %d: %v", group, len(got), count, err)
		}
		if len(got) < count {
			continue
		}
		offsets, err := kadm.NewClient(cl).DescribeShareGroupOffsets(ctx, group)
		if err != nil {
			t.Fatal(err)
		}
		if at := offsets[group].Offsets.Sorted(); len(at) == 1 && at[0].Lag == 0 {
			return got
		}
	}
}

// Likewise in a cluster, whose brokers lead partitions, coordinate the group, and are killed in turn.
func TestShareGroupInACluster(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	c := newCluster(ctx, t, 3)
	newQueue(ctx, t, c.seeds(), 3, 30_000).run(ctx, 4, killing(ctx, t, 6, c.b...))
}
