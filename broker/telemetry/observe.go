package telemetry

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// clusterTTL is how long one look at the cluster serves: the two halves of a
// scrape, and a push beside it, share it.
const clusterTTL = time.Second

// clusterCache keeps the cluster's state for clusterTTL.
type clusterCache struct {
	ask func() ClusterState

	mu    sync.Mutex
	at    time.Time
	state ClusterState
}

func (c *clusterCache) get() ClusterState {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.at.IsZero() || now.Sub(c.at) >= clusterTTL {
		c.state, c.at = c.ask(), now
	}
	return c.state
}

// observables are the instruments that are read at collection, by name.
type observables struct {
	ints   map[string]metric.Int64Observable
	floats map[string]metric.Float64Observable
}

// observe registers every observable that is declared, and the callbacks that feed them.
func (t *Telemetry) observe(m metric.Meter) error {
	o := observables{map[string]metric.Int64Observable{}, map[string]metric.Float64Observable{}}
	var all []metric.Observable
	for _, d := range Declarations {
		if d.Kind == histogram || d.PrometheusOnly {
			continue
		}
		i, err := o.add(m, d)
		if err != nil {
			return fmt.Errorf("metric %s: %w", d.Name, err)
		}
		all = append(all, i)
	}
	_, err := m.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		w := observer{to, o}
		t.observeRecorded(w)
		s := t.sources.Load()
		if s.Server != nil {
			observeServer(w, s.Server())
		}
		if s.TLS != nil {
			observeTLS(w, s.TLS())
		}
		if s.Log != nil {
			observeLog(w, s.Log(), t.cfg.SeriesMax)
		}
		if s.Tier != nil {
			observeTier(w, s.Tier())
		}
		if s.Quorum != nil {
			observeQuorum(w, s.Quorum())
		}
		if s.Process != nil {
			observeProcess(w, s.Process())
		}
		if s.Cluster != nil {
			observeCluster(w, t.cluster.get(), t.cfg.SeriesMax)
		}
		return nil
	}, all...)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// add makes the instrument of a declaration: of fractions where it is in seconds or a ratio.
func (o observables) add(m metric.Meter, d Declaration) (metric.Observable, error) {
	unit, help := metric.WithUnit(d.Unit), metric.WithDescription(d.Help)
	switch {
	case d.Unit == "s" && d.Kind == counter:
		i, err := m.Float64ObservableCounter(d.Name, unit, help)
		o.floats[d.Name] = i
		return i, err
	case d.Unit == "s", d.Unit == "1":
		i, err := m.Float64ObservableGauge(d.Name, unit, help)
		o.floats[d.Name] = i
		return i, err
	case d.Kind == counter:
		i, err := m.Int64ObservableCounter(d.Name, unit, help)
		o.ints[d.Name] = i
		return i, err
	default:
		i, err := m.Int64ObservableGauge(d.Name, unit, help)
		o.ints[d.Name] = i
		return i, err
	}
}

// observer writes observations by name.
type observer struct {
	to metric.Observer
	o  observables
}

// int observes v; attributes are name, value, name, value, …
func (w observer) int(name string, v int64, attributes ...string) {
	i := w.o.ints[name]
	if i == nil {
		panic("telemetry: " + name + " is not an observable of whole numbers")
	}
	w.to.ObserveInt64(i, v, attributeSet(attributes))
}

func (w observer) float(name string, v float64, attributes ...string) {
	f := w.o.floats[name]
	if f == nil {
		panic("telemetry: " + name + " is not an observable of fractions")
	}
	w.to.ObserveFloat64(f, v, attributeSet(attributes))
}

func attributeSet(pairs []string) metric.MeasurementOption {
	list := make([]attribute.KeyValue, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, attribute.String(pairs[i], pairs[i+1]))
	}
	return metric.WithAttributeSet(attribute.NewSet(list...))
}

func (t *Telemetry) observeRecorded(w observer) {
	for key := range t.failed {
		if t.requests.list[key].any() { // also without errors: an increase from 0 is one
			w.int("kafka.request.errors", t.failed[key].Load(), "api", apiName(key))
		}
	}
	w.int("qanat.client_metrics.pushes", t.forwarder.forwarded.Load(), "result", "forwarded")
	w.int("qanat.client_metrics.pushes", t.forwarder.dropped.Load(), "result", "dropped")
	for o := range operations {
		w.int("qanat.tier.errors", t.tierErrors[o].Load(), "operation", o.String())
	}
	if t.Tracing() {
		for i := range t.fates {
			w.int("qanat.traces", t.fates[i].Load(), "fate", traceFateNames[i])
		}
	}
	t.clients.observe(w)
}

func observeProcess(w observer, s ProcessState) {
	w.float("process.cpu.time", s.CPU)
	if s.RSS > 0 {
		w.int("process.memory.usage", s.RSS)
	}
	if s.Files > 0 {
		w.int("process.open_file_descriptor.count", s.Files)
	}
}

func observeServer(w observer, s ServerState) {
	w.int("kafka.network.io", s.BytesIn, "direction", "receive")
	w.int("kafka.network.io", s.BytesOut, "direction", "transmit")
	w.int("kafka.connections", s.Connections)
	w.int("kafka.connections.accepted", s.Accepted)
	w.int("kafka.connections.refused", s.RefusedByLimit)
	w.int("kafka.requests.queued", s.QueuedBytes)
	w.int("kafka.requests.throttled", s.Throttled)
	w.int("qanat.partitions", s.PartitionsOnline, "state", "online")
	w.int("qanat.partitions", s.PartitionsOffline, "state", "offline")
}

func observeTLS(w observer, s TLSState) {
	w.int("qanat.tls.handshakes", s.Handshakes, "result", "ok")
	w.int("qanat.tls.handshakes", s.Failed, "result", "failed")
	w.int("qanat.tls.reloads", s.Reloads, "result", "ok")
	w.int("qanat.tls.reloads", s.ReloadsFailed, "result", "failed")
	for _, c := range s.Certificates {
		w.float("qanat.tls.certificate.remaining", c.Remaining, "listener", c.Listener)
	}
}

func observeLog(w observer, s LogState, limit int) {
	w.int("qanat.segments", s.HotSegments, "tier", "hot")
	w.int("qanat.segments", s.ColdSegments, "tier", "cold")
	var all TopicSize
	for _, t := range s.Topics {
		all.HotBytes += t.HotBytes
		all.ColdBytes += t.ColdBytes
		all.Produced += t.Produced
		all.Records += t.Records
		all.ConsumedHot += t.ConsumedHot
		all.ConsumedCold += t.ConsumedCold
		all.Replicated += t.Replicated
	}
	if len(s.Topics) > limit {
		all.Topic = "(all)"
		s.Topics = []TopicSize{all}
	}
	for _, t := range s.Topics {
		w.int("qanat.log.size", t.HotBytes, "topic", t.Topic, "tier", "hot")
		w.int("qanat.log.size", t.ColdBytes, "topic", t.Topic, "tier", "cold")
		w.int("qanat.topic.produced", t.Produced, "topic", t.Topic)
		w.int("qanat.topic.records", t.Records, "topic", t.Topic)
		w.int("qanat.topic.consumed", t.ConsumedHot, "topic", t.Topic, "tier", "hot")
		w.int("qanat.topic.consumed", t.ConsumedCold, "topic", t.Topic, "tier", "cold")
		w.int("qanat.topic.replicated", t.Replicated, "topic", t.Topic)
	}
	w.int("qanat.partitions.damaged", s.Damaged)
	w.int("qanat.scrub.read", s.ScrubBytes)
	w.int("qanat.scrub.damaged", s.ScrubDamaged)
	if s.ScrubAge >= 0 {
		w.float("qanat.scrub.age", s.ScrubAge)
	}
	w.int("qanat.compaction.passes", s.Compaction.Passes)
	w.int("qanat.compaction.failed", s.Compaction.Failed)
	w.int("qanat.compaction.read", s.Compaction.Read)
	w.int("qanat.compaction.freed", s.Compaction.Freed)
	w.int("qanat.compaction.uncleanable", s.Compaction.Uncleanable)
	w.float("qanat.compaction.dirty.ratio", s.Compaction.DirtiestRatio)
	if s.DiskFree >= 0 {
		w.int("qanat.disk.free", s.DiskFree)
		w.int("qanat.disk.size", s.DiskSize)
	}
	w.int("qanat.disk.full", one(s.DiskFull))
}

func observeTier(w observer, s TierState) {
	w.int("qanat.tier.puts", s.Puts)
	w.int("qanat.tier.gets", s.Gets)
	w.int("qanat.tier.requests", s.Heads, "operation", "head")
	w.int("qanat.tier.requests", s.Lists, "operation", "list")
	w.int("qanat.tier.requests", s.Deletes, "operation", "delete")
	w.int("qanat.tier.io", s.BytesUp, "direction", "transmit")
	w.int("qanat.tier.io", s.BytesDown, "direction", "receive")
	w.int("qanat.tier.backlog", s.BacklogBytes)
	w.float("qanat.tier.backlog.age", s.BacklogSeconds)
	w.int("qanat.tier.cache.hits", s.CacheHits)
	w.int("qanat.tier.cache.misses", s.CacheMisses)
	w.int("qanat.tier.cache.size", s.CacheBytes)
	w.int("qanat.tier.orphans", s.Orphans)
	w.int("qanat.tier.failing", s.FailingPartitions)
	w.float("qanat.tier.failing.age", s.FailingSeconds)
	w.int("qanat.tier.lost", s.LostObjects)
	w.int("qanat.partitions.unreadable", s.UnreadablePartitions)
	w.int("qanat.tier.held", one(s.Held))
}

func observeQuorum(w observer, s QuorumState) {
	w.int("qanat.raft.term", int64(s.Term))
	w.int("qanat.raft.applied", int64(s.Applied))
	w.int("qanat.raft.commit", int64(s.Commit))
	w.int("qanat.raft.snapshot", int64(s.Snapshot))
	w.int("qanat.raft.leader", one(s.Leading))
	w.int("qanat.raft.has_leader", one(s.HasLeader))
	w.int("qanat.raft.voters", s.Voters)
	w.int("qanat.raft.queued", s.Queued)
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// detail tells which kinds of series are few enough to be given. Each kind is given whole or not at all.
type detail struct {
	topics, partitions, groups, offsets bool
	leftOut                             int
}

func (s ClusterState) detail(limit int) detail {
	var led, sums, offsets int
	for _, t := range s.Topics {
		led += len(t.Led)
	}
	for _, g := range s.Groups {
		sums += 1 + len(g.byTopic())
		offsets += len(g.Offsets)
	}
	var d detail
	few := func(n int) bool {
		if n > limit {
			d.leftOut += n
			return false
		}
		return true
	}
	d.topics, d.partitions, d.groups, d.offsets = few(len(s.Topics)), few(led), few(sums), few(offsets)
	return d
}

// observeCluster writes the cluster's state, as far as its series are few enough.
func observeCluster(w observer, s ClusterState, limit int) {
	d := s.detail(limit)
	w.int("kafka.brokers", int64(s.Brokers))
	w.float("qanat.broker.clock_offset", s.ClockOffset)
	w.int("qanat.metrics.series_left_out", int64(d.leftOut))
	for state, n := range s.BrokerStates {
		w.int("qanat.brokers", n, "state", state)
	}
	w.int("qanat.partitions.leaderless", s.Leaderless)
	w.int("qanat.partitions.led", s.Led)
	w.int("qanat.partitions.under_replicated", s.UnderReplicated)
	w.int("qanat.partitions.under_min_isr", s.UnderMinISR)
	w.int("qanat.partitions.reassigning", s.Reassigning)
	w.int("qanat.isr.changes", s.Shrinks, "change", "shrink")
	w.int("qanat.isr.changes", s.Expands, "change", "expand")
	w.int("qanat.partitions.elections", s.Elections)
	for k, n := range s.GroupKinds {
		w.int("qanat.groups", n, "type", k.Type, "state", k.State)
	}
	for state, n := range s.Transactions {
		w.int("qanat.transactions", n, "state", state)
	}
	w.float("qanat.transactions.age", s.TransactionAge)
	for _, t := range s.Topics {
		if d.topics {
			w.int("kafka.topic.partitions", int64(t.Partitions), "topic", t.Name)
		}
		if !d.partitions {
			continue
		}
		for _, p := range t.Led {
			index := strconv.Itoa(int(p.Index))
			w.int("kafka.partition.current_offset", p.End, "topic", t.Name, "partition", index)
			w.int("kafka.partition.oldest_offset", p.Oldest, "topic", t.Name, "partition", index)
			w.int("kafka.partition.replicas", int64(p.Replicas), "topic", t.Name, "partition", index)
			w.int("kafka.partition.replicas_in_sync", int64(p.ISR), "topic", t.Name, "partition", index)
		}
	}
	for _, g := range s.Groups {
		observeGroup(w, g, d)
	}
}

func observeGroup(w observer, g GroupState, d detail) {
	if d.groups {
		if g.Members >= 0 {
			w.int("kafka.consumer_group.members", int64(g.Members), "group", g.Name)
		}
		for _, sum := range g.byTopic() {
			w.int("kafka.consumer_group.offset_sum", sum.offset, "group", g.Name, "topic", sum.topic)
			w.int("kafka.consumer_group.lag_sum", sum.lag, "group", g.Name, "topic", sum.topic)
			if sum.age >= 0 {
				w.float("qanat.consumer_group.lag.age", sum.age, "group", g.Name, "topic", sum.topic)
			}
		}
	}
	if !d.offsets {
		return
	}
	for _, o := range g.Offsets {
		index := strconv.Itoa(int(o.Partition))
		w.int("kafka.consumer_group.offset", o.Committed, "group", g.Name, "topic", o.Topic, "partition", index)
		if o.Lag >= 0 {
			w.int("kafka.consumer_group.lag", o.Lag, "group", g.Name, "topic", o.Topic, "partition", index)
		}
	}
}

// topicSum is what a group has done in one topic.
type topicSum struct {
	topic       string
	offset, lag int64
	age         float64 // worst; negative when unknown of every partition
}

func (g GroupState) byTopic() []topicSum {
	var sums []topicSum
	at := map[string]int{}
	for _, o := range g.Offsets {
		i, ok := at[o.Topic]
		if !ok {
			i = len(sums)
			at[o.Topic] = i
			sums = append(sums, topicSum{topic: o.Topic, age: -1})
		}
		sums[i].offset += o.Committed
		sums[i].lag += max(o.Lag, 0)
		sums[i].age = max(sums[i].age, o.Age)
	}
	return sums
}
