package telemetry

// kind is the sort of instrument.
type kind int8

const (
	counter   kind = iota // grows only
	gauge                 // a state
	histogram             // a distribution
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// Declaration is one metric. Names, units and attributes are a contract with dashboards.
type Declaration struct {
	Name       string // OpenTelemetry's
	Kind       kind
	Unit       string // UCUM
	Help       string
	Attributes []string
	Buckets    []float64 // of a histogram
	// PerPartition metrics are left out beyond metrics.partition.series.max.
	PerPartition bool
	// PrometheusOnly metrics bear kafka_exporter's names and are not pushed.
	PrometheusOnly bool
}

// Bucket bounds. The default ones of OpenTelemetry are for milliseconds.
var (
	secondsBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	countBuckets   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
)

// Declarations are all metrics, in the order of the documentation; those of
// Go's runtime (go.*), which OpenTelemetry declares, come on top.
var Declarations = []Declaration{
	// Requests.
	{Name: "kafka.request.duration", Kind: histogram, Unit: "s", Help: "From a request's last byte read to its answer's last byte written.", Attributes: []string{"api"}, Buckets: secondsBuckets},
	{Name: "kafka.request.errors", Kind: counter, Unit: "{request}", Help: "Requests in place of whose answer the connection was closed.", Attributes: []string{"api"}},
	{Name: "kafka.network.io", Kind: counter, Unit: "By", Help: "Bytes of requests and responses on client connections.", Attributes: []string{"direction"}},
	{Name: "kafka.connections", Kind: gauge, Unit: "{connection}", Help: "Open client connections."},
	{Name: "kafka.connections.accepted", Kind: counter, Unit: "{connection}", Help: "Client connections taken since the start."},
	{Name: "kafka.connections.refused", Kind: counter, Unit: "{connection}", Help: "Client connections that were not taken because of a limit or a quota."},
	{Name: "kafka.client.requests", Kind: counter, Unit: "{request}", Help: "Requests by client id; only with metrics.clients.max.", Attributes: []string{"client", "api"}},
	{Name: "kafka.client.io", Kind: counter, Unit: "By", Help: "Bytes of requests and responses by client id; only with metrics.clients.max.", Attributes: []string{"client", "direction"}},
	{Name: "kafka.requests.queued", Kind: gauge, Unit: "By", Help: "Bytes of requests being read or answered."},
	{Name: "kafka.requests.throttled", Kind: counter, Unit: "{request}", Help: "Requests whose client was told to wait, because of a quota."},
	{Name: "qanat.client_metrics.pushes", Kind: counter, Unit: "{push}", Help: "Metrics that clients have sent of themselves (KIP-714): pushed on (forwarded), or not because the endpoint did not take them or too many waited for it (dropped).", Attributes: []string{"result"}},

	// TLS.
	{Name: "qanat.tls.handshakes", Kind: counter, Unit: "{handshake}", Help: "TLS handshakes with clients since the start.", Attributes: []string{"result"}},
	{Name: "qanat.tls.certificate.remaining", Kind: gauge, Unit: "s", Help: "How long the certificate that a listener shows is still valid, or another of its chain that ends earlier; negative when it has expired.", Attributes: []string{"listener"}},
	{Name: "qanat.tls.reloads", Kind: counter, Unit: "{reload}", Help: "Times that changed TLS files were read: taken into use (ok), or not to be used, so that the older ones stayed (failed).", Attributes: []string{"result"}},

	// Durability.
	{Name: "qanat.flush.duration", Kind: histogram, Unit: "s", Help: "One group flush: everything written before it is on disk after it.", Buckets: secondsBuckets},
	{Name: "qanat.flush.logs", Kind: histogram, Unit: "{log}", Help: "Partitions that shared one flush.", Buckets: countBuckets},

	// The log.
	{Name: "qanat.partitions", Kind: gauge, Unit: "{partition}", Help: "Partitions that this broker hosts.", Attributes: []string{"state"}},
	{Name: "qanat.segments", Kind: gauge, Unit: "{segment}", Help: "Segments, on disk (hot) and in the bucket (cold; all of a manifest page that the log's start cuts).", Attributes: []string{"tier"}},
	{Name: "qanat.log.size", Kind: gauge, Unit: "By", Help: "Bytes of a topic's segments, on disk (hot) and in the bucket (cold; all of a manifest page that the log's start cuts).", Attributes: []string{"topic", "tier"}},
	{Name: "qanat.topic.produced", Kind: counter, Unit: "By", Help: "Bytes of batches that producers have written to a topic's partitions here.", Attributes: []string{"topic"}},
	{Name: "qanat.topic.records", Kind: counter, Unit: "{record}", Help: "Records in them.", Attributes: []string{"topic"}},
	{Name: "qanat.topic.consumed", Kind: counter, Unit: "By", Help: "Bytes that consumers have read here, from the local disk (hot) and from the bucket (cold).", Attributes: []string{"topic", "tier"}},
	{Name: "qanat.topic.replicated", Kind: counter, Unit: "By", Help: "Bytes that followers have read here.", Attributes: []string{"topic"}},
	{Name: "qanat.partitions.damaged", Kind: gauge, Unit: "{partition}", Help: "Of those hosted here, those with a damaged segment that no bucket holds: they take no records."},
	{Name: "qanat.scrub.read", Kind: counter, Unit: "By", Help: "Bytes of closed local segments that were read again and checked."},
	{Name: "qanat.scrub.damaged", Kind: counter, Unit: "{segment}", Help: "Local segments that were found damaged; those that the bucket holds are read there since."},
	{Name: "qanat.compaction.passes", Kind: counter, Unit: "{pass}", Help: "Passes over logs of compacted topics."},
	{Name: "qanat.compaction.failed", Kind: counter, Unit: "{pass}", Help: "Passes that have failed; the log is left alone for five minutes then."},
	{Name: "qanat.compaction.read", Kind: counter, Unit: "By", Help: "Bytes that compaction has read."},
	{Name: "qanat.compaction.freed", Kind: counter, Unit: "By", Help: "Bytes of local disk that compaction has freed."},
	{Name: "qanat.compaction.uncleanable", Kind: gauge, Unit: "{partition}", Help: "Partitions that are not compacted because the last pass has failed."},
	{Name: "qanat.compaction.dirty.ratio", Kind: gauge, Unit: "1", Help: "Share of the dirtiest log that is not compacted yet, as of the last look."},
	{Name: "qanat.scrub.age", Kind: gauge, Unit: "s", Help: "Since when all local segments that were closed then are known to be whole: the beginning of the last scrub that ended."},
	{Name: "qanat.disk.free", Kind: gauge, Unit: "By", Help: "Free bytes on the data volume."},
	{Name: "qanat.disk.size", Kind: gauge, Unit: "By", Help: "Size of the data volume."},
	{Name: "qanat.disk.full", Kind: gauge, Unit: "{volume}", Help: "1 while records are refused because the data volume is full."},

	// The bucket.
	{Name: "qanat.tier.puts", Kind: counter, Unit: "{request}", Help: "PUT requests to the bucket."},
	{Name: "qanat.tier.gets", Kind: counter, Unit: "{request}", Help: "GET requests to the bucket."},
	{Name: "qanat.tier.requests", Kind: counter, Unit: "{request}", Help: "Other requests to the bucket.", Attributes: []string{"operation"}},
	{Name: "qanat.tier.io", Kind: counter, Unit: "By", Help: "Bytes sent to and received from the bucket.", Attributes: []string{"direction"}},
	{Name: "qanat.tier.upload.duration", Kind: histogram, Unit: "s", Help: "One upload of a segment, until the quorum has it.", Buckets: secondsBuckets},
	{Name: "qanat.tier.download.duration", Kind: histogram, Unit: "s", Help: "One ranged GET, to its last byte.", Buckets: secondsBuckets},
	{Name: "qanat.tier.errors", Kind: counter, Unit: "{error}", Help: "Failed attempts at the bucket.", Attributes: []string{"operation"}},
	{Name: "qanat.tier.backlog", Kind: gauge, Unit: "By", Help: "Closed segments that are not in the bucket yet."},
	{Name: "qanat.tier.backlog.age", Kind: gauge, Unit: "s", Help: "Age of the oldest of them."},
	{Name: "qanat.tier.cache.hits", Kind: counter, Unit: "{read}", Help: "Cold reads answered from memory."},
	{Name: "qanat.tier.cache.misses", Kind: counter, Unit: "{read}", Help: "Cold reads that had to wait for the bucket."},
	{Name: "qanat.tier.cache.size", Kind: gauge, Unit: "By", Help: "Bytes of the bucket kept in memory."},
	{Name: "qanat.tier.orphans", Kind: counter, Unit: "{object}", Help: "Objects that no partition named, deleted by the sweep."},
	{Name: "qanat.tier.failing", Kind: gauge, Unit: "{partition}", Help: "Partitions whose last attempt to get something into the bucket has failed."},
	{Name: "qanat.tier.failing.age", Kind: gauge, Unit: "s", Help: "For how long every attempt of one of them has failed, of the one that fails for longest; 0 without one."},
	{Name: "qanat.tier.lost", Kind: gauge, Unit: "{object}", Help: "Objects that the metadata names and that the bucket does not have, or has damaged, as this broker's reads and sweeps have found: brokers that have found the same tell the same."},
	{Name: "qanat.partitions.unreadable", Kind: gauge, Unit: "{partition}", Help: "Partitions that these belong to."},
	{Name: "qanat.tier.held", Kind: gauge, Unit: "{bucket}", Help: "1 while nothing is uploaded, deleted or swept, because the bucket has none of the objects that the metadata names and that it was asked for."},

	// The metadata quorum.
	{Name: "qanat.raft.term", Kind: gauge, Unit: "{term}", Help: "The quorum's term."},
	{Name: "qanat.raft.applied", Kind: gauge, Unit: "{entry}", Help: "Index of the last entry that this broker's image has."},
	{Name: "qanat.raft.commit", Kind: gauge, Unit: "{entry}", Help: "Index of the last committed entry that this broker knows of."},
	{Name: "qanat.raft.snapshot", Kind: gauge, Unit: "{entry}", Help: "Index that the last snapshot reaches to."},
	{Name: "qanat.raft.leader", Kind: gauge, Unit: "{leader}", Help: "1 on the leader, 0 elsewhere."},
	{Name: "qanat.raft.voters", Kind: gauge, Unit: "{voter}", Help: "Voters of the quorum."},
	{Name: "qanat.raft.queued", Kind: gauge, Unit: "{command}", Help: "Commands that wait here to be proposed."},
	{Name: "qanat.raft.has_leader", Kind: gauge, Unit: "{leader}", Help: "1 while a leader is known."},

	// The cluster, as OpenTelemetry's kafkametricsreceiver names it. Each broker tells of what it leads and coordinates.
	{Name: "kafka.brokers", Kind: gauge, Unit: "{broker}", Help: "Brokers in the cluster."},
	{Name: "qanat.broker.clock_offset", Kind: gauge, Unit: "s", Help: "How far this machine's wall clock is ahead of what most brokers' say."},
	{Name: "qanat.brokers", Kind: gauge, Unit: "{broker}", Help: "Brokers by state, as this broker's image has them.", Attributes: []string{"state"}},
	{Name: "qanat.partitions.leaderless", Kind: gauge, Unit: "{partition}", Help: "Partitions of the cluster without a leader, as this broker's image has them."},
	{Name: "qanat.partitions.led", Kind: gauge, Unit: "{partition}", Help: "Partitions that this broker leads."},
	{Name: "qanat.partitions.under_replicated", Kind: gauge, Unit: "{partition}", Help: "Of these, those of which a replica is not in sync."},
	{Name: "qanat.partitions.under_min_isr", Kind: gauge, Unit: "{partition}", Help: "Of these, those with fewer replicas in sync than min.insync.replicas: acks=all is refused."},
	{Name: "qanat.partitions.reassigning", Kind: gauge, Unit: "{partition}", Help: "Of these, those that are being moved."},
	{Name: "qanat.isr.changes", Kind: counter, Unit: "{change}", Help: "Times that a replica left (shrink) or joined (expand) the in-sync replicas of a partition that this broker leads.", Attributes: []string{"change"}},
	{Name: "qanat.partitions.elections", Kind: counter, Unit: "{election}", Help: "Times that this broker was made the leader of a partition."},
	{Name: "qanat.groups", Kind: gauge, Unit: "{group}", Help: "Groups that this broker coordinates.", Attributes: []string{"type", "state"}},
	{Name: "qanat.transactions", Kind: gauge, Unit: "{transaction}", Help: "Transactional ids by the state of their transaction, as this broker's image has them.", Attributes: []string{"state"}},
	{Name: "qanat.transactions.age", Kind: gauge, Unit: "s", Help: "How long the oldest transaction that is under way has been; 0 without one."},
	{Name: "kafka.topic.partitions", Kind: gauge, Unit: "{partition}", Help: "Partitions of a topic.", Attributes: []string{"topic"}},
	{Name: "kafka.partition.current_offset", Kind: gauge, Unit: "{offset}", Help: "End of a partition, as consumers see it.", Attributes: []string{"topic", "partition"}, PerPartition: true},
	{Name: "kafka.partition.oldest_offset", Kind: gauge, Unit: "{offset}", Help: "Beginning of a partition.", Attributes: []string{"topic", "partition"}, PerPartition: true},
	{Name: "kafka.partition.replicas", Kind: gauge, Unit: "{replica}", Help: "Replicas of a partition.", Attributes: []string{"topic", "partition"}, PerPartition: true},
	{Name: "kafka.partition.replicas_in_sync", Kind: gauge, Unit: "{replica}", Help: "Replicas of a partition that are in sync.", Attributes: []string{"topic", "partition"}, PerPartition: true},
	{Name: "kafka.consumer_group.members", Kind: gauge, Unit: "{member}", Help: "Members of a group.", Attributes: []string{"group"}},
	{Name: "kafka.consumer_group.offset", Kind: gauge, Unit: "{offset}", Help: "Committed offset.", Attributes: []string{"group", "topic", "partition"}, PerPartition: true},
	{Name: "kafka.consumer_group.offset_sum", Kind: gauge, Unit: "{offset}", Help: "Committed offsets, summed over a topic.", Attributes: []string{"group", "topic"}},
	{Name: "kafka.consumer_group.lag", Kind: gauge, Unit: "{record}", Help: "Records that a group has not committed yet.", Attributes: []string{"group", "topic", "partition"}, PerPartition: true},
	{Name: "kafka.consumer_group.lag_sum", Kind: gauge, Unit: "{record}", Help: "The same, summed over a topic.", Attributes: []string{"group", "topic"}},
	{Name: "qanat.consumer_group.lag.age", Kind: gauge, Unit: "s", Help: "How long the oldest record that a group has not committed has waited; the worst partition of the topic.", Attributes: []string{"group", "topic"}},

	// The same for dashboards made for kafka_exporter and kafka-lag-exporter.
	{Name: "kafka_topic_partition_current_offset", Kind: gauge, Unit: "1", Help: "As kafka.partition.current_offset.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_oldest_offset", Kind: gauge, Unit: "1", Help: "As kafka.partition.oldest_offset.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_leader", Kind: gauge, Unit: "1", Help: "Leader of a partition; -1 without one.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_leader_is_preferred", Kind: gauge, Unit: "1", Help: "1 while the leader is the first of the replicas.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_replicas", Kind: gauge, Unit: "1", Help: "As kafka.partition.replicas.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_in_sync_replica", Kind: gauge, Unit: "1", Help: "As kafka.partition.replicas_in_sync.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_topic_partition_under_replicated_partition", Kind: gauge, Unit: "1", Help: "1 while a replica is not in sync.", Attributes: []string{"topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_consumergroup_members", Kind: gauge, Unit: "1", Help: "As kafka.consumer_group.members.", Attributes: []string{"consumergroup"}, PrometheusOnly: true},
	{Name: "kafka_consumergroup_current_offset", Kind: gauge, Unit: "1", Help: "As kafka.consumer_group.offset.", Attributes: []string{"consumergroup", "topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_consumergroup_current_offset_sum", Kind: gauge, Unit: "1", Help: "As kafka.consumer_group.offset_sum.", Attributes: []string{"consumergroup", "topic"}, PrometheusOnly: true},
	{Name: "kafka_consumergroup_lag", Kind: gauge, Unit: "1", Help: "As kafka.consumer_group.lag.", Attributes: []string{"consumergroup", "topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_consumergroup_lag_sum", Kind: gauge, Unit: "1", Help: "As kafka.consumer_group.lag_sum.", Attributes: []string{"consumergroup", "topic"}, PrometheusOnly: true},
	{Name: "kafka_consumergroup_group_lag_seconds", Kind: gauge, Unit: "1", Help: "How long the oldest record that a group has not committed has waited.", Attributes: []string{"group", "topic", "partition"}, PerPartition: true, PrometheusOnly: true},
	{Name: "kafka_consumergroup_group_max_lag_seconds", Kind: gauge, Unit: "1", Help: "The worst of a group.", Attributes: []string{"group"}, PrometheusOnly: true},

	// This process.
	{Name: "process.cpu.time", Kind: counter, Unit: "s", Help: "CPU time that this process has used."},
	{Name: "process.memory.usage", Kind: gauge, Unit: "By", Help: "Memory of this process that is resident."},
	{Name: "process.open_file_descriptor.count", Kind: gauge, Unit: "{file_descriptor}", Help: "Open files and sockets of this process."},
	{Name: "qanat.traces", Kind: counter, Unit: "{trace}", Help: "Requests whose traces were kept because they had failed, were slow, or were sampled, and those that were left out because there were too many; only where traces are pushed.", Attributes: []string{"fate"}},
	{Name: "qanat.metrics.series_left_out", Kind: gauge, Unit: "{series}", Help: "Partitions, groups and offsets that have no metrics of their own, because there are more than metrics.partition.series.max."},
}

// declared finds a metric by name; a name that is not declared is a bug.
func declared(name string) Declaration {
	for _, d := range Declarations {
		if d.Name == name {
			return d
		}
	}
	panic("telemetry: metric " + name + " is not declared")
}
