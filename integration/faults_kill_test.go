package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// After SIGKILL at any moment an acknowledged record would be missing, doubled
// or out of order, or a group's committed offset be older than the commit that was answered.
func TestKillAtRandom(t *testing.T) {
	rng := seeded(t)
	b := startBroker(t, "raft.snapshot.entries=64", "log.retention.check.interval.ms=200")
	createTopic(t, b, "kills", 4, small...)
	l := newLoad(t, b, "kills", 4, rng.Uint64())
	l.start()
	c := startCommitter(t, b, "kills")
	kills, begin, slowest := 0, time.Now(), slowStart{}
	for deadline := begin.Add(faultsTime(t, 15*time.Second)); time.Now().Before(deadline); kills++ {
		if kills%2 == 0 {
			l.more(1) // the broker is known to work between some of the kills
		}
		pause(t, time.Duration(rng.IntN(600))*time.Millisecond)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		for rng.IntN(3) == 0 { // and now and then while it starts
			killStart(t, b, time.Duration(rng.IntN(150))*time.Millisecond)
			kills++
		}
		restart(t, b)
		slowest.note(b)
		c.check(b)
	}
	c.stop()
	l.stop()
	l.verify(b)
	if l.ledger.Failed > 0 {
		t.Errorf("%d records were refused to an idempotent producer", l.ledger.Failed)
	}
	t.Logf("%d kills, %d records acknowledged, %d commits answered", kills, l.ledger.Acked, c.answered)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	slowest.note(b)
	t.Logf("slowest start: ready %v after exec, and its log:\n%s", slowest.took.Round(time.Millisecond), slowest.log)
	l.verify(b)
	for _, p := range storageOf(t, b, "kills").Partitions {
		if p.Error != "" {
			t.Errorf("partition %d: %s", p.Partition, p.Error)
		}
	}
}

// slowStart remembers the start that took longest, and what the broker logged around it.
type slowStart struct {
	took time.Duration
	log  string
}

func (s *slowStart) note(b *harness.Broker) {
	if b.Started > s.took {
		s.took, s.log = b.Started, b.Tail(12)
	}
}

// pause lets the clients work for a while that the test's seed has chosen.
func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// killStart starts the broker and kills it after d, ready or not.
func killStart(t *testing.T, b *harness.Broker, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := b.Start(ctx); err != nil && !strings.Contains(err.Error(), "not ready in time") {
		t.Fatalf("broker ended by itself while it started: %v", err)
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
}

// committer commits ever higher offsets for a group.
type committer struct {
	t        *testing.T
	topic    string
	halt     context.CancelFunc
	done     chan struct{}
	mu       sync.Mutex
	answered int64 // the highest offset whose commit was answered with success
}

func startCommitter(t *testing.T, b *harness.Broker, topic string) *committer {
	ctx, halt := context.WithCancel(t.Context())
	c := &committer{t: t, topic: topic, halt: halt, done: make(chan struct{})}
	adm := kadm.NewClient(connect(t, b))
	go func() {
		defer close(c.done)
		for next := int64(1); ctx.Err() == nil; next++ {
			attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
			var offsets kadm.Offsets
			offsets.AddOffset(topic, 0, next, -1)
			err := adm.CommitAllOffsets(attempt, "committers", offsets)
			cancel()
			if err == nil {
				c.mu.Lock()
				c.answered = next
				c.mu.Unlock()
			}
		}
	}()
	return c
}

func (c *committer) stop() { c.halt(); <-c.done }

// check compares what the broker has with what was answered before.
func (c *committer) check(b *harness.Broker) {
	c.t.Helper()
	c.mu.Lock()
	want := c.answered
	c.mu.Unlock()
	if want == 0 {
		return
	}
	got, err := kadm.NewClient(connect(c.t, b)).FetchOffsets(within(c.t, 30*time.Second), "committers")
	if err != nil {
		c.t.Fatalf("fetch offsets: %v", err)
	}
	if o, ok := got.Lookup(c.topic, 0); !ok || o.Err != nil || o.At < want {
		c.t.Fatalf("committed offset is %d after a restart (%v), %d was answered", o.At, o.Err, want)
	}
}

// A clean stop under load would lose what was acknowledged, end with an error, or leave the next start to scan the logs.
func TestCleanStopUnderLoad(t *testing.T) {
	b := startBroker(t)
	createTopic(t, b, "stops", 4, "segment.bytes=1048576")
	l := newLoad(t, b, "stops", 4, 1)
	l.start()
	for range 3 {
		l.more(1000)
		if err := b.Stop(); err != nil {
			t.Fatalf("stop: %v", err)
		}
		restart(t, b)
	}
	l.stop()
	l.verify(b)
	if log := b.Tail(100000); strings.Contains(log, "partition recovered") {
		t.Error("a start after a clean stop had to repair a partition")
	}
}

// After kill -9 of a broker with many partitions one of them would not be served.
func TestManyPartitionsAfterKill(t *testing.T) {
	const many = 1000
	b := startBroker(t)
	createTopic(t, b, "many", many)
	cl := connect(t, b, kgo.DefaultProduceTopic("many"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	each := func() {
		t.Helper()
		records := make([]*kgo.Record, many)
		for p := range many {
			records[p] = &kgo.Record{Partition: int32(p), Value: fmt.Append(nil, p)}
		}
		if err := cl.ProduceSync(within(t, time.Minute), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	each()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	begin := time.Now()
	each()
	t.Logf("%d partitions: ready %v after exec, every one has acknowledged a record %v later", many, b.Started.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	ends, err := kadm.NewClient(cl).ListEndOffsets(within(t, 30*time.Second), "many")
	if err != nil {
		t.Fatal(err)
	}
	served := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil || o.Offset != 2 {
			t.Errorf("partition %d ends at %d (%v), 2 records were acknowledged", o.Partition, o.Offset, o.Err)
		}
		served++
	})
	if served != many {
		t.Errorf("%d partitions answered", served)
	}
}
