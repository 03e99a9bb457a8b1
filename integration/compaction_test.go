package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/integration/harness"
)

// compacted is a topic of one partition, its acknowledged values, and a producer that goes on under faults.
type compacted struct {
	t *testing.T
	c *cluster

	mu    sync.Mutex
	acked map[string]int64 // key → offset of its last acknowledged record
	at    map[int64]string // offset → key=value
}

// produce writes random keys until ctx ends; each key has one record on its way at a time, so that its last is known.
func (p *compacted) produce(ctx context.Context, seeds []string) {
	p.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("t"), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		p.t.Error(err)
		return
	}
	defer cl.Close()
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key, value := fmt.Sprintf("%d-%d", w, rand.IntN(12)), []byte(strconv.Itoa(n))
				if rand.IntN(6) == 0 {
					value = nil
				}
				r, err := cl.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(key), Value: value}).First()
				if err != nil {
					p.t.Errorf("produce: %v", err)
					return
				}
				p.mu.Lock()
				p.acked[key], p.at[r.Offset] = r.Offset, key+"="+string(value)
				if value == nil {
					p.at[r.Offset] = key
				}
				p.mu.Unlock()
			}
		})
	}
	workers.Wait()
}

// count is how many records were acknowledged.
func (p *compacted) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}

// read reads the topic from its beginning as one broker has it, and tells the offset of each key's last record.
func (p *compacted) read(ctx context.Context, from *harness.Broker) (last map[string]int64, records int) {
	p.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(from.Listen), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		p.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "t")
	if err != nil {
		p.t.Fatal(err)
	}
	end, _ := ends.Lookup("t", 0)
	last = map[string]int64{}
	for position := int64(0); position < end.Offset; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			p.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got := string(r.Key)
			if r.Value != nil {
				got += "=" + string(r.Value)
			}
			p.mu.Lock()
			want, known := p.at[r.Offset]
			p.mu.Unlock()
			if known && got != want {
				p.t.Fatalf("offset %d holds %q, was %q", r.Offset, got, want)
			}
			last[string(r.Key)] = r.Offset
			position = r.Offset + 1
			records++
		})
	}
	return last, records
}

// False if it failed: "a compacted topic of three replicas keeps the last acknowledged record of each key at its offset, whichever replica
// leads, while brokers are killed and one comes back with an empty disk; and it is compacted".
func TestCompactionUnderFaults(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	c := newCluster(ctx, t, 3, "log.cleaner.backoff.ms=100", "log.cleaner.min.cleanable.ratio=0.05")
	policy, bytes := "compact", "16384"
	if _, err := c.admin().CreateTopic(ctx, 1, 3, map[string]*string{"cleanup.policy": &policy, "segment.bytes": &bytes}, "t"); err != nil {
		t.Fatal(err)
	}
	p := &compacted{t: t, c: c, acked: map[string]int64{}, at: map[int64]string{}}
	var seeds []string
	for _, b := range c.b {
		seeds = append(seeds, b.Listen)
	}
	producing, stop := context.WithCancel(ctx)
	var producer sync.WaitGroup
	producer.Go(func() { p.produce(producing, seeds) })
	for i := range 6 {
		if err := harness.Until(ctx, func() (bool, error) { return p.count() >= 300*(i+1), nil }); err != nil {
			t.Fatalf("%d records are acknowledged: %v", p.count(), err)
		}
		victim := c.b[i%3]
		if err := victim.Kill(); err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			if err := os.RemoveAll(victim.Dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := victim.Start(ctx); err != nil {
			t.Fatal(err)
		}
		c.await(ctx, victim, "healthy again", func(h console.Cluster) bool { return h.Healthy && h.Active == 3 })
	}
	stop()
	producer.Wait()
	for i, b := range c.b {
		n := 0
		if err := harness.Until(ctx, func() (bool, error) {
			var last map[string]int64
			last, n = p.read(ctx, c.b[(i+1)%3])
			if !maps.Equal(newest(p.acked, last), last) || len(last) != len(p.acked) {
				t.Fatalf("read %d: last offsets are %v, acknowledged were %v", i, last, p.acked)
			}
			return n <= len(p.at)/2, nil
		}); err != nil {
			t.Fatalf("%d of %d records are left: nothing was compacted: %v", n, len(p.at), err)
		}
		t.Logf("%d records of %d are left, of %d keys", n, len(p.at), len(p.acked))
		if err := b.Kill(); err != nil { // somebody else leads the next time
			t.Fatal(err)
		}
		if err := b.Start(ctx); err != nil {
			t.Fatal(err)
		}
		c.await(ctx, b, "healthy again", func(h console.Cluster) bool { return h.Healthy && h.Active == 3 })
	}
}

// newest is what a reader may end with: what was acknowledged, or what is behind it and was answered to nobody.
func newest(acked, read map[string]int64) map[string]int64 {
	out := maps.Clone(acked)
	for key, at := range read {
		if at > out[key] {
			out[key] = at
		}
	}
	return out
}
