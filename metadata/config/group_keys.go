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
			"Session timeout of members of a share group.",
			allow(between(1, 1<<31-1)), inert(notYet)),
		define("share.heartbeat.interval.ms", Int, number(5*second),
			"Heartbeat interval of members of a share group.",
			allow(between(1, 1<<31-1)), inert(notYet)),
		define("share.record.lock.duration.ms", Int, number(30*second),
			"How long a share consumer holds a record that it was given.",
			allow(between(1*second, hour)), inert(notYet)),
		define("share.auto.offset.reset", String, "latest",
			"Where a share group begins: `latest`, `earliest`, or `by_duration:` and an ISO 8601 duration.",
			allow(offsetReset()), inert(notYet)),
		define("share.isolation.level", String, "read_uncommitted",
			"Whether share consumers see records of open transactions.",
			allow(oneOf("read_uncommitted", "read_committed")), inert(notYet)),
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
