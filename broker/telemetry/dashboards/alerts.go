package dashboards

import (
	"fmt"
	"time"
)

// Options are what rules depend on. The zero value stands for the defaults.
type Options struct {
	Job     string        // of the scrape configuration: qanat
	Runbook string        // where runbooks.md is: its address in the repository
	Range   time.Duration // of rates: 5 minutes
	TLS     bool          // admin ports are asked by https
	CA      string        // with it: the file of those who signed their certificates, as Prometheus finds it; "": this machine's

	// For how long a condition must hold, in place of each alert's own; negative: not at all. For tests, and for who is impatient.
	For time.Duration

	Lag, Backlog, Failing, Transaction, Produce, Certificate time.Duration // thresholds: 5, 15, 10 and 15 minutes, 1 second, 14 days
	DiskFree                                                 float64       // share: 0.15
}

const (
	defaultJob     = "qanat"
	defaultRunbook = "https://github.com/qanat-io/qanat/blob/main/docs/runbooks.md"
)

func (o Options) withDefaults() Options {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Job == "" {
		o.Job = defaultJob
	}
	if o.Runbook == "" {
		o.Runbook = defaultRunbook
	}
	if o.DiskFree == 0 {
		o.DiskFree = 0.15
	}
	set(&o.Range, 5*time.Minute)
	set(&o.Lag, 5*time.Minute)
	set(&o.Backlog, 15*time.Minute)
	set(&o.Failing, 10*time.Minute)
	set(&o.Transaction, 15*time.Minute)
	set(&o.Produce, time.Second)
	set(&o.Certificate, 14*24*time.Hour)
	return o
}

// Alert is a rule, and what to do when it fires.
type Alert struct {
	Name     string
	Severity string // critical: somebody gets up at night; warning: somebody looks in the morning
	Expr     string // see expand
	For      time.Duration
	Summary  string // with labels as Prometheus' templates have them

	Means, Look, Do string // the runbook, in Markdown

	Trips, Calm []Series // what makes it fire within its For and some minutes, and what does not: for promtool
}

// Series is one series of a test, in promtool's notation, a value a minute.
type Series struct{ Name, Values string }

func seconds(d time.Duration) string { return fmt.Sprintf("%g", d.Seconds()) }

// Alerts are all rules.
func Alerts(o Options) []Alert {
	o = o.withDefaults()
	list := append(clusterAlerts(), storageAlerts(o)...)
	return append(list, clientAlerts(o)...)
}

func clusterAlerts() []Alert {
	return []Alert{
		{
			Name: "QanatBrokerDown", Severity: "critical", For: time.Minute,
			Expr:    `<up> == 0`,
			Summary: `Broker {{ $labels.instance }} does not answer.`,
			Means:   "Prometheus does not reach the broker's admin port: the process has ended, hangs, or the network between the two is cut.",
			Look:    "`systemctl status qanat` and the log's last lines on that machine; `qanat cluster health` on another one. A log that ends with *the broker cannot go on* says what it could not survive: mostly the disk.",
			Do:      "Start it again: it copies what it missed and is in sync again by itself. When its disk is lost, start it with an empty directory and the same `node.id`. When it does not come back at all, `qanat broker decommission` it, so that others take its replicas.",
			Trips:   []Series{{`up{job="qanat",instance="a"}`, "0x10"}}, Calm: []Series{{`up{job="qanat",instance="a"}`, "1x10"}},
		},
		{
			Name: "QanatBrokerFenced", Severity: "warning", For: 2 * time.Minute,
			Expr:    `max(<qanat.brokers|state="fenced">) > 0`,
			Summary: `{{ $value }} registered brokers are not part of the cluster.`,
			Means:   "The controller has not heard the broker for `broker.session.timeout.ms`, or the broker has not caught up with the metadata. It leads nothing and is in no ISR.",
			Look:    "`qanat broker list` names it. If it runs, its log says what it waits for; `qanat doctor` there looks at disk, clock and the way to the others.",
			Do:      "Mend the network, or start it. A broker that will not come back is taken out with `qanat broker decommission`.",
			Trips:   []Series{{`qanat_brokers{job="qanat",instance="a",state="fenced"}`, "1x10"}}, Calm: []Series{{`qanat_brokers{job="qanat",instance="a",state="fenced"}`, "0x10"}},
		},
		{
			Name: "QanatPartitionsWithoutLeader", Severity: "critical", For: time.Minute,
			Expr:    `max(<qanat.partitions.leaderless>) > 0`,
			Summary: `{{ $value }} partitions have no leader: nobody writes to them or reads them.`,
			Means:   "None of those replicas is there that have everything that was acknowledged.",
			Look:    "`qanat cluster health` lists the partitions and who could lead them.",
			Do:      "Bring one of the brokers of their ISR or ELR back: it leads as soon as it is there. Only if all of those are lost for good, `unclean.leader.election.enable=true` on the topic takes the best of what is left, which loses records.",
			Trips:   []Series{{`qanat_partitions_leaderless{job="qanat",instance="a"}`, "2x10"}}, Calm: []Series{{`qanat_partitions_leaderless{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatUnderMinISR", Severity: "critical", For: time.Minute,
			Expr:    `sum(<qanat.partitions.under_min_isr>) > 0`,
			Summary: `{{ $value }} partitions refuse acks=all.`,
			Means:   "Fewer replicas are in sync than `min.insync.replicas`. Reads go on; producers with `acks=all` hear NOT_ENOUGH_REPLICAS and try again.",
			Look:    "`qanat cluster health`; the dashboard *Overview*, panels *Partitions in trouble* and *In-sync replicas*.",
			Do:      "Bring the missing brokers back, or move replicas to others: `qanat partition move`.",
			Trips:   []Series{{`qanat_partitions_under_min_isr{job="qanat",instance="a"}`, "1x10"}}, Calm: []Series{{`qanat_partitions_under_min_isr{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatUnderReplicated", Severity: "warning", For: 5 * time.Minute,
			Expr:    `sum(<qanat.partitions.under_replicated>) > 0`,
			Summary: `{{ $value }} partitions have a replica that is not in sync.`,
			Means:   "A replica is away, or has been behind for `replica.lag.time.max.ms`. Nothing is lost and nothing refused yet, but there is less to spare.",
			Look:    "Whether a broker is down (`qanat broker list`). If none is: disk and CPU of the one that is behind, dashboard *Overview*, panels *Flush* and *CPU*. A move that is under way copies, too: the panel *Partitions* of *Metadata quorum*.",
			Do:      "Bring the broker back, or relieve it: `qanat partition balance`.",
			Trips:   []Series{{`qanat_partitions_under_replicated{job="qanat",instance="a"}`, "1x15"}}, Calm: []Series{{`qanat_partitions_under_replicated{job="qanat",instance="a"}`, "0x15"}},
		},
		{
			Name: "QanatNoQuorumLeader", Severity: "critical", For: 30 * time.Second,
			Expr:    `min by (instance) (<qanat.raft.has_leader>) == 0`,
			Summary: `Broker {{ $labels.instance }} knows no leader of the metadata quorum.`,
			Means:   "Most voters are gone, or this broker is cut off from them. Data flows where leaders are; nothing can be changed: no topics, no offsets committed, no new leaders.",
			Look:    "`qanat quorum status` on several brokers; dashboard *Metadata quorum*.",
			Do:      "Start the voters that are down. If most of them are lost for good, the last resort is `qanat quorum recover` on one that is left: read its help first.",
			Trips:   []Series{{`qanat_raft_has_leader{job="qanat",instance="a"}`, "0x10"}}, Calm: []Series{{`qanat_raft_has_leader{job="qanat",instance="a"}`, "1x10"}},
		},
	}
}

func storageAlerts(o Options) []Alert {
	return []Alert{
		{
			Name: "QanatDiskFull", Severity: "critical",
			Expr:    `<qanat.disk.full> == 1`,
			Summary: `Broker {{ $labels.instance }} refuses records: its data volume is full.`,
			Means:   "What is left of the volume is kept for the metadata and for making room. Producers hear KAFKA_STORAGE_ERROR, which is retriable; nothing acknowledged is lost; reads go on.",
			Look:    "Dashboard *Tier & Replay*: is there a backlog, because the bucket does not take uploads? *Topics & Groups*, panel *On local disks*: whose records are they?",
			Do:      "If the bucket is the cause, mend that first. Else grow the volume, or shorten `local.retention.ms`/`local.retention.bytes` (what is in the bucket stays there) or `retention.*` of the largest topics. Records are accepted as soon as there is room.",
			Trips:   []Series{{`qanat_disk_full{job="qanat",instance="a"}`, "1x10"}}, Calm: []Series{{`qanat_disk_full{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatDiskFilling", Severity: "warning", For: 10 * time.Minute,
			Expr:    fmt.Sprintf(`<qanat.disk.free> / <qanat.disk.size> < %g`, o.DiskFree),
			Summary: `Broker {{ $labels.instance }} has {{ $value | humanizePercentage }} of its data volume free.`,
			Means:   "When nothing is left, records are refused.",
			Look:    "As for [QanatDiskFull](#qanatdiskfull).",
			Do:      "The same, at leisure.",
			Trips:   []Series{{`qanat_disk_free_bytes{job="qanat",instance="a"}`, "10x20"}, {`qanat_disk_size_bytes{job="qanat",instance="a"}`, "100x20"}},
			Calm:    []Series{{`qanat_disk_free_bytes{job="qanat",instance="a"}`, "50x20"}, {`qanat_disk_size_bytes{job="qanat",instance="a"}`, "100x20"}},
		},
		{
			Name: "QanatPartitionDamaged", Severity: "critical",
			Expr:    `sum by (instance) (<qanat.partitions.damaged>) > 0`,
			Summary: `Broker {{ $labels.instance }} has {{ $value }} partitions with a damaged segment that nobody else holds.`,
			Means:   "A local segment does not match its checksums, no bucket holds it, and no other replica could give it. The partition serves what is whole, takes no records, and does not lead if another can.",
			Look:    "`qanat cluster health` names partition, segment and cause, on any broker; the kernel's log (`dmesg`) the disk's errors.",
			Do:      "Replace the disk. With other replicas, start the broker with an empty directory: it copies. Without, restore the segment from a copy, or give it up: [operations](operations.md), *Damaged partition*. `qanat log dump` shows what can still be read.",
			Trips:   []Series{{`qanat_partitions_damaged{job="qanat",instance="a"}`, "1x10"}}, Calm: []Series{{`qanat_partitions_damaged{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatPartitionOffline", Severity: "critical", For: time.Minute,
			Expr:    `sum by (instance) (<qanat.partitions|state="offline">) > 0`,
			Summary: `Broker {{ $labels.instance }} has {{ $value }} partitions whose storage does not open.`,
			Means:   "Files of these partitions cannot be read, or are not what they should be. Where others are in sync one of them leads; where nobody else has the partition, it is neither written nor read.",
			Look:    "`qanat cluster health`, on any broker, or the log of that one: which file, and what is wrong with it. The kernel's log (`dmesg`) has the disk's errors.",
			Do:      "Mend what the error names: it is tried again every ten seconds. With other replicas, the broker can be started with an empty directory: it copies. Without: [operations](operations.md), *Damaged partition*.",
			Trips:   []Series{{`qanat_partitions{job="qanat",instance="a",state="offline"}`, "2x10"}}, Calm: []Series{{`qanat_partitions{job="qanat",instance="a",state="offline"}`, "0x10"}, {`qanat_partitions{job="qanat",instance="a",state="online"}`, "9x10"}},
		},
		{
			Name: "QanatObjectsMissing", Severity: "critical",
			Expr:    `max by (instance) (<qanat.tier.lost>) > 0`,
			Summary: `Broker {{ $labels.instance }} has found {{ $value }} objects missing or damaged in the bucket.`,
			Means:   "The metadata names objects that the bucket does not have, or gives with bytes that do not match their checksums. What only they hold cannot be read: consumers there hear KAFKA_STORAGE_ERROR. Whoever emptied the bucket, or let it expire objects, may do more.",
			Look:    "`qanat tier status` and `qanat topic storage` on that broker say which topics, and which offsets. `qanat tier sweep --dry-run` counts against all that the bucket lists. In the store: its versions, lifecycle rules, and its log of who deleted what.",
			Do:      "Stop what deletes. Bring the objects back under the same names (from the bucket's versions, or a copy), or give their offsets up with `qanat topic trim`: [operations](operations.md), *Objects missing*. The alert ends when they were read, or a listing has shown them.",
			Trips:   []Series{{`qanat_tier_lost{job="qanat",instance="a"}`, "3x10"}}, Calm: []Series{{`qanat_tier_lost{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatBucketHeld", Severity: "critical",
			Expr:    `max by (instance) (<qanat.tier.held>) > 0`,
			Summary: `Broker {{ $labels.instance }} leaves the bucket alone: it does not hold what the metadata says.`,
			Means:   "Of the objects that the metadata names, none of those that the broker asked for is there: it is another bucket, one that was emptied, or a directory whose volume is not mounted. Nothing is uploaded, deleted or swept, and local segments stay, so the disk fills.",
			Look:    "`qanat tier status` and the log (*bucket does not hold what the metadata says*) say what was asked for. `bucket.url` of that broker, and of the others: `qanat config check --explain`.",
			Do:      "Mount the volume, or correct `bucket.url`: it goes on by itself within seconds. If the objects are lost: [operations](operations.md), *Bucket lost*.",
			Trips:   []Series{{`qanat_tier_held{job="qanat",instance="a"}`, "1x10"}}, Calm: []Series{{`qanat_tier_held{job="qanat",instance="a"}`, "0x10"}},
		},
		{
			Name: "QanatUploadsFail", Severity: "warning",
			Expr:    `max by (instance) (<qanat.tier.failing.age>) > ` + seconds(o.Failing),
			Summary: `Broker {{ $labels.instance }} has a partition of which nothing has reached the bucket for {{ $value | humanizeDuration }}: every attempt fails.`,
			Means:   "Each attempt to upload the partition's closed segments, or to have the quorum take note of one, has failed for that long. They stay on the local disk, so the disk fills. It need not be many errors: attempts are made ever less often, which [QanatBucketErrors](#qanatbucketerrors) may not see.",
			Look:    "`qanat cluster health` has the last error, on any broker; `qanat tier status` all partitions; `qanat doctor` tries put, get, list and delete, and names the right that is missing.",
			Do:      "Mend the bucket, its rights, or the way to it: uploads go on by themselves ([operations](operations.md), *Bucket down*).",
			Trips:   []Series{{`qanat_tier_failing_age_seconds{job="qanat",instance="a"}`, "580+60x10"}}, Calm: []Series{{`qanat_tier_failing_age_seconds{job="qanat",instance="a"}`, "0 40 0 70x8"}},
		},
		{
			Name: "QanatTierBacklog", Severity: "warning", For: 5 * time.Minute,
			Expr:    `max by (instance) (<qanat.tier.backlog.age>) > ` + seconds(o.Backlog),
			Summary: `Broker {{ $labels.instance }} has a closed segment that has waited {{ $value | humanizeDuration }} for the bucket.`,
			Means:   "Uploads do not keep up, or fail. Records stay on the local disk until they are in the bucket, so the disk fills.",
			Look:    "Dashboard *Tier & Replay*: errors and the time of an upload; the log's lines of part `archive`; `qanat doctor` for the bucket's rights.",
			Do:      "Mend the bucket or the way to it: uploads go on by themselves. If it is merely slow, `remote.log.manager.copier.thread.pool.size` and `remote.log.manager.copy.max.bytes.per.second` let more through.",
			Trips:   []Series{{`qanat_tier_backlog_age_seconds{job="qanat",instance="a"}`, "1000+60x15"}}, Calm: []Series{{`qanat_tier_backlog_age_seconds{job="qanat",instance="a"}`, "30x15"}},
		},
		{
			Name: "QanatBucketErrors", Severity: "warning", For: 5 * time.Minute,
			Expr:    fmt.Sprintf(`sum by (instance, operation) (rate(<qanat.tier.errors>[%s])) > 0.02`, promDuration(o.Range)),
			Summary: `Broker {{ $labels.instance }}: {{ $labels.operation }} of the bucket fails {{ $value | humanize }} times a second.`,
			Means:   "Requests to object storage fail and are tried again. Replays are slow or stall, uploads wait.",
			Look:    "The log's lines of parts `archive` and `cold` have the store's answer; `qanat doctor` tries put, get, list and delete, and names the right that is missing.",
			Do:      "Mend credentials, rights, or the store. Nothing is lost meanwhile.",
			Trips:   []Series{{`qanat_tier_errors_total{job="qanat",instance="a",operation="upload"}`, "0+60x20"}}, Calm: []Series{{`qanat_tier_errors_total{job="qanat",instance="a",operation="upload"}`, "5x20"}},
		},
	}
}

func clientAlerts(o Options) []Alert {
	return []Alert{
		{
			Name: "QanatConsumerLag", Severity: "warning", For: 5 * time.Minute,
			Expr:    `max by (group, topic) (<qanat.consumer_group.lag.age>) > ` + seconds(o.Lag),
			Summary: `Group {{ $labels.group }} is {{ $value | humanizeDuration }} behind in {{ $labels.topic }}.`,
			Means:   "The oldest record that the group has not committed has waited that long.",
			Look:    "`qanat group describe GROUP`: are there members, does one of them not move? Dashboard *Topics & Groups*: does the topic get more than usual, does the group commit?",
			Do:      "Mostly the consumer's: restart it, add members up to the number of partitions, or look for the record on which it fails. A group that nobody needs is deleted: `qanat group delete`.",
			Trips:   []Series{{`qanat_consumer_group_lag_age_seconds{job="qanat",instance="a",group="g",topic="t"}`, "400+60x15"}}, Calm: []Series{{`qanat_consumer_group_lag_age_seconds{job="qanat",instance="a",group="g",topic="t"}`, "3x15"}},
		},
		{
			Name: "QanatSlowProduce", Severity: "warning", For: 5 * time.Minute,
			Expr:    fmt.Sprintf(`histogram_quantile(0.99, sum by (instance, le) (rate(<kafka.request.duration:bucket|api="Produce">[%s]))) > %s`, promDuration(o.Range), seconds(o.Produce)),
			Summary: `Broker {{ $labels.instance }} answers one produce in a hundred after more than {{ $value | humanizeDuration }}.`,
			Means:   "An acknowledgement with `acks=all` waits for the slowest replica in sync, and each of them for its disk.",
			Look:    "The traces of slow requests say where the time goes: `append`, `flush` (this broker's disk), `replicate` (the others), `ack` (the client). Without traces: dashboard *Overview*, panels *Flush* and *CPU*, on every broker.",
			Do:      "A slow disk: give the data a volume of its own, or a faster one. A slow follower: relieve or stop it; it leaves the ISR after `replica.lag.time.max.ms`.",
			Trips:   []Series{{`kafka_request_duration_seconds_bucket{job="qanat",instance="a",api="Produce",le="1.0"}`, "0x20"}, {`kafka_request_duration_seconds_bucket{job="qanat",instance="a",api="Produce",le="2.5"}`, "0+60x20"}, {`kafka_request_duration_seconds_bucket{job="qanat",instance="a",api="Produce",le="+Inf"}`, "0+60x20"}},
			Calm:    []Series{{`kafka_request_duration_seconds_bucket{job="qanat",instance="a",api="Produce",le="1.0"}`, "0+60x20"}, {`kafka_request_duration_seconds_bucket{job="qanat",instance="a",api="Produce",le="+Inf"}`, "0+60x20"}},
		},
		{
			Name: "QanatTransactionStuck", Severity: "warning", For: 5 * time.Minute,
			Expr:    `max(<qanat.transactions.age>) > ` + seconds(o.Transaction),
			Summary: `A transaction has been under way for {{ $value | humanizeDuration }}.`,
			Means:   "Consumers of `read_committed` see nothing that was written behind its first record, whoever wrote it.",
			Look:    "`qanat txn list --state Ongoing` and `qanat txn describe ID` name the producer and its partitions; `qanat txn find-hanging` those of which no coordinator knows. One in PrepareCommit or PrepareAbort is decided, and waits for a partition's leader to write its marker.",
			Do:      "Stop the producer: the transaction is aborted after its own timeout; `qanat txn abort` does it now. A decided one goes on when its partitions have leaders.",
			Trips:   []Series{{`qanat_transactions_age_seconds{job="qanat",instance="a"}`, "1000+60x15"}}, Calm: []Series{{`qanat_transactions_age_seconds{job="qanat",instance="a"}`, "1x15"}},
		},
		{
			Name: "QanatConnectionsRefused", Severity: "warning",
			Expr:    fmt.Sprintf(`sum by (instance) (increase(<kafka.connections.refused>[%s])) > 0`, promDuration(o.Range)),
			Summary: `Broker {{ $labels.instance }} has refused connections.`,
			Means:   "`max.connections` or `max.connections.per.ip` is reached.",
			Look:    "Dashboard *Clients*: connections, and how many are made a second.",
			Do:      "Look for a client that connects anew for each record. If there are simply many, raise the limit, and that of open files with it.",
			Trips:   []Series{{`kafka_connections_refused_total{job="qanat",instance="a"}`, "0+10x10"}}, Calm: []Series{{`kafka_connections_refused_total{job="qanat",instance="a"}`, "7x10"}},
		},
		{
			Name: "QanatCertificateExpiring", Severity: "warning",
			Expr:    `min by (instance, listener) (<qanat.tls.certificate.remaining>) < ` + seconds(o.Certificate),
			Summary: `The certificate of listener {{ $labels.listener }} on {{ $labels.instance }} ends in {{ $value | humanizeDuration }}.`,
			Means:   "Clients, or other brokers, will not connect any more when it has ended.",
			Look:    "`qanat doctor` on that machine names the files.",
			Do:      "Put the new certificate in place of the old files: brokers take it up by themselves, without a restart. The log says so, or why not.",
			Trips:   []Series{{`qanat_tls_certificate_remaining_seconds{job="qanat",instance="a",listener="SSL"}`, "1000x10"}}, Calm: []Series{{`qanat_tls_certificate_remaining_seconds{job="qanat",instance="a",listener="SSL"}`, "9000000x10"}},
		},
	}
}
