package config

// groupKeys are the keys of a group (KIP-848, KIP-932, KIP-1071). They may be
// set before the group exists.
func groupKeys() []Key {
	const notYet = "Groups of this protocol are not served yet."
	return []Key{
		define("consumer.session.timeout.ms", Int, number(45*second),
			"How long a member of the group may be silent (KIP-848), within the broker's `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`; without, `group.consumer.session.timeout.ms`.",
			allow(between(1, 1<<31-1))),
		define("consumer.heartbeat.interval.ms", Int, number(5*second),
			"How often members of the group are asked to speak (KIP-848), within the broker's `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`; without, `group.consumer.heartbeat.interval.ms`.",
			allow(between(1, 1<<31-1))),
		define("share.session.timeout.ms", Int, number(45*second),
			"How long a member of the share group may be silent (KIP-932), within the broker's `group.share.min.session.timeout.ms` and `group.share.max.session.timeout.ms`.",
			allow(between(1, 1<<31-1)), from("group.share.session.timeout.ms")),
		define("share.heartbeat.interval.ms", Int, number(5*second),
			"How often members of the share group are asked to speak, within the broker's `group.share.min.heartbeat.interval.ms` and `group.share.max.heartbeat.interval.ms`.",
			allow(between(1, 1<<31-1)), from("group.share.heartbeat.interval.ms")),
		define("share.record.lock.duration.ms", Int, number(30*second),
			"For how long a record that a share consumer was given is its own: one that has not said by then what has become of it loses it to others. Within the broker's `group.share.min.record.lock.duration.ms` and `group.share.max.record.lock.duration.ms`.",
			allow(between(1*second, hour)), from("group.share.record.lock.duration.ms")),
		define("share.delivery.count.limit", Int, "5",
			"How often a record is given out at most: one that nobody has accepted by then is archived. Within the broker's `group.share.min.delivery.count.limit` and `group.share.max.delivery.count.limit`.",
			allow(between(1, 1<<31-1)), from("group.share.delivery.count.limit")),
		define("share.partition.max.record.locks", Int, "2000",
			"How far consumers get ahead of the first record of a partition that is not done, in records, rounded up to whole batches. Within the broker's `group.share.min.partition.max.record.locks` and `group.share.max.partition.max.record.locks`.",
			allow(between(1, 1<<31-1)), from("group.share.partition.max.record.locks")),
		define("share.auto.offset.reset", String, "latest",
			"Where a share group begins in a partition: `latest`, `earliest`, or `by_duration:` and an ISO 8601 duration.",
			allow(offsetReset())),
		define("share.isolation.level", String, "read_uncommitted",
			"Whether share consumers are given records of transactions that are not committed.",
			allow(oneOf("read_uncommitted", "read_committed"))),
		define("share.renew.acknowledge.enable", Boolean, "true",
			"Whether share consumers may renew their locks (KIP-1222)."),
		define("streams.session.timeout.ms", Int, number(45*second),
			"Session timeout of members of a streams group.",
			allow(between(1, 1<<31-1)), inert(notYet)),
		define("streams.heartbeat.interval.ms", Int, number(5*second),
			"Heartbeat interval of members of a streams group.",
			allow(between(1, 1<<31-1)), inert(notYet)),
		define("streams.num.standby.replicas", Int, "0",
			"Standby replicas of each task of a streams group.",
			allow(between(0, 1<<31-1)), inert(notYet)),
	}
}
