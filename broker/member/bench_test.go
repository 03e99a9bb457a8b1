package member

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// benchCluster runs three nodes with one topic.
func benchCluster(b *testing.B) (*cluster, kafka.TopicID) {
	c := newCluster(b, 3, 3)
	c.start(1, 2, 3)
	t := topic("t")
	t.Partitions = slices.Repeat(t.Partitions, 100)
	c.propose(1, t)
	c.same(1, 2, 3)
	return c, t.ID
}

func commit(group string, id kafka.TopicID, n int) command.CommitOffsets {
	return command.CommitOffsets{Group: group, Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: id, Index: int32(n % 100)}, Offset: kafka.Offset(n)}}}
}

// Offset commits answered per second by three nodes on one machine, each of which takes a third of them; each is on the
// disks of a majority, and applied where it was asked. in_flight is how many wait at each node.
func BenchmarkOffsetCommits(b *testing.B) {
	for _, inFlight := range []int{1, 256, 4096} {
		b.Run(fmt.Sprintf("%d_in_flight", inFlight), func(b *testing.B) {
			c, id := benchCluster(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			latency := newLatency()
			b.ResetTimer()
			var running sync.WaitGroup
			for node, n := range c.nodes {
				for g := range inFlight {
					running.Go(func() {
						group := fmt.Sprint(node, "-", g)
						for i := left.Add(-1); i >= 0; i = left.Add(-1) {
							began := time.Now()
							if _, err := n.Quorum.Propose(context.Background(), commit(group, id, int(i))); err != nil {
								b.Error(err)
							}
							latency.add(time.Since(began))
						}
					})
				}
			}
			running.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			latency.report(b)
		})
	}
}

// Latency of offset commits that come at a steady rate, whether or not those before them are answered.
func BenchmarkOffsetCommitsPaced(b *testing.B) {
	for _, rate := range []int{5_000, 25_000, 50_000} {
		b.Run(fmt.Sprintf("%d_per_second", rate), func(b *testing.B) {
			c, id := benchCluster(b)
			latency := newLatency()
			var waiting sync.WaitGroup
			b.ResetTimer()
			began := time.Now()
			for sent := 0; sent < b.N; {
				due := min(b.N, int(time.Since(began).Seconds()*float64(rate))+1)
				for ; sent < due; sent++ {
					at := began.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
					waiting.Add(1)
					c.nodes[kafka.BrokerID(sent%3+1)].Quorum.ProposeAsync(commit(fmt.Sprint(sent%1000), id, sent), func(_ any, err error) {
						if err != nil {
							b.Error(err)
						}
						latency.add(time.Since(at))
						waiting.Done()
					})
				}
				time.Sleep(time.Millisecond)
			}
			waiting.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			latency.report(b)
		})
	}
}

// Time from the call to the image of every node, one command at a time; proposed at the leader and elsewhere.
func BenchmarkEveryImage(b *testing.B) {
	for _, where := range []string{"leader", "follower"} {
		b.Run(where, func(b *testing.B) {
			c, id := benchCluster(b)
			at := c.leader(1, 2, 3)
			if where == "follower" {
				at = at%3 + 1
			}
			var seen [4]chan kafka.Offset
			for node, n := range c.nodes {
				ch := make(chan kafka.Offset, 1)
				seen[node] = ch
				n.Quorum.Subscribe(func(_, m *image.Image, ch2 image.Changes) {
					if p, ok := m.Partition(kafka.Partition{Topic: id}); ok {
						ch <- p.LogStart
					}
				})
			}
			latency, own := newLatency(), newLatency()
			p, _ := c.nodes[at].Quorum.Image().Partition(kafka.Partition{Topic: id})
			b.ResetTimer()
			for i := range b.N {
				began := time.Now()
				if _, err := c.nodes[at].Quorum.Propose(context.Background(), command.TrimLog{Partition: p.Partition, Epoch: p.LeaderEpoch, Start: kafka.Offset(i + 1)}); err != nil {
					b.Fatal(err)
				}
				own.add(time.Since(began))
				for node := range c.nodes {
					for <-seen[node] != kafka.Offset(i+1) {
					}
				}
				latency.add(time.Since(began))
			}
			b.StopTimer()
			latency.report(b)
			b.ReportMetric(float64(own.at(0.5).Microseconds())/1000, "answer-p50-ms")
		})
	}
}

// latency collects durations.
type latency struct {
	mu  sync.Mutex
	all []time.Duration
}

func newLatency() *latency { return &latency{} }

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latency) at(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	return l.all[min(len(l.all)-1, int(q*float64(len(l.all))))]
}

func (l *latency) report(b *testing.B) {
	for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		b.ReportMetric(float64(l.at(q).Microseconds())/1000, name)
	}
}
