package telemetry

// Sources are asked at each collection. Every field may be nil: its metrics
// are then absent. The functions must be quick and must not block on network
// or disk, and may be called from several goroutines.
type Sources struct {
	Server  func() ServerState
	Log     func() LogState
	Tier    func() TierState
	Quorum  func() QuorumState
	Cluster func() ClusterState
	TLS     func() TLSState
	Process func() ProcessState
}

// ProcessState is this process as the system sees it.
type ProcessState struct {
	CPU   float64 // seconds since the start
	RSS   int64   // bytes; 0: unknown
	Files int64   // open; 0: unknown
}

// TLSState counts handshakes on clients' listeners, and tells how long certificates last.
type TLSState struct {
	Handshakes, Failed     int64 // since the start
	Reloads, ReloadsFailed int64
	Certificates           []CertificateState
}

// CertificateState is one listener's certificate.
type CertificateState struct {
	Listener  string
	Remaining float64 // seconds; negative: it has expired
}

// ServerState counts what connections did.
type ServerState struct {
	BytesIn, BytesOut                   int64 // since the start
	Connections                         int64 // now
	Accepted, RefusedByLimit, Throttled int64 // since the start
	QueuedBytes                         int64 // now
	PartitionsOnline, PartitionsOffline int64
}

// LogState is what is kept, here and in the bucket, for partitions that this broker hosts.
type LogState struct {
	HotSegments, ColdSegments int64
	Topics                    []TopicSize
	DiskFree, DiskSize        int64 // negative: unknown
	DiskFull                  bool
	Damaged                   int64   // partitions
	ScrubBytes, ScrubDamaged  int64   // since the start
	ScrubAge                  float64 // seconds; negative: no round has ended yet
	Compaction                Compaction
}

// Compaction is what the cleaner of compacted topics has done since the start.
type Compaction struct {
	Passes, Failed int64
	Read, Freed    int64 // bytes
	DirtiestRatio  float64
	Uncleanable    int64 // partitions of which the last pass failed
}

// TopicSize is the size of a topic's segments in bytes, and what went through its partitions here since the start.
type TopicSize struct {
	Topic                     string
	HotBytes, ColdBytes       int64
	Produced, Records         int64 // by producers
	ConsumedHot, ConsumedCold int64 // bytes
	Replicated                int64 // bytes
}

// TierState counts, since the start, what was asked of the bucket.
type TierState struct {
	Puts, Gets, Heads, Lists, Deletes int64
	BytesUp, BytesDown                int64
	BacklogBytes                      int64   // now
	BacklogSeconds                    float64 // now: age of the oldest closed segment that is not in the bucket
	CacheHits, CacheMisses            int64
	CacheBytes                        int64 // now
	Orphans                           int64
	FailingPartitions                 int64   // now: those whose last attempt at the bucket has failed
	FailingSeconds                    float64 // now: of those, the one that has failed for longest
	UnreadablePartitions, LostObjects int64   // now: what the bucket is known not to have, or to have damaged
	Held                              bool    // now: it is not the bucket that the metadata speaks of, and left alone
}

// QuorumState is the metadata quorum as this broker sees it.
type QuorumState struct {
	Term, Applied, Commit, Snapshot uint64
	Leading, HasLeader              bool
	Voters, Queued                  int64
}

// ClusterState is topics and groups. A broker reports the partitions that it
// leads with the groups' offsets in them, and the members of the groups that it
// coordinates, so that sums over brokers count everything once.
type ClusterState struct {
	Brokers int
	// ClockOffset is how far this machine's clock is ahead of what most brokers' say, in seconds.
	ClockOffset float64
	Topics      []TopicState
	Groups      []GroupState

	BrokerStates map[string]int64
	// Leaderless are partitions of the whole cluster; the others those that this broker leads.
	Leaderless, Led, UnderReplicated, UnderMinISR, Reassigning int64
	Shrinks, Expands, Elections                                int64 // since the start
	GroupKinds                                                 map[GroupKind]int64
	Transactions                                               map[string]int64 // by state
	TransactionAge                                             float64          // seconds, of the oldest under way
}

// GroupKind is what groups are counted by.
type GroupKind struct{ Type, State string }

// TopicState is a topic with those of its partitions that this broker leads.
type TopicState struct {
	Name       string
	Partitions int // of the whole topic
	Led        []PartitionState
}

// PartitionState is one partition.
type PartitionState struct {
	Index         int32
	Oldest, End   int64 // End as consumers see it: the high watermark
	Leader        int32
	Replicas, ISR int
	Preferred     bool
}

// GroupState is one group.
type GroupState struct {
	Name    string
	Members int           // negative: another broker coordinates it
	Offsets []GroupOffset // sorted by topic
}

// GroupOffset is one committed offset, and how far behind it is.
type GroupOffset struct {
	Topic     string
	Partition int32
	Committed int64
	Lag       int64   // records; negative when the partition's end is unknown here
	Age       float64 // seconds that the oldest uncommitted record has waited; 0 without lag, negative when unknown
}
