package config

import "slices"

// topicKeys are the keys of a topic: what CreateTopics, AlterConfigs and
// DescribeConfigs know. Each takes its default from a broker key, which the
// broker's table derives from this one (see brokerDefaults).
func topicKeys() []Key {
	return slices.Concat(logKeys(), messageKeys(), compactionKeys(), tierKeys(), replicationKeys())
}

// logKeys are about segments, retention and durability.
func logKeys() []Key {
	return []Key{
		define("cleanup.policy", List, policyDelete,
			"What happens to old data: `delete` discards it by `retention.ms` and `retention.bytes`; `compact` keeps the last record of each key, on the local disk; `compact,delete` does both. Empty, nothing is discarded, whatever they say: what is in the bucket leaves the local disk by `local.retention.ms` and `local.retention.bytes` (KIP-1161).",
			allow(cleanupPolicy()), from("log.cleanup.policy")),
		define("retention.ms", Long, number(7*day),
			"How long data is kept, on disk and in the bucket together; -1 for ever.",
			allow(atLeast(-1)), from("log.retention.ms", "log.retention.minutes", "log.retention.hours")),
		define("retention.bytes", Long, "-1",
			"How many bytes of each partition are kept, on disk and in the bucket together; -1 without limit.",
			allow(atLeast(-1)), from("log.retention.bytes")),
		define("segment.bytes", Int, number(128*miB),
			"When a segment is closed and goes to the bucket. Kafka's default is 1 GiB; here a closed segment is one object, and 128 MiB costs few requests while little is left on disk only.",
			allow(between(1*kiB, 1<<31-1)), from("log.segment.bytes")),
		define("segment.ms", Long, number(7*day),
			"A segment is closed when its first batch is this old, even when it is small.",
			allow(atLeast(1)), from("log.roll.ms", "log.roll.hours")),
		define("segment.jitter.ms", Long, "0",
			"Up to this much, at random, is taken from `segment.ms`, so that partitions do not close segments all at once.",
			allow(atLeast(0)), from("log.roll.jitter.ms", "log.roll.jitter.hours")),
		define("segment.index.bytes", Int, number(10*miB),
			"Size of an index file in Kafka.",
			allow(atLeast(4)), from("log.index.size.max.bytes"), inert(ownIndex)),
		define("index.interval.bytes", Int, "4096",
			"Distance of index entries in Kafka.",
			allow(between(0, 1<<31-1)), from("log.index.interval.bytes"), inert(ownIndex)),
		define("file.delete.delay.ms", Long, number(1*minute),
			"How long Kafka waits before it removes a deleted segment's file.",
			allow(atLeast(0)), from("log.segment.delete.delay.ms"),
			inert("A deleted segment stays readable to those who are reading it, and its space is free the moment they are done.")),
		define("preallocate", Boolean, "false",
			"Reserve a segment's space on disk when it is opened.",
			from("log.preallocate")),
		define("flush.mode", String, "group",
			"Qanat's own. What an acknowledgement means: `group`, on disk (fsynced, shared with all that arrived meanwhile); `async`, written to the page cache, which is Kafka's behaviour.",
			allow(oneOf("group", "async")), from("log.flush.mode")),
		define("flush.messages", Long, maxLong,
			"How many messages Kafka writes between flushes.",
			allow(atLeast(1)), from("log.flush.interval.messages"), inert(groupCommit)),
		define("flush.ms", Long, maxLong,
			"How long Kafka waits between flushes.",
			allow(atLeast(0)), from("log.flush.interval.ms"), inert(groupCommit)),
	}
}

// messageKeys are about what producers send.
func messageKeys() []Key {
	return []Key{
		define("max.message.bytes", Int, number(1*miB+12),
			"The largest batch (after compression) that is accepted.",
			allow(between(0, 1<<31-1)), from("message.max.bytes")),
		define("compression.type", String, "producer",
			"`producer` keeps batches as they were sent; any other value has the broker compress them anew.",
			allow(oneOf("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")), from("compression.type")),
		define("compression.gzip.level", Int, "-1",
			"Level of gzip where `compression.type` is `gzip`.",
			allow(either(between(1, 9), oneOf("-1"))), from("compression.gzip.level")),
		define("compression.lz4.level", Int, "9",
			"Level of lz4 where `compression.type` is `lz4`.",
			allow(between(1, 17)), from("compression.lz4.level")),
		define("compression.zstd.level", Int, "3",
			"Level of zstd where `compression.type` is `zstd`.",
			allow(between(-131072, 22)), from("compression.zstd.level")),
		define("message.timestamp.type", String, "CreateTime",
			"`CreateTime`: the producer's timestamps are kept. `LogAppendTime`: the broker's clock replaces them.",
			allow(oneOf("CreateTime", "LogAppendTime")), from("log.message.timestamp.type")),
		define("message.timestamp.before.max.ms", Long, maxLong,
			"How far a producer's timestamp may lie in the past.",
			allow(atLeast(0)), from("log.message.timestamp.before.max.ms")),
		define("message.timestamp.after.max.ms", Long, number(1*hour),
			"How far a producer's timestamp may lie in the future.",
			allow(atLeast(0)), from("log.message.timestamp.after.max.ms")),
	}
}

// compactionKeys are about topics with cleanup.policy=compact.
func compactionKeys() []Key {
	return []Key{
		define("delete.retention.ms", Long, number(1*day),
			"How long tombstones stay in a compacted topic, from the pass on that has removed what they delete.",
			allow(atLeast(0)), from("log.cleaner.delete.retention.ms")),
		define("min.compaction.lag.ms", Long, "0",
			"How long a message stays uncompacted at least.",
			allow(atLeast(0)), from("log.cleaner.min.compaction.lag.ms")),
		define("max.compaction.lag.ms", Long, maxLong,
			"How long a message stays uncompacted at most.",
			allow(atLeast(1)), from("log.cleaner.max.compaction.lag.ms")),
		define("min.cleanable.dirty.ratio", Double, "0.5",
			"Share of a log that is uncompacted before it is compacted.",
			allow(fraction()), from("log.cleaner.min.cleanable.ratio")),
	}
}

// tierKeys are about the bucket (KIP-405, KIP-950).
func tierKeys() []Key {
	return []Key{
		define("remote.storage.enable", Boolean, "true",
			"Closed segments go to the bucket and stay there until `retention.*` ends them. Kafka's default is false. Without a bucket (`bucket.url`) it is false for every topic.",
			from("log.remote.storage.enable")),
		define("local.retention.ms", Long, "-2",
			"How long a segment that is in the bucket stays on disk as well; -2 as long as `retention.ms`. Only with `remote.storage.enable`.",
			allow(atLeast(-2)), from("log.local.retention.ms")),
		define("local.retention.bytes", Long, number(1*giB),
			"How many bytes of each partition stay on disk once they are in the bucket; -2 as many as `retention.bytes`. Only with `remote.storage.enable`. Kafka's default is -2, under which the disk holds all of the history a second time and fills; a bound in bytes, unlike one in time, holds at any rate of production. 1 GiB is eight segments: consumers minutes behind read from disk.",
			allow(atLeast(-2)), from("log.local.retention.bytes")),
		define("remote.log.copy.disable", Boolean, "false",
			"No new segments go to the bucket; what is there is still read and expires (KIP-950).",
			from("log.remote.log.copy.disable")),
		define("remote.log.delete.on.disable", Boolean, "false",
			"Turning `remote.storage.enable` off deletes what is in the bucket (KIP-950).",
			from("log.remote.log.delete.on.disable"),
			inert("Turning tiering off keeps what is in the bucket readable; it is deleted with the topic or by retention.")),
	}
}

// replicationKeys act with more than one broker.
func replicationKeys() []Key {
	return []Key{
		define("min.insync.replicas", Int, "1",
			"How many replicas must hold a write before acks=all is answered.",
			allow(between(1, 1<<31-1)), from("min.insync.replicas")),
		define("unclean.leader.election.enable", Boolean, "false",
			"Whether a replica that may have lost acknowledged data may lead, when no other can.",
			from("unclean.leader.election.enable")),
		define("leader.replication.throttled.replicas", List, "",
			"Replicas, as partition:broker pairs, that send no more than `leader.replication.throttled.rate` of their broker to replicas that are not in sync; `*` for all.",
			allow(throttledReplicas())),
		define("follower.replication.throttled.replicas", List, "",
			"Replicas, as partition:broker pairs, that fetch no more than `follower.replication.throttled.rate` of their broker while they are not in sync; `*` for all.",
			allow(throttledReplicas())),
	}
}
