package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lagTimeout bounds how long the records are waited for whose age is the lag in time.
const lagTimeout = 5 * time.Second

// seedOptions are what a second client needs to reach the same cluster.
func (a *app) seedOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(a.seeds()...), kgo.ClientID("qanat-cli"), kgo.DialTimeout(dialTimeout),
		kgo.FetchMaxPartitionBytes(1), kgo.FetchMaxWait(100 * time.Millisecond), kgo.DisableFetchSessions(),
		kgo.KeepControlRecords(),
	}
}

// waiting fills in the lag in time: it reads, from each partition that lags,
// the record at the committed offset. What does not come in time stays unknown.
func waiting(ctx context.Context, groups []*groupDescription, options []kgo.Opt) {
	type where struct {
		topic string
		id    int32
	}
	wanted := map[where][]*groupOffsets{}
	zero := 0.0
	for _, g := range groups {
		for i := range g.Partitions {
			o := &g.Partitions[i]
			switch {
			case o.Lag == 0:
				o.LagSeconds = &zero
			case o.Lag > 0:
				wanted[where{o.Topic, o.Partition}] = append(wanted[where{o.Topic, o.Partition}], o)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	// One reader for each group: two groups may stand at different offsets of one partition.
	for len(wanted) > 0 && ctx.Err() == nil {
		at := map[string]map[int32]kgo.Offset{}
		turn := map[where]*groupOffsets{}
		for w, list := range wanted {
			turn[w] = list[0]
			put(at, w.topic, w.id, kgo.NewOffset().At(max(list[0].Committed, list[0].Start)))
			if wanted[w] = list[1:]; len(wanted[w]) == 0 {
				delete(wanted, w)
			}
		}
		cl, err := kgo.NewClient(append(options, kgo.ConsumePartitions(at))...)
		if err != nil {
			return
		}
		for len(turn) > 0 && ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			fetches.EachRecord(func(r *kgo.Record) {
				w := where{r.Topic, r.Partition}
				if o := turn[w]; o != nil {
					age := max(time.Since(r.Timestamp).Seconds(), 0)
					o.LagSeconds = &age
					delete(turn, w)
					cl.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
				}
			})
			for _, e := range fetches.Errors() {
				delete(turn, where{e.Topic, e.Partition})
			}
		}
		cl.Close()
	}
	for _, g := range groups {
		for _, o := range g.Partitions {
			if o.LagSeconds != nil && (g.LagSeconds == nil || *o.LagSeconds > *g.LagSeconds) {
				g.LagSeconds = o.LagSeconds
			}
		}
	}
}
