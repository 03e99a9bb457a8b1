package sources

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/compact"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/scrub"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Parts are what is asked.
type Parts struct {
	Node   kafka.BrokerID
	Quorum *quorum.Quorum
	Hosted *hosted.Set
	Groups *coordinator.Coordinator
	Clock  *control.Clock

	Archive *archive.Archive
	// Losses are partitions of which the bucket does not give everything, and how many objects of them it does not give.
	Losses   func() (partitions, objects int)
	Cold     *cold.Reader
	Bucket   *object.Counting
	Scrubber *scrub.Scrubber
	Cleaner  *compact.Cleaner

	Server      *server.Server
	Identities  map[string]*secure.Identity // by listener
	Connections *Connections
	Counters    *Counters

	// Space is the data volume's size and what of it this process may still write.
	Space func() (total, usable int64, err error)
	// Full tells whether it takes no records.
	Full func() bool
}

// Sources are safe for concurrent use.
type Sources struct {
	parts Parts
	ages  lagAges
}

// New returns what answers for the broker that has these parts.
func New(p Parts) *Sources {
	return &Sources{parts: p, ages: lagAges{image: p.Quorum.Image, hosted: p.Hosted}}
}

// Run looks, until ctx ends, at what a collection must not wait for.
func (src *Sources) Run(ctx context.Context) error { return src.ages.run(ctx) }

// Telemetry is what metrics are asked of at each collection.
func (src *Sources) Telemetry() telemetry.Sources {
	return telemetry.Sources{
		Server: src.serverState, Log: src.logState, Tier: src.tierState, Quorum: src.quorumState, Cluster: src.clusterState,
		TLS: src.tlsState, Process: processState,
	}
}

func (src *Sources) serverState() telemetry.ServerState {
	o := src.parts.Connections
	return telemetry.ServerState{
		BytesIn: o.in.Load(), BytesOut: o.out.Load(), Connections: o.open.Load(), Accepted: o.accepted.Load(),
		RefusedByLimit: o.refused.Load(), Throttled: o.throttled.Load(), QueuedBytes: src.parts.Server.BytesInFlight(),
		PartitionsOnline: int64(src.parts.Hosted.Len()), PartitionsOffline: int64(len(src.parts.Hosted.Failed())),
	}
}

func (src *Sources) logState() telemetry.LogState {
	s := telemetry.LogState{DiskFree: -1}
	if total, free, err := src.parts.Space(); err == nil {
		s.DiskFree, s.DiskSize = free, total
	}
	s.DiskFull = src.parts.Full()
	scrub := src.parts.Scrubber.Status()
	s.ScrubBytes, s.ScrubDamaged, s.ScrubAge = scrub.Bytes, scrub.Damaged, -1
	if !scrub.Finished.IsZero() {
		s.ScrubAge = time.Since(scrub.Whole).Seconds()
	}
	c := src.parts.Cleaner.Stats()
	s.Compaction = telemetry.Compaction{
		Passes: c.Passes, Failed: c.Failed, Read: c.Read, Freed: c.Freed, DirtiestRatio: c.DirtiestRatio, Uncleanable: int64(c.Uncleanable),
	}
	at := map[string]int{}
	src.parts.Hosted.Each(func(p *partition.Partition) {
		if p.Damage() != nil {
			s.Damaged++
		}
		i, ok := at[p.Topic()]
		if !ok {
			i = len(s.Topics)
			at[p.Topic()] = i
			t := src.parts.Counters.Traffic(p.Topic())
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

func (src *Sources) tierState() telemetry.TierState {
	c, reader, stats := src.parts.Bucket.Counts(), src.parts.Cold.Stats(), src.parts.Archive.Stats()
	s := telemetry.TierState{
		Puts: c.Puts, Gets: c.Gets, Heads: c.Heads, Lists: c.Lists, Deletes: c.Deletes, BytesUp: c.Up, BytesDown: c.Down,
		CacheHits: int64(reader.Hits), CacheMisses: int64(reader.Misses), CacheBytes: reader.Held, Orphans: stats.Swept,
		BacklogBytes: stats.PendingBytes,
	}
	if !stats.PendingSince.IsZero() {
		s.BacklogSeconds = time.Since(stats.PendingSince).Seconds()
	}
	s.FailingPartitions = int64(stats.Failing)
	if !stats.FailingSince.IsZero() {
		s.FailingSeconds = time.Since(stats.FailingSince).Seconds()
	}
	partitions, objects := src.parts.Losses()
	s.UnreadablePartitions, s.LostObjects = int64(partitions), int64(objects)
	s.Held = src.parts.Archive.Held() != nil
	return s
}

func (src *Sources) quorumState() telemetry.QuorumState {
	s := src.parts.Quorum.Status()
	return telemetry.QuorumState{
		Term: s.Term, Applied: s.AppliedIndex, Commit: s.CommitIndex, Snapshot: s.SnapshotIndex,
		Leading: s.LeaderID == src.parts.Node, HasLeader: s.LeaderID != kafka.NoBroker,
		Voters: int64(len(s.Voters)), Queued: int64(s.QueuedCommands),
	}
}

func (src *Sources) tlsState() telemetry.TLSState {
	s := telemetry.TLSState{Handshakes: src.parts.Connections.shaken.Load(), Failed: src.parts.Connections.unshaken.Load()}
	for name, id := range src.parts.Identities {
		st := id.Status()
		s.Reloads += st.Reloads
		s.ReloadsFailed += st.Failed
		s.Certificates = append(s.Certificates, telemetry.CertificateState{Listener: name, Remaining: time.Until(st.NotAfter).Seconds()})
	}
	return s
}
