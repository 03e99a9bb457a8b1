package config

import "slices"

// What this broker's coordinators do with groups, their offsets, and transactions.

func coordinatorKeys() []Key {
	return slices.Concat(classicGroupKeys(), consumerGroupKeys(), streamsGroupKeys(), shareGroupKeys(), groupOffsetKeys(), transactionKeys())
}

func classicGroupKeys() []Key {
	return []Key{
		define("group.initial.rebalance.delay.ms", Int, number(3*second),
			"How long an empty group waits for more members before its first assignment: with many consumers starting together, one rebalance instead of many. `qanat dev` sets 0, where one consumer at a time is the rule and three seconds are felt.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.min.session.timeout.ms", Int, number(1*second),
			"The shortest session timeout that a member of a classic group may ask for. Kafka's default is 6000; heartbeats are cheap here, and a shorter one finds dead consumers sooner.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.max.session.timeout.ms", Int, number(30*minute),
			"The longest session timeout that a member of a classic group may ask for.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.max.size", Int, number(1<<31-1),
			"Members of a classic group at most.",
			allow(between(1, 1<<31-1)), readOnly),
	}
}

// consumerGroupKeys are the defaults and bounds of what consumer groups (KIP-848) set for themselves; see groupKeys.
func consumerGroupKeys() []Key {
	return []Key{
		define("group.consumer.session.timeout.ms", Int, number(45*second),
			"How long a member of a consumer group (KIP-848) may be silent, where its group does not set consumer.session.timeout.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.min.session.timeout.ms", Int, number(45*second),
			"The shortest consumer.session.timeout.ms of a group; a shorter one cannot be set, and one that was set before counts as this.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.max.session.timeout.ms", Int, number(60*second),
			"The longest consumer.session.timeout.ms of a group; a longer one cannot be set, and one that was set before counts as this.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.heartbeat.interval.ms", Int, number(5*second),
			"How often members of a consumer group are asked to speak, where their group does not set consumer.heartbeat.interval.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.min.heartbeat.interval.ms", Int, number(5*second),
			"The shortest consumer.heartbeat.interval.ms of a group; a shorter one cannot be set, and one that was set before counts as this.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.max.heartbeat.interval.ms", Int, number(15*second),
			"The longest consumer.heartbeat.interval.ms of a group; a longer one cannot be set, and one that was set before counts as this.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.max.size", Int, number(1<<31-1),
			"Members of a consumer group at most.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.consumer.assignors", List, "uniform,range",
			"The assignors that members of consumer groups may ask for, the first for those that do not: `uniform` gives everybody as much as anybody and moves as little as that allows; `range` divides topic by topic, so that topics with the same number of partitions meet in the same member.",
			allow(listOf("uniform", "range")), readOnly),
		define("group.consumer.migration.policy", String, "bidirectional",
			"Whether a group with members may go from the classic protocol to the consumer protocol, when its first member joins that speaks it (`upgrade`), and back, when the last such member is gone (`downgrade`). Without, members of the other protocol are refused until the group is empty.",
			allow(oneOf("bidirectional", "upgrade", "downgrade", "disabled")), readOnly),
	}
}

// streamsGroupKeys are the same of streams groups (KIP-1071).
func streamsGroupKeys() []Key {
	return []Key{
		define("group.streams.session.timeout.ms", Int, number(45*second),
			"How long a member of a streams group (KIP-1071) may be silent, where its group does not set streams.session.timeout.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.min.session.timeout.ms", Int, number(45*second),
			"The shortest streams.session.timeout.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.max.session.timeout.ms", Int, number(60*second),
			"The longest streams.session.timeout.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.heartbeat.interval.ms", Int, number(5*second),
			"How often members of a streams group are asked to speak, where their group does not set streams.heartbeat.interval.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.min.heartbeat.interval.ms", Int, number(5*second),
			"The shortest streams.heartbeat.interval.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.max.heartbeat.interval.ms", Int, number(15*second),
			"The longest streams.heartbeat.interval.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.streams.assignment.interval.ms", Int, number(1*second),
			"How long a streams group waits from one target assignment to the next, where it does not set streams.assignment.interval.ms: what changes meanwhile is taken together.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.min.assignment.interval.ms", Int, "0",
			"The shortest streams.assignment.interval.ms of a group.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.max.assignment.interval.ms", Int, number(15*second),
			"The longest streams.assignment.interval.ms of a group.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.initial.rebalance.delay.ms", Int, number(3*second),
			"How long the first member of a streams group waits for others before tasks are assigned, where its group does not set streams.initial.rebalance.delay.ms.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.num.standby.replicas", Int, "0",
			"Standbys of each task that has a state, where its group does not set streams.num.standby.replicas; the broker decides that, and not the application.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.max.standby.replicas", Int, "2",
			"The largest streams.num.standby.replicas of a group.",
			allow(between(0, 1<<31-1)), readOnly),
		define("group.streams.max.size", Int, number(1<<31-1),
			"Members of a streams group at most.",
			allow(between(1, 1<<31-1)), readOnly),
	}
}

// shareGroupKeys are the same of share groups (KIP-932).
func shareGroupKeys() []Key {
	return []Key{
		define("group.share.session.timeout.ms", Int, number(45*second),
			"How long a member of a share group (KIP-932) may be silent, where its group does not set share.session.timeout.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.min.session.timeout.ms", Int, number(45*second),
			"The shortest share.session.timeout.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.max.session.timeout.ms", Int, number(60*second),
			"The longest share.session.timeout.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.heartbeat.interval.ms", Int, number(5*second),
			"How often members of a share group are asked to speak, where their group does not set share.heartbeat.interval.ms.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.min.heartbeat.interval.ms", Int, number(5*second),
			"The shortest share.heartbeat.interval.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.max.heartbeat.interval.ms", Int, number(15*second),
			"The longest share.heartbeat.interval.ms of a group.",
			allow(between(1, 1<<31-1)), readOnly),
		define("group.share.max.size", Int, "200",
			"Members of a share group at most.",
			allow(between(1, 1000)), readOnly),
		define("group.share.record.lock.duration.ms", Int, number(30*second),
			"For how long a record that a share consumer was given is its own, where its group does not set share.record.lock.duration.ms.",
			allow(between(1*second, hour)), readOnly),
		define("group.share.min.record.lock.duration.ms", Int, number(15*second),
			"The shortest share.record.lock.duration.ms of a group.",
			allow(between(1*second, 30*second)), readOnly),
		define("group.share.max.record.lock.duration.ms", Int, number(60*second),
			"The longest share.record.lock.duration.ms of a group.",
			allow(between(30*second, hour)), readOnly),
		define("group.share.delivery.count.limit", Int, "5",
			"How often a record of a share group is given out at most, where its group does not set share.delivery.count.limit.",
			allow(between(2, 10)), readOnly),
		define("group.share.min.delivery.count.limit", Int, "2",
			"The least share.delivery.count.limit of a group.",
			allow(between(2, 5)), readOnly),
		define("group.share.max.delivery.count.limit", Int, "10",
			"The most share.delivery.count.limit of a group.",
			allow(between(5, 25)), readOnly),
		define("group.share.partition.max.record.locks", Int, "2000",
			"How far share consumers get ahead of the first record of a partition that is not done, where their group does not set share.partition.max.record.locks.",
			allow(between(100, 10000)), readOnly),
		define("group.share.min.partition.max.record.locks", Int, "100",
			"The least share.partition.max.record.locks of a group.",
			allow(between(100, 2000)), readOnly),
		define("group.share.max.partition.max.record.locks", Int, "4000",
			"The most share.partition.max.record.locks of a group.",
			allow(between(2000, 10000)), readOnly),
		define("group.share.max.share.sessions", Int, "2000",
			"Share sessions on this broker at most: one for each consumer of a share group that reads here.",
			allow(between(1, 1<<31-1)), readOnly),
	}
}

func groupOffsetKeys() []Key {
	return []Key{
		define("offset.metadata.max.bytes", Int, "4096",
			"Length of the text that a consumer may commit with an offset.",
			allow(between(0, 1<<20)), readOnly),
		define("offsets.retention.minutes", Int, number(7*24*60),
			"How long the offsets of a group without members are kept.",
			allow(between(1, 1<<31-1)), readOnly),
		define("offsets.retention.check.interval.ms", Long, number(10*minute),
			"How often offsets past their retention are looked for.",
			allow(atLeast(1)), readOnly),
	}
}

func transactionKeys() []Key {
	return []Key{
		define("transaction.max.timeout.ms", Int, number(15*minute),
			"The longest that a producer may let its transactions last.",
			allow(between(1, 1<<31-1)), readOnly),
		define("transactional.id.expiration.ms", Int, number(7*day),
			"How long a transactional id that nobody uses is remembered.",
			allow(between(1, 1<<31-1)), readOnly),
		define("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, number(1*second),
			"How often transactions that have run out of time are looked for, and aborted. Kafka's default is 10000; until then their readers wait.",
			allow(between(100, 1<<31-1)), readOnly),
		define("producer.id.expiration.ms", Int, number(1*day),
			"How long an idempotent producer that sends nothing is remembered, for each partition.",
			allow(between(1, 1<<31-1)), readOnly),
	}
}
