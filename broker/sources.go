package broker

import (
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/wire/kafka"
)

// serverObserver counts what the server tells and passes requests on to the telemetry.
type serverObserver struct {
	t                                     *telemetry.Telemetry
	in, out, open, accepted, refusedCount atomic.Int64
	shaken, unshaken                      atomic.Int64 // TLS handshakes
	throttled                             atomic.Int64
}

func (o *serverObserver) Opened(string)  { o.open.Add(1); o.accepted.Add(1) }
func (o *serverObserver) Closed(string)  { o.open.Add(-1) }
func (o *serverObserver) Refused(string) { o.refusedCount.Add(1) }

func (o *serverObserver) Handshake(_ string, cause *secure.Cause) {
	if cause == nil {
		o.shaken.Add(1)
	} else {
		o.unshaken.Add(1)
	}
}

func (o *serverObserver) Request(r server.RequestStats) {
	o.in.Add(int64(r.Request))
	o.out.Add(int64(r.Response))
	if r.Throttled {
		o.throttled.Add(1)
	}
	o.t.Request(r.Key, r.Total, r.Failed)
	o.t.ClientRequest(r.ClientID, r.Key, r.Request, r.Response)
	if r.Trace != nil {
		o.t.Traced(telemetry.RequestTrace{
			Key: r.Key, Version: r.Version, Client: r.Client, ClientID: r.ClientID, Request: r.Request, Response: r.Response,
			Took: r.Total, Closed: r.Failed, Trace: r.Trace,
		})
	}
}

// sources is what metrics are asked of at each collection.
func (b *Broker) sources() telemetry.Sources {
	return telemetry.Sources{
		Server: b.serverState, Log: b.logState, Tier: b.tierState, Quorum: b.quorumState, Cluster: b.clusterState,
		TLS: b.tlsState, Process: processState,
	}
}

func (b *Broker) serverState() telemetry.ServerState {
	o := b.observer
	return telemetry.ServerState{
		BytesIn: o.in.Load(), BytesOut: o.out.Load(), Connections: o.open.Load(), Accepted: o.accepted.Load(),
		RefusedByLimit: o.refusedCount.Load(), Throttled: o.throttled.Load(), QueuedBytes: b.server.BytesInFlight(), PartitionsOnline: int64(b.hosted.Len()), PartitionsOffline: int64(len(b.hosted.Failed())),
	}
}

func (b *Broker) logState() telemetry.LogState {
	s := telemetry.LogState{DiskFree: -1}
	if total, free, err := b.space(); err == nil {
		s.DiskFree, s.DiskSize = free, total
	}
	s.DiskFull = b.full.Load()
	scrub := b.scrub.Status()
	s.ScrubBytes, s.ScrubDamaged, s.ScrubAge = scrub.Bytes, scrub.Damaged, -1
	if !scrub.Finished.IsZero() {
		s.ScrubAge = time.Since(scrub.Whole).Seconds()
	}
	c := b.cleaner.Stats()
	s.Compaction = telemetry.Compaction{
		Passes: c.Passes, Failed: c.Failed, Read: c.Read, Freed: c.Freed, DirtiestRatio: c.DirtiestRatio, Uncleanable: int64(c.Uncleanable),
	}
	at := map[string]int{}
	b.hosted.Each(func(p *partition.Partition) {
		if p.Damage() != nil {
			s.Damaged++
		}
		i, ok := at[p.Topic()]
		if !ok {
			i = len(s.Topics)
			at[p.Topic()] = i
			t := b.counted.traffic(p.Topic())
			s.Topics = append(s.Topics, telemetry.TopicSize{
				Topic: p.Topic(), Produced: t.Produced.Load(), Records: t.Records.Load(),
				ConsumedHot: t.Hot.Load(), ConsumedCold: t.Cold.Load(), Replicated: t.Replicated.Load(),
			})
		}
		hot, cold := p.Sizes()
		s.Topics[i].HotBytes += hot
		s.Topics[i].ColdBytes += cold
		s.HotSegments += int64(len(p.Log().Local().Segments()))
		s.ColdSegments += int64(p.Log().Manifest().Count())
	})
	return s
}

func (b *Broker) tierState() telemetry.TierState {
	c, reader, stats := b.bucket.Counts(), b.cold.Stats(), b.archive.Stats()
	s := telemetry.TierState{
		Puts: c.Puts, Gets: c.Gets, Heads: c.Heads, Lists: c.Lists, Deletes: c.Deletes, BytesUp: c.Up, BytesDown: c.Down,
		CacheHits: int64(reader.Hits), CacheMisses: int64(reader.Misses), CacheBytes: reader.Held, Orphans: stats.Swept,
		BacklogBytes: stats.PendingBytes,
	}
	if !stats.PendingSince.IsZero() {
		s.BacklogSeconds = time.Since(stats.PendingSince).Seconds()
	}
	return s
}

func (b *Broker) quorumState() telemetry.QuorumState {
	s := b.quorum.Status()
	return telemetry.QuorumState{
		Term: s.Term, Applied: s.AppliedIndex, Commit: s.CommitIndex, Snapshot: s.SnapshotIndex,
		Leading: s.LeaderID == b.node, HasLeader: s.LeaderID != kafka.NoBroker,
		Voters: int64(len(s.Voters)), Queued: int64(s.QueuedCommands),
	}
}
