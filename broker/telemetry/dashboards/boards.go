package dashboards

// Dashboards are all five, in the order in which one looks at them.
var Dashboards = []Dashboard{overview, topics, tiers, quorum, clients}

// quantile is a histogram's, by labels.
func quantile(q, metric, by string) string {
	if by != "" {
		by += ", "
	}
	return "histogram_quantile(" + q + ", sum by (" + by + "le) (rate(<" + metric + ">[$__rate_interval])))"
}

// most are the 20 series with most, of those that are not zero: there may be thousands of topics and groups.
func most(expr string) string { return "topk(20, " + expr + " > 0)" }

var overview = Dashboard{
	UID: "qanat-overview", Title: "Qanat / Overview", About: "Whether the cluster is well, and what it does.",
	Panels: []Panel{
		stat("Brokers that answer", "none", `sum(<up>)`, "Brokers that Prometheus reaches.").low(1),
		stat("Fenced brokers", "none", `max(<qanat.brokers|state="fenced">)`, "Registered, and not part of the cluster now.").red(1),
		stat("Without leader", "none", `max(<qanat.partitions.leaderless>)`, "Partitions that nobody can write to or read.").red(1),
		stat("Under-replicated", "none", `sum(<qanat.partitions.under_replicated>)`, "Partitions of which a replica is behind or away.").red(1),
		stat("Below min ISR", "none", `sum(<qanat.partitions.under_min_isr>)`, "Partitions that refuse acks=all.").red(1),
		stat("Quorum has a leader", "none", `min(<qanat.raft.has_leader>)`, "0: a broker knows no leader of the metadata quorum.").low(1),
		stat("Not in the bucket for", "s", `max(<qanat.tier.backlog.age>)`, "Age of the oldest closed segment that is not in the bucket yet.").red(900),
		stat("Worst lag", "s", `max(<qanat.consumer_group.lag.age>) or vector(0)`, "How long the oldest record has waited that a group has not committed.").red(300),
		graph("Bytes in", "Bps", "What producers write.", `sum by (instance) (rate(<kafka.network.io|direction="receive">[$__rate_interval]))`, "{{instance}}").stacked(),
		graph("Bytes out", "Bps", "What consumers read, and all other answers.", `sum by (instance) (rate(<kafka.network.io|direction="transmit">[$__rate_interval]))`, "{{instance}}").stacked(),
		graph("Records produced", "cps", "Of all topics, by the broker that takes them.", `sum by (instance) (rate(<qanat.topic.records>[$__rate_interval]))`, "{{instance}}").stacked(),
		graph("Requests", "reqps", "By kind of request, on all brokers.", `sum by (api) (rate(<kafka.request.duration:count>[$__rate_interval])) > 0`, "{{api}}").stacked(),
		graph("Produce, time to answer", "s", "From the request's last byte to the answer's last: with acks=all it is on every in-sync replica's disk.",
			quantile("0.5", `kafka.request.duration:bucket|api="Produce"`, ""), "p50",
			quantile("0.99", `kafka.request.duration:bucket|api="Produce"`, ""), "p99",
			quantile("0.999", `kafka.request.duration:bucket|api="Produce"`, ""), "p99.9"),
		graph("Flush", "s", "One group flush of the data volume: the floor of an acknowledgement.", quantile("0.99", "qanat.flush.duration:bucket", "instance"), "{{instance}} p99"),
		graph("Partitions in trouble", "none", "Without a leader, of which a replica is behind, which refuse acks=all, with a replica that is offline or takes no records, or with objects missing in the bucket.",
			`max(<qanat.partitions.leaderless>)`, "without leader", `sum(<qanat.partitions.under_replicated>)`, "under-replicated", `sum(<qanat.partitions.under_min_isr>)`, "below min ISR",
			`sum(<qanat.partitions|state="offline">)`, "offline", `sum(<qanat.partitions.damaged>)`, "damaged", `max(<qanat.partitions.unreadable>)`, "objects missing"),
		graph("In-sync replicas", "cps", "How often replicas leave and join.", `sum by (change) (rate(<qanat.isr.changes>[$__rate_interval]))`, "{{change}}"),
		graph("Partitions led", "none", "By broker: a cluster in balance has them level.", `<qanat.partitions.led>`, "{{instance}}").stacked(),
		graph("CPU", "none", "Cores.", `sum by (instance) (rate(<process.cpu.time>[$__rate_interval]))`, "{{instance}}"),
		graph("Memory", "bytes", "Resident.", `<process.memory.usage>`, "{{instance}}"),
		graph("Data volume, used", "percentunit", "Share of each broker's volume that is used: at 1 records are refused.", `1 - <qanat.disk.free> / <qanat.disk.size>`, "{{instance}}").whole(),
	},
}

var topics = Dashboard{
	UID: "qanat-topics", Title: "Qanat / Topics & Groups", About: "What is written and read, and who is behind.",
	Variables: []variable{{"topic", "topic", "kafka.topic.partitions"}, {"group", "group", "kafka.consumer_group.lag_sum"}},
	Panels: []Panel{
		stat("Topics", "none", `count(count by (topic) (<kafka.topic.partitions|topic=~"$topic">))`, "That are chosen above."),
		stat("Partitions", "none", `sum(max by (topic) (<kafka.topic.partitions|topic=~"$topic">))`, "Of these topics."),
		stat("Bytes kept", "bytes", `sum(<qanat.log.size|topic=~"$topic",tier="hot">) + sum(max by (topic) (<qanat.log.size|topic=~"$topic",tier="cold">))`, "On all disks, and in the bucket."),
		stat("Records a second", "cps", `sum(rate(<qanat.topic.records|topic=~"$topic">[$__rate_interval]))`, "That producers write now."),
		stat("Groups", "none", `sum(<qanat.groups>)`, "Of all kinds and states."),
		stat("Records behind", "none", `sum(<kafka.consumer_group.lag_sum|topic=~"$topic",group=~"$group">)`, "That groups have not committed yet."),
		stat("Worst lag", "s", `max(<qanat.consumer_group.lag.age|topic=~"$topic",group=~"$group">) or vector(0)`, "How long the oldest record has waited that a group has not committed.").red(300),
		stat("Oldest transaction", "s", `max(<qanat.transactions.age>)`, "Consumers of read_committed wait behind it.").red(900),
		graph("Produced", "Bps", "Batches as stored; the 20 topics with most.", most(`sum by (topic) (rate(<qanat.topic.produced|topic=~"$topic">[$__rate_interval]))`), "{{topic}}").stacked(),
		graph("Records produced", "cps", "The 20 topics with most.", most(`sum by (topic) (rate(<qanat.topic.records|topic=~"$topic">[$__rate_interval]))`), "{{topic}}").stacked(),
		graph("Consumed", "Bps", "From both tiers; the 20 topics with most.", most(`sum by (topic) (rate(<qanat.topic.consumed|topic=~"$topic">[$__rate_interval]))`), "{{topic}}").stacked(),
		graph("Lag in time", "s", "How long the oldest record has waited that is not committed; the worst partition. The 20 that are worst.", `topk(20, max by (group, topic) (<qanat.consumer_group.lag.age|topic=~"$topic",group=~"$group">))`, "{{group}} / {{topic}}").wide(),
		graph("Lag in records", "none", "The 20 that are worst.", `topk(20, sum by (group, topic) (<kafka.consumer_group.lag_sum|topic=~"$topic",group=~"$group">))`, "{{group}} / {{topic}}").wide(),
		graph("Partitions furthest behind", "none", "While there are few enough partitions for series of their own.", `topk(10, max by (group, topic, partition) (<kafka.consumer_group.lag|topic=~"$topic",group=~"$group">))`, "{{group}} / {{topic}}-{{partition}}"),
		graph("Committed", "cps", "Records a second that groups commit; a step back counts as none. The 20 groups with most.", `topk(20, clamp_min(deriv(sum by (group) (<kafka.consumer_group.offset_sum|topic=~"$topic",group=~"$group">)[$__rate_interval:5s]), 0))`, "{{group}}"),
		graph("Members", "none", "The 20 groups with most.", `topk(20, sum by (group) (<kafka.consumer_group.members|group=~"$group">))`, "{{group}}"),
		graph("Groups by protocol and state", "none", "Each group counts on the broker that coordinates it.", `sum by (type, state) (<qanat.groups>)`, "{{type}} {{state}}").stacked(),
		graph("On local disks", "bytes", "All replicas; the 20 topics with most.", most(`sum by (topic) (<qanat.log.size|topic=~"$topic",tier="hot">)`), "{{topic}}").stacked(),
		graph("Transactions", "none", "Transactional ids by the state of their transaction.", `max by (state) (<qanat.transactions>)`, "{{state}}"),
		graph("Replicated", "Bps", "What followers read; the 20 topics with most.", most(`sum by (topic) (rate(<qanat.topic.replicated|topic=~"$topic">[$__rate_interval]))`), "{{topic}}").stacked(),
		graph("Compaction", "Bps", "What compaction reads, and how much disk it frees.", `sum(rate(<qanat.compaction.read>[$__rate_interval]))`, "read", `sum(rate(<qanat.compaction.freed>[$__rate_interval]))`, "freed"),
		graph("Dirtiest log", "percentunit", "Share of it that is not compacted yet.", `<qanat.compaction.dirty.ratio>`, "{{instance}}").whole(),
	},
}

var tiers = Dashboard{
	UID: "qanat-tiers", Title: "Qanat / Tier & Replay", About: "What goes to the bucket, what comes back, and what it costs.",
	Variables: []variable{{"topic", "topic", "qanat.log.size"}},
	Panels: []Panel{
		stat("In the bucket", "bytes", `sum(max by (topic) (<qanat.log.size|topic=~"$topic",tier="cold">))`, "Every broker that hosts a topic tells of all of it."),
		stat("On local disks", "bytes", `sum(<qanat.log.size|topic=~"$topic",tier="hot">)`, "All replicas."),
		stat("Waiting to go", "bytes", `sum(<qanat.tier.backlog>)`, "Closed segments that are not in the bucket yet."),
		stat("Waiting for", "s", `max(<qanat.tier.backlog.age>)`, "Age of the oldest of them.").red(900),
		stat("Errors a minute", "none", `sum(rate(<qanat.tier.errors>[$__rate_interval])) * 60`, "Failed attempts at the bucket; they are made again.").red(1),
		stat("Replay", "Bps", `sum(rate(<qanat.topic.consumed|topic=~"$topic",tier="cold">[$__rate_interval]))`, "What consumers read from the bucket now."),
		stat("Answered from memory", "percentunit", `sum(rate(<qanat.tier.cache.hits>[$__rate_interval])) / (sum(rate(<qanat.tier.cache.hits>[$__rate_interval])) + sum(rate(<qanat.tier.cache.misses>[$__rate_interval])))`, "Of the cold reads; readahead makes it so."),
		stat("Requests cost a month", "currencyUSD", `(sum(rate(<qanat.tier.puts>[$__rate_interval])) * 0.005 + sum(rate(<qanat.tier.requests|operation="list">[$__rate_interval])) * 0.005 + (sum(rate(<qanat.tier.gets>[$__rate_interval])) + sum(rate(<qanat.tier.requests|operation="head">[$__rate_interval]))) * 0.0004) / 1000 * 2592000`, "At the present rate, at AWS S3 Standard's usual prices: 0.005 USD for 1,000 PUT or LIST, 0.0004 for 1,000 GET or HEAD. Storage and transfer come on top."),
		graph("Replay by topic", "Bps", "What consumers read from the bucket; the 20 topics with most.", most(`sum by (topic) (rate(<qanat.topic.consumed|topic=~"$topic",tier="cold">[$__rate_interval]))`), "{{topic}}").stacked().wide(),
		graph("Hot and cold reads", "Bps", "What consumers read from local disks, and from the bucket.", `sum by (tier) (rate(<qanat.topic.consumed|topic=~"$topic">[$__rate_interval]))`, "{{tier}}").stacked().wide(),
		graph("Bytes to and from the bucket", "Bps", "Sent (transmit) and received, all brokers together.", `sum by (direction) (rate(<qanat.tier.io>[$__rate_interval]))`, "{{direction}}"),
		graph("Requests to the bucket", "reqps", "By operation: each has its price.", `sum(rate(<qanat.tier.puts>[$__rate_interval]))`, "PUT", `sum(rate(<qanat.tier.gets>[$__rate_interval]))`, "GET", `sum by (operation) (rate(<qanat.tier.requests>[$__rate_interval]))`, "{{operation}}"),
		graph("Errors of the bucket", "cps", "Failed attempts; they are made again.", `sum by (operation) (rate(<qanat.tier.errors>[$__rate_interval]))`, "{{operation}}"),
		graph("Upload of a segment", "s", "Until the quorum has it.", quantile("0.5", "qanat.tier.upload.duration:bucket", ""), "p50", quantile("0.99", "qanat.tier.upload.duration:bucket", ""), "p99"),
		graph("Ranged GET", "s", "To its last byte.", quantile("0.5", "qanat.tier.download.duration:bucket", ""), "p50", quantile("0.99", "qanat.tier.download.duration:bucket", ""), "p99"),
		graph("Fetch, time to answer", "s", "What clients wait for; a fetch that waits for new records counts in full.", quantile("0.5", `kafka.request.duration:bucket|api="Fetch"`, ""), "p50", quantile("0.99", `kafka.request.duration:bucket|api="Fetch"`, ""), "p99"),
		graph("Backlog", "bytes", "Closed segments that are not in the bucket yet.", `<qanat.tier.backlog>`, "{{instance}}").stacked(),
		graph("Backlog's age", "s", "How long each broker's oldest closed segment has waited for the bucket.", `<qanat.tier.backlog.age>`, "{{instance}}"),
		graph("Cold reads", "cps", "Answered from memory, and those that had to wait.", `sum(rate(<qanat.tier.cache.hits>[$__rate_interval]))`, "from memory", `sum(rate(<qanat.tier.cache.misses>[$__rate_interval]))`, "from the bucket").stacked(),
		graph("Memory for cold reads", "bytes", "What of the bucket each broker keeps in memory for those that read ahead.", `<qanat.tier.cache.size>`, "{{instance}}"),
		graph("Segments", "none", "Files on local disks, and objects in the bucket.", `sum(<qanat.segments|tier="hot">)`, "hot, all replicas", `max(<qanat.segments|tier="cold">)`, "cold, of the broker with most"),
		graph("In the bucket, by topic", "bytes", "The 20 topics with most.", most(`max by (topic) (<qanat.log.size|topic=~"$topic",tier="cold">)`), "{{topic}}").stacked(),
		graph("Swept", "cps", "Objects that no partition named, deleted.", `sum(rate(<qanat.tier.orphans>[$__rate_interval]))`, "objects"),
		graph("Scrub", "Bps", "Closed local segments, read again and checked.", `sum by (instance) (rate(<qanat.scrub.read>[$__rate_interval]))`, "{{instance}}"),
		graph("Damage", "none", "Local segments found damaged, and partitions that take no records because of it, or whose storage does not open.",
			`sum(<qanat.scrub.damaged>)`, "segments", `sum(<qanat.partitions.damaged>)`, "partitions that take no records", `sum(<qanat.partitions|state="offline">)`, "partitions offline"),
		graph("Objects missing", "none", "Named by the metadata, and not in the bucket or damaged there, as the broker has found that has found most; and their partitions.",
			`max(<qanat.tier.lost>)`, "objects", `max(<qanat.partitions.unreadable>)`, "partitions"),
		graph("Uploads that fail", "none", "Partitions whose last attempt has failed, and brokers that leave the bucket alone, because it has nothing of what the metadata names.",
			`sum by (instance) (<qanat.tier.failing>)`, "{{instance}}", `sum(<qanat.tier.held>)`, "bucket left alone"),
		graph("Failing for", "s", "For how long every attempt of a partition has failed, of the one that fails for longest.", `<qanat.tier.failing.age>`, "{{instance}}"),
	},
}

var quorum = Dashboard{
	UID: "qanat-quorum", Title: "Qanat / Metadata quorum", About: "Who decides, and who is behind in hearing of it.",
	Panels: []Panel{
		stat("Leaders", "none", `sum(<qanat.raft.leader>)`, "One, but for moments.").low(1),
		stat("Everybody knows one", "none", `min(<qanat.raft.has_leader>)`, "0: a broker knows no leader.").low(1),
		stat("Voters", "none", `max(<qanat.raft.voters>)`, "Of the quorum: 3 bear the loss of one, 5 of two."),
		stat("Term", "none", `max(<qanat.raft.term>)`, "Each election makes it one more."),
		stat("Brokers active", "none", `max(<qanat.brokers|state="active">)`, "Registered, heard of, and caught up."),
		stat("Brokers fenced", "none", `max(<qanat.brokers|state="fenced">)`, "Registered, and not part of the cluster now.").red(1),
		stat("Furthest behind", "none", `clamp_min(max(<qanat.raft.commit> offset 30s) - min(<qanat.raft.applied>), 0)`, "Entries that had been committed 30 s ago and that a broker's image does not have yet: brokers are not scraped at the same moment.").red(10000),
		stat("Clocks apart", "s", `max(<qanat.broker.clock_offset>) - min(<qanat.broker.clock_offset>)`, "Between the machine furthest ahead and the one furthest behind.").red(1),
		graph("Leader", "none", "1 on the leader.", `<qanat.raft.leader>`, "{{instance}}").stacked(),
		graph("Knows a leader", "none", "0: this broker hears of no leader, and can change nothing.", `<qanat.raft.has_leader>`, "{{instance}}"),
		graph("Term", "none", "Each election makes it one more: it should be level.", `max(<qanat.raft.term>)`, "term"),
		graph("Entries a second", "cps", "Each holds all proposals that waited.", `max(rate(<qanat.raft.commit>[$__rate_interval]))`, "committed"),
		graph("Behind", "none", "Entries that had been committed 30 s ago and that a broker's image does not have yet.", `clamp_min(scalar(max(<qanat.raft.commit> offset 30s)) - <qanat.raft.applied>, 0)`, "{{instance}}"),
		graph("Since the snapshot", "none", "Entries that a restart reads again.", `<qanat.raft.applied> - <qanat.raft.snapshot>`, "{{instance}}"),
		graph("Commands that wait", "none", "To be proposed, on each broker.", `<qanat.raft.queued>`, "{{instance}}"),
		graph("Brokers", "none", "By state, as the broker has it that counts most.", `max by (state) (<qanat.brokers>)`, "{{state}}").stacked(),
		graph("Elections of partitions' leaders", "cps", "How often each broker was made the leader of a partition.", `sum by (instance) (rate(<qanat.partitions.elections>[$__rate_interval]))`, "{{instance}}"),
		graph("Partitions", "none", "Without a leader; being moved.", `max(<qanat.partitions.leaderless>)`, "without leader", `sum(<qanat.partitions.reassigning>)`, "moving"),
		graph("Clocks", "s", "How far each machine's is ahead of most.", `<qanat.broker.clock_offset>`, "{{instance}}").signed(),
		graph("Partitions hosted", "none", "Replicas on all brokers; offline ones have storage that does not open.", `sum by (state) (<qanat.partitions>)`, "{{state}}").stacked(),
	},
}

var clients = Dashboard{
	UID: "qanat-clients", Title: "Qanat / Clients", About: "Who is connected, what they ask for, and how long it takes. By client id only with metrics.clients.max.",
	Variables: []variable{{"client", "client", "kafka.client.io"}},
	Panels: []Panel{
		stat("Connections", "none", `sum(<kafka.connections>)`, "Open ones of clients."),
		stat("New a second", "cps", `sum(rate(<kafka.connections.accepted>[$__rate_interval]))`, "Clients that do not keep their connections make this high."),
		stat("Refused", "none", `round(sum(increase(<kafka.connections.refused>[$__range])))`, "In this period, because of a limit.").red(1),
		stat("Closed on an error", "none", `round(sum(increase(<kafka.request.errors>[$__range])))`, "In this period: requests in place of whose answer the connection was closed.").red(1),
		stat("Failed handshakes", "none", `round(sum(increase(<qanat.tls.handshakes|result="failed">[$__range])))`, "TLS, in this period."),
		stat("Requests a second", "reqps", `sum(rate(<kafka.request.duration:count>[$__rate_interval]))`, "Of all kinds, on all brokers."),
		stat("Bytes in flight", "bytes", `sum(<kafka.requests.queued>)`, "Requests being read or answered."),
		stat("Certificates, days left", "none", `min(<qanat.tls.certificate.remaining>) / 86400 or vector(0)`, "0: there is none."),
		graph("Bytes in, by client", "Bps", "With metrics.clients.max.", `topk(20, sum by (client) (rate(<kafka.client.io|client=~"$client",direction="receive">[$__rate_interval])))`, "{{client}}").stacked(),
		graph("Bytes out, by client", "Bps", "With metrics.clients.max.", `topk(20, sum by (client) (rate(<kafka.client.io|client=~"$client",direction="transmit">[$__rate_interval])))`, "{{client}}").stacked(),
		graph("Requests, by client", "reqps", "With metrics.clients.max.", `topk(20, sum by (client) (rate(<kafka.client.requests|client=~"$client">[$__rate_interval])))`, "{{client}}").stacked(),
		graph("Requests, by API", "reqps", "On all brokers.", `sum by (api) (rate(<kafka.request.duration:count>[$__rate_interval])) > 0`, "{{api}}").stacked(),
		graph("Time to answer, p99 by API", "s", "A fetch that waits for new records counts in full.", quantile("0.99", "kafka.request.duration:bucket", "api")+" > 0", "{{api}}"),
		graph("Time to answer, p50 by API", "s", "A fetch that waits for new records counts in full.", quantile("0.5", "kafka.request.duration:bucket", "api")+" > 0", "{{api}}"),
		graph("Connections", "none", "Open ones of clients, by broker.", `<kafka.connections>`, "{{instance}}").stacked(),
		graph("Connections made and refused", "cps", "Refused: because of a limit, or a quota.", `sum(rate(<kafka.connections.accepted>[$__rate_interval]))`, "made", `sum(rate(<kafka.connections.refused>[$__rate_interval]))`, "refused"),
		graph("Closed on an error", "cps", "Requests in place of whose answer the connection was closed.", `sum(rate(<kafka.request.errors>[$__rate_interval]))`, "all", `sum by (api) (rate(<kafka.request.errors>[$__rate_interval])) > 0`, "{{api}}"),
		graph("TLS handshakes", "cps", "With clients, by how they ended.", `sum by (result) (rate(<qanat.tls.handshakes>[$__rate_interval]))`, "{{result}}"),
		graph("Bytes in flight", "bytes", "Requests being read or answered, by broker.", `<kafka.requests.queued>`, "{{instance}}"),
		graph("Throttled", "reqps", "Requests whose client was told to wait, because of a quota.", `sum by (instance) (rate(<kafka.requests.throttled>[$__rate_interval]))`, "{{instance}}"),
		graph("Traces", "cps", "Requests whose traces were kept, and why.", `sum by (fate) (rate(<qanat.traces>[$__rate_interval]))`, "{{fate}}"),
	},
}
