package config

import (
	"slices"
	"strconv"
)

// brokerKeys are the keys of a broker: its file's, and what DescribeConfigs
// shows of it. First come those that give topics their defaults, then the rest.
func brokerKeys() []Key {
	return slices.Concat(
		brokerDefaults(topicKeys()),
		identityKeys(), clusterKeys(), listenerKeys(), tlsKeys(), controlKeys(), replicaKeys(), limitKeys(),
		topicCreationKeys(), coordinatorKeys(), bucketKeys(), cleanerKeys(), observeKeys(),
	)
}

// brokerDefaults makes the broker's half of every topic key: same type,
// default, bounds. They may change while the broker runs. A key in a coarser
// unit (log.retention.hours) gives the value only while the finer one is not set.
func brokerDefaults(topic []Key) []Key {
	var keys []Key
	for _, t := range topic {
		for i, alias := range t.Synonyms {
			k := t
			k.Name, k.Synonyms, k.Synonym = alias.Name, nil, ""
			k.Doc = "Gives `" + t.Name + "` of topics that do not set it."
			if i == 0 {
				k.Synonyms = t.Synonyms[1:]
				k.Doc += " " + t.Doc
			} else {
				k.Doc += " Used only while `" + t.Synonyms[0].Name + "` is not set."
				k.Default, k.Type = coarseDefault(t.Default, alias.Factor), Int
				k.Valid, k.Check = coarse(t)
			}
			keys = append(keys, k)
		}
	}
	return keys
}

// coarse bounds a key in a coarser unit: whole numbers of 32 bits, from the lowest that means something.
func coarse(t Key) (string, func(string) error) {
	low := int64(-1)
	for t.Check(number(low)) != nil {
		low++
	}
	r := between(low, 1<<31-1)
	return r.valid, r.check
}

// coarseDefault is what is shown of a coarser key that nobody has set: Kafka
// gives the default in hours and leaves minutes empty.
func coarseDefault(value string, factor int64) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || factor != hour {
		return ""
	}
	return number(n / factor)
}

func identityKeys() []Key {
	return []Key{
		define("node.id", Int, "1",
			"This broker's number in its cluster.",
			allow(between(0, 1<<31-1)), from("broker.id"), readOnly),
		define("broker.id", Int, "",
			"Older name of `node.id`.",
			allow(between(0, 1<<31-1)), from("node.id"), readOnly),
		define("cluster.id", String, "",
			"The cluster's identity, which is also the first part of every object's name in the bucket. Empty: made up at the first start and kept in the data directory.",
			allow(clusterID()), readOnly),
		define("broker.rack", String, "",
			"Where this broker is, for clients that prefer near replicas.", readOnly),
		define("data.dir", String, "qanat-data",
			"Qanat's own. The directory that holds everything local: segments, index, metadata. It wants a volume of its own.",
			allow(notEmpty("a directory")), from("log.dirs", "log.dir"), readOnly),
		define("log.dirs", List, "",
			"Kafka's name of `data.dir`.",
			allow(singleDir()), from("log.dir", "data.dir"), readOnly),
		define("log.dir", String, "",
			"Older name of `log.dirs`.",
			allow(singleDir()), from("log.dirs", "data.dir"), readOnly),
	}
}

func clusterKeys() []Key {
	return []Key{
		define("cluster.peers", List, "",
			"Qanat's own. ID@HOST:PORT of the brokers that form the cluster and are its first voters, one, three or five of them, comma-separated; the same on every broker. Any other broker joins through them. Empty: a new directory forms a cluster of its own, which others can join.",
			allow(peersRule()), readOnly),
		define("cluster.listener", String, "127.0.0.1:9645",
			"Qanat's own. HOST:PORT where other brokers reach this one: the metadata quorum and replication; port 0 lets the system choose. Without TLS (`security.inter.broker.protocol`) keep it off networks that you do not trust.",
			allow(hostPort(false)), from("raft.listener"), readOnly),
		define("cluster.advertised", String, "",
			"Qanat's own. HOST:PORT by which others are told to reach `cluster.listener`. Empty: what `cluster.peers` says of this broker, or else the listener, with the machine's name in place of an unspecific host.",
			allow(hostPort(true)), readOnly),
		define("security.inter.broker.protocol", String, Plaintext,
			"What brokers speak with each other on `cluster.listener`. SSL: mutual TLS, with the ssl.* keys or `listener.name.cluster.ssl.*`; every broker's certificate then has the broker's role, a URI among its alternative names: `qanat:///broker`, `qanat:///broker/NODE`, or `qanat://CLUSTER/broker/NODE`.",
			allow(oneOf(Plaintext, SSL)), readOnly),
		define("cluster.plaintext.allowed", Boolean, "false",
			"Qanat's own. With `security.inter.broker.protocol=SSL`, while a running cluster changes to TLS: this broker also takes plain connections of others, and makes them to those that do not speak TLS yet. Nothing is protected while it is true.",
			readOnly),
		define("cluster.join.token", Password, "",
			"Qanat's own. A secret that brokers show each other before they speak; the same on every broker. Empty: none is asked for, and whoever reaches cluster.listener can act as a broker. Better in the environment (QANAT_CLUSTER_JOIN_TOKEN) than in a file that others can read.",
			readOnly, sensitive),
	}
}

func listenerKeys() []Key {
	return []Key{
		define("listeners", List, "PLAINTEXT://:9092",
			"Where clients connect: NAME://HOST:PORT, comma-separated; no host means every interface. A listener called PLAINTEXT or SSL is that; others are what `listener.security.protocol.map` says. Clients are told the addresses of the listener that they ask on.",
			allow(listenersRule(true)), readOnly),
		define("advertised.listeners", List, "",
			"What clients are told to connect to, by the listeners' names. Empty: the listeners, with the machine's name in place of an unspecific host.",
			allow(listenersRule(false)), readOnly),
		define("listener.security.protocol.map", List, "PLAINTEXT:PLAINTEXT,SSL:SSL",
			"The security protocol of each listener: NAME:PROTOCOL, comma-separated, with the protocols PLAINTEXT and SSL (SASL does not exist yet).",
			allow(protocolsRule()), readOnly),
		define("admin.listener", String, "127.0.0.1:9644",
			"Qanat's own. HOST:PORT of health, metrics and the API that the command line uses; empty for none. It has no authentication but that of TLS (`admin.security.protocol`, `listener.name.admin.ssl.client.auth`): otherwise keep it on loopback or behind something that has.",
			allow(hostPort(true)), readOnly),
		define("admin.security.protocol", String, Plaintext,
			"Qanat's own. PLAINTEXT: the admin port speaks HTTP; SSL: HTTPS, with the ssl.* keys or `listener.name.admin.ssl.*`.",
			allow(oneOf(Plaintext, SSL)), readOnly),
		define("admin.allowed.hosts", List, "",
			"Qanat's own. Names, besides localhost, addresses and the listener's own host, that the admin port answers to in the Host header (a defence against DNS rebinding).",
			readOnly),
		define("admin.pprof.enable", Boolean, "false",
			"Qanat's own. Serve Go's profiles under /debug/pprof/ on the admin port.", readOnly),
		define("raft.listener", String, "",
			"Older name of `cluster.listener`.",
			allow(hostPort(true)), from("cluster.listener"), readOnly),
		define("raft.snapshot.entries", Long, "16384",
			"Qanat's own. How many entries of the metadata log are written between snapshots.",
			allow(between(16, 1<<31-1)), readOnly),
	}
}

// controlKeys are how brokers look after each other, and how the cluster keeps itself in balance.
func controlKeys() []Key {
	return []Key{
		define("broker.session.timeout.ms", Int, number(3*second),
			"A broker that the controller has not heard from for so long is fenced: others lead its partitions and coordinate its groups. The same on every broker. One whose process has died is found out at once. Kafka's default is 9000.",
			allow(between(500, 1<<31-1)), readOnly),
		define("broker.heartbeat.interval.ms", Int, "500",
			"How often a broker tells the controller that it is there; at most a third of `broker.session.timeout.ms`. Kafka's default is 2000.",
			allow(between(50, 1<<31-1)), readOnly),
		define("controlled.shutdown.timeout.ms", Int, number(30*second),
			"Qanat's own. How long a broker that is told to stop waits for others to take over what it leads, and for replicas that are on the way to do without it.",
			allow(between(0, 1<<31-1)), readOnly),
		define("auto.leader.rebalance.enable", Boolean, "true",
			"Leaderships go back to the preferred replicas by themselves.", readOnly),
		define("leader.imbalance.check.interval.seconds", Long, "300",
			"How often they do.",
			allow(between(1, 1<<31-1)), readOnly),
		define("leader.imbalance.per.broker.percentage", Int, "10",
			"A broker that lacks no more than this share of the leaderships that it is preferred for is left alone.",
			allow(between(0, 100)), readOnly),
		define("cluster.balance", String, "off",
			"Qanat's own. `on`: replicas and leaders are kept spread over racks and brokers, a few moves at a time; `once`: until they are, then `off` again (`qanat partition balance` sets that); `off`: nothing is moved, except away from brokers that are drained. To be changed for all brokers together.",
			allow(oneOf("off", "once", "on"))),
		define("cluster.moves.max", Int, "8",
			"Qanat's own. Partitions that a drain or `cluster.balance` moves at one time. To be changed for all brokers together.",
			allow(between(1, 10000))),
		define("cluster.moves.max.bytes.per.second", Long, maxLong,
			"Qanat's own. The most that each broker sends, and fetches, for replicas that moves bring to brokers; replicas that are in sync are not held back. `--throttle` of the commands that move partitions sets it for all brokers together, and the controller takes that back when nothing is moved any more; set in the file it stays.",
			allow(atLeast(1))),
	}
}

// replicaKeys are how this broker's followers fetch, and when its leaders do without a replica.
func replicaKeys() []Key {
	return []Key{
		define("replica.lag.time.max.ms", Long, number(30*second),
			"A replica that has lacked records for so long is no longer in sync: acks=all does not wait for it.",
			allow(between(100, 1<<31-1)), readOnly),
		define("replica.fetch.wait.max.ms", Int, "500",
			"How long a leader lets a follower's fetch wait for records.",
			allow(between(1, 1<<31-1)), readOnly),
		define("replica.fetch.max.bytes", Int, number(1*miB),
			"The most that a follower fetches of one partition at one time; a single batch may be larger.",
			allow(between(1, 1<<31-1)), readOnly),
		define("replica.fetch.response.max.bytes", Int, number(10*miB),
			"The most that a follower fetches at one time.",
			allow(between(1, 1<<31-1)), readOnly),
		define("replica.fetch.backoff.ms", Int, "50",
			"How long a follower waits until it tries again to fetch a partition that its leader did not serve. Kafka's default is 1000.",
			allow(between(1, 1<<31-1)), readOnly),
		define("leader.replication.throttled.rate", Long, maxLong,
			"The most that this broker sends in a second, in bytes, to replicas that are not in sync, of partitions that `leader.replication.throttled.replicas` of their topic names.",
			allow(atLeast(0))),
		define("follower.replication.throttled.rate", Long, maxLong,
			"The most that this broker fetches in a second, in bytes, for its replicas that are not in sync and that `follower.replication.throttled.replicas` of their topic names.",
			allow(atLeast(0))),
		define("replica.alter.log.dirs.io.max.bytes.per.second", Long, maxLong,
			"The most that is moved between a broker's directories.",
			allow(atLeast(0)), inert(oneVolume)),
		define("replica.selector.class", String, rackAware,
			"Where consumers fetch that say in which rack they are (`client.rack`): `"+rackAware+"`, from an in-sync replica in their rack (KIP-392); empty, from the leader. Kafka's default is empty.",
			allow(oneOf("", rackAware)), readOnly),
	}
}

const rackAware = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

func limitKeys() []Key {
	return []Key{
		define("socket.request.max.bytes", Int, number(100*miB),
			"The largest request that is read; a larger one closes its connection.",
			allow(between(1*kiB, 1<<31-1)), readOnly),
		define("queued.max.request.bytes", Long, number(256*miB),
			"Bytes of requests being read or answered, in all connections together; beyond it, reading pauses. An eighth is for requests of up to 64 KiB, half for those of up to 1 MiB, so that they do not wait for larger ones. Kafka's default is -1, without limit.",
			allow(either(atLeast(1*miB), oneOf("-1"))), readOnly),
		define("connection.queued.max.request.bytes", Long, number(64*miB),
			"Qanat's own. The same, of one connection; a single larger request is still taken.",
			allow(atLeast(64*kiB)), readOnly),
		define("connection.queued.max.requests", Int, "64",
			"Qanat's own. Requests of one connection that are being answered while the next are read.",
			allow(between(1, 10000)), readOnly),
		define("max.connections", Int, number(1<<31-1),
			"Client connections at one time; more are closed at once.",
			allow(between(0, 1<<31-1)), readOnly),
		define("max.connections.per.ip", Int, number(1<<31-1),
			"Client connections at one time from one address.",
			allow(between(0, 1<<31-1)), readOnly),
		define("connections.max.idle.ms", Long, number(10*minute),
			"A connection without a request for so long is closed; -1 never.",
			allow(either(atLeast(1*second), oneOf("-1"))), readOnly),
		define("fetch.max.bytes", Int, number(55*miB),
			"The most that a fetch is answered with, whatever it asks for.",
			allow(between(1*kiB, 1<<31-1)), readOnly),
		define("max.incremental.fetch.session.cache.slots", Int, "1000",
			"Fetch sessions kept at one time (KIP-227).",
			allow(between(0, 1<<31-1)), readOnly),
		define("quota.window.num", Int, "11",
			"How many windows of `quota.window.size.seconds` of its rate a client that was at rest may have at once, until its quota holds it back.",
			allow(between(1, 1<<20)), readOnly),
		define("quota.window.size.seconds", Int, "1",
			"See `quota.window.num`.",
			allow(between(1, 86_400)), readOnly),
	}
}

func topicCreationKeys() []Key {
	return []Key{
		define("auto.create.topics.enable", Boolean, "true",
			"A topic that a client asks about is created, if the client allows it.", readOnly),
		define("delete.topic.enable", Boolean, "true",
			"Topics may be deleted.", readOnly),
		define("num.partitions", Int, "1",
			"Partitions of topics that are created without saying how many.",
			allow(between(1, 100000)), readOnly),
		define("default.replication.factor", Int, "1",
			"Replicas of topics that are created without saying how many.",
			allow(between(1, 32767)), readOnly),
		define("log.retention.check.interval.ms", Long, number(5*minute),
			"How often every partition is looked at for data past its retention. Closed segments and commits ask for a look of their own at once.",
			allow(atLeast(1)), readOnly),
	}
}

func bucketKeys() []Key {
	return []Key{
		define("bucket.url", String, "",
			"Qanat's own. Where closed segments go: `dir:PATH`, `s3://NAME/PREFIX?region=…&endpoint=…` (AWS), `minio://NAME/PREFIX?endpoint=…` (anything S3-compatible). Empty: no tiering. Credentials come from the environment or the machine's role, not from here.",
			allow(bucketURL()), readOnly),
		define("remote.log.manager.copier.thread.pool.size", Int, "4",
			"Uploads at one time. Kafka's default is 10; four fill most links, and leave processors to the clients. A directory (dir:) takes one at a time.",
			allow(between(1, 1024)), readOnly),
		define("remote.log.manager.copy.max.bytes.per.second", Long, maxLong,
			"Bytes a second that uploads may use together.",
			allow(atLeast(1))),
		define("remote.log.reader.threads", Int, "16",
			"Downloads at one time. Kafka's default is 10; one stream of S3 gives some 90 MiB/s, so the speed of a replay is their number.",
			allow(between(1, 1024)), readOnly),
		define("tier.upload.stall.timeout.ms", Long, number(30*second),
			"Qanat's own. An upload that made no progress for so long is cut off and tried again on another connection.",
			allow(atLeast(100)), readOnly),
		define("tier.fetch.inflight.bytes", Long, number(256*miB),
			"Qanat's own. Bytes from the bucket being downloaded or held for readers, in all.",
			allow(atLeast(1*miB)), readOnly),
		define("tier.fetch.range.bytes", Long, number(16*miB),
			"Qanat's own. Bytes that one GET asks for.",
			allow(between(64*kiB, 1*giB)), readOnly),
		define("tier.readahead.min.bytes", Long, number(4*miB),
			"Qanat's own. How far a reader of the bucket is read ahead for at first.",
			allow(atLeast(0)), readOnly),
		define("tier.readahead.max.bytes", Long, number(64*miB),
			"Qanat's own. How far the readahead of a steady reader grows.",
			allow(atLeast(0)), readOnly),
		define("tier.cache.bytes", Long, number(128*miB),
			"Qanat's own. Memory for chunks of the bucket that several readers may want.",
			allow(atLeast(0)), readOnly),
		define("tier.orphan.grace.ms", Long, number(1*day),
			"Qanat's own. An object that no partition names is deleted when it is this old: longer than any upload may take to be committed.",
			allow(atLeast(1*minute)), readOnly),
		define("tier.manifest.page.entries", Int, "1024",
			"Qanat's own. Segment locations that move together from the metadata of all brokers to a page in the bucket, when a partition has twice as many.",
			allow(between(2, 65536)), readOnly),
		define("tier.sweep.interval.ms", Long, number(6*hour),
			"Qanat's own. How often the bucket is listed to find such objects; 0 never.",
			allow(atLeast(0)), readOnly),
	}
}

// cleanerKeys are about compaction.
func cleanerKeys() []Key {
	return []Key{
		define("log.cleaner.dedupe.buffer.size", Long, number(128*miB),
			"Memory for the keys of one pass of compaction, 24 bytes and some room each; a log with more keys takes several passes. Taken while a pass runs, and only as much as the log needs.",
			allow(atLeast(1*miB))),
		define("log.cleaner.io.max.bytes.per.second", Double, "67108864",
			"Bytes a second that compaction reads. Kafka's default is without limit; here it leaves the disk to who waits for it.",
			allow(positive())),
		define("log.cleaner.backoff.ms", Long, "15000",
			"How long compaction rests when no log needs it.",
			allow(atLeast(0))),
		define("log.cleaner.threads", Int, "1",
			"How many logs Kafka compacts at once.",
			allow(atLeast(1)), inert("One log is compacted at a time.")),
		define("log.cleaner.enable", Boolean, "true",
			"Whether compacted topics are compacted.",
			readOnly, inert("They always are.")),
	}
}

func observeKeys() []Key {
	return []Key{
		define("storage.scrub.interval.ms", Long, number(7*day),
			"Qanat's own. How often all closed segments on the local disk are read and their checksums checked; 0 never.",
			allow(atLeast(0)), readOnly),
		define("storage.scrub.bytes.per.second", Long, number(16*miB),
			"Qanat's own. Bytes a second that it reads.",
			allow(atLeast(64*kiB)), readOnly),
		define("log.level", String, "info",
			"Qanat's own. The least important lines of the broker's own log that are written.",
			allow(oneOf("debug", "info", "warn", "error")), readOnly),
		define("log.format", String, "auto",
			"Qanat's own. `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.",
			allow(oneOf("auto", "text", "json")), readOnly),
		define("trace.slow.ms", Long, "500",
			"Qanat's own. Where the environment asks for traces (`OTEL_*`), those of requests that took this long are kept, what a fetch waited for new records not counted; 0 for none. Those of failed requests always are.",
			allow(atLeast(0)), readOnly),
		define("trace.sample.ratio", Double, "0.001",
			"Qanat's own. The share of all other requests whose traces are kept as well.",
			allow(fraction()), readOnly),
		define("metrics.clients.max", Int, "0",
			"Qanat's own. Requests and bytes are also counted by client id, for so many ids; what comes from others is counted together. 0: not at all.",
			allow(between(0, 10000)), readOnly),
		define("metrics.partition.series.max", Int, "2000",
			"Qanat's own. Metrics by partition, by group and by topic are each given while there are no more than so many of them; beyond, that kind is left out.",
			allow(between(0, 1<<31-1)), readOnly),
		define("telemetry.max.bytes", Int, number(1*miB),
			"The most that a client sends of its own metrics at one time (KIP-714).",
			allow(between(1, 16*miB)), readOnly),
	}
}
