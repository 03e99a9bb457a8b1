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

// groupSetting is what the groups of a protocol set for themselves, see groupKeys: the broker has a value for those that do not, and the least and
// the most that one may set.
type groupSetting struct {
	protocol, name        string // of consumer.session.timeout.ms: consumer, session.timeout.ms
	says                  string
	value, least, most    string
	valid, lowest, higher rule
}

func (s groupSetting) keys() []Key {
	own := s.protocol + "." + s.name
	broker := func(bound string) string { return "group." + s.protocol + "." + bound + s.name }
	return []Key{
		define(broker(""), Int, s.value, s.says+", where its group does not set "+own+".", allow(s.valid), readOnly),
		define(broker("min."), Int, s.least, "The least "+own+" of a group; less cannot be set, and what was set before counts as this.", allow(s.lowest), readOnly),
		define(broker("max."), Int, s.most, "The most "+own+" of a group; more cannot be set, and what was set before counts as this.", allow(s.higher), readOnly),
	}
}

// memberTimes are the settings that all protocols but the classic have.
func memberTimes(protocol, kind string) []Key {
	valid := between(1, 1<<31-1)
	return slices.Concat(
		groupSetting{
			protocol, "session.timeout.ms", "How long a member of a " + kind + " may be silent", number(45 * second), number(45 * second), number(60 * second), valid, valid, valid,
		}.keys(),
		groupSetting{
			protocol, "heartbeat.interval.ms", "How often a member of a " + kind + " is asked to speak", number(5 * second), number(5 * second), number(15 * second), valid, valid, valid,
		}.keys(),
	)
}

func maxSize(protocol, kind, most string, valid rule) Key {
	return define("group."+protocol+".max.size", Int, most, "Members of a "+kind+" at most.", allow(valid), readOnly)
}

func consumerGroupKeys() []Key {
	const kind = "consumer group (KIP-848)"
	return append(memberTimes("consumer", kind),
		maxSize("consumer", kind, number(1<<31-1), between(1, 1<<31-1)),
		define("group.consumer.assignors", List, "uniform,range",
			"The assignors that members of consumer groups may ask for, the first for those that do not: `uniform` gives everybody as much as anybody and moves as little as that allows; `range` divides topic by topic, so that topics with the same number of partitions meet in the same member.",
			allow(listOf("uniform", "range")), readOnly),
		define("group.consumer.migration.policy", String, "bidirectional",
			"Whether a group with members may go from the classic protocol to the consumer protocol, when its first member joins that speaks it (`upgrade`), and back, when the last such member is gone (`downgrade`). Without, members of the other protocol are refused until the group is empty.",
			allow(oneOf("bidirectional", "upgrade", "downgrade", "disabled")), readOnly),
	)
}

func streamsGroupKeys() []Key {
	const kind = "streams group (KIP-1071)"
	valid := between(0, 1<<31-1)
	return slices.Concat(memberTimes("streams", kind), groupSetting{
		"streams", "assignment.interval.ms", "How long a streams group waits from one target assignment to the next, so that what changes meanwhile is taken together", number(1 * second), "0", number(15 * second), valid, valid, valid,
	}.keys(), []Key{
		define("group.streams.initial.rebalance.delay.ms", Int, number(3*second),
			"How long the first member of a streams group waits for others before tasks are assigned, where its group does not set streams.initial.rebalance.delay.ms.",
			allow(valid), readOnly),
		define("group.streams.num.standby.replicas", Int, "0",
			"Standbys of each task that has a state, where its group does not set streams.num.standby.replicas; the broker decides that, and not the application.",
			allow(valid), readOnly),
		define("group.streams.max.standby.replicas", Int, "2",
			"The largest streams.num.standby.replicas of a group.",
			allow(valid), readOnly),
		maxSize("streams", kind, number(1<<31-1), between(1, 1<<31-1)),
	})
}

func shareGroupKeys() []Key {
	const kind = "share group (KIP-932)"
	return slices.Concat(memberTimes("share", kind), groupSetting{
		"share", "record.lock.duration.ms", "For how long a record that a share consumer was given is its own", number(30 * second), number(15 * second), number(60 * second),
		between(1*second, hour), between(1*second, 30*second), between(30*second, hour),
	}.keys(), groupSetting{
		"share", "delivery.count.limit", "How often a record of a share group is given out at most", "5", "2", "10", between(2, 10), between(2, 5), between(5, 25),
	}.keys(), groupSetting{
		"share", "partition.max.record.locks", "How far a share group's consumers get ahead of the first record of a partition that is not done", "2000", "100", "4000",
		between(100, 10000), between(100, 2000), between(2000, 10000),
	}.keys(), []Key{
		maxSize("share", kind, "200", between(1, 1000)),
		define("group.share.max.share.sessions", Int, "2000",
			"Share sessions on this broker at most: one for each consumer of a share group that reads here.",
			allow(between(1, 1<<31-1)), readOnly),
	})
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
