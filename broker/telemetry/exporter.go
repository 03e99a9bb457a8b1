package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// exporterNames gives the cluster's state under the names of kafka_exporter
// and kafka-lag-exporter, for dashboards that exist. Only names that the
// OpenTelemetry metrics do not already translate to (kafka_brokers and
// kafka_topic_partitions do).
type exporterNames struct{ t *Telemetry }

var exporterDescs = func() map[string]*prometheus.Desc {
	m := map[string]*prometheus.Desc{}
	for _, d := range Declarations {
		if d.PrometheusOnly {
			m[d.Name] = prometheus.NewDesc(d.Name, d.Help, d.Attributes, nil)
		}
	}
	return m
}()

// Describe implements prometheus.Collector.
func (exporterNames) Describe(to chan<- *prometheus.Desc) {
	for _, d := range exporterDescs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (x exporterNames) Collect(to chan<- prometheus.Metric) {
	if x.t.sources.Load().Cluster == nil {
		return
	}
	s := x.t.cluster.get()
	set := func(name string, v float64, labels ...string) {
		d := exporterDescs[name]
		if d == nil {
			panic("telemetry: metric " + name + " is not declared")
		}
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	d := s.detail(x.t.cfg.SeriesMax)
	if d.partitions {
		for _, t := range s.Topics {
			for _, p := range t.Led {
				exportPartition(set, t.Name, p)
			}
		}
	}
	for _, g := range s.Groups {
		exportGroup(set, g, d)
	}
}

func exportPartition(set func(string, float64, ...string), topic string, p PartitionState) {
	index := strconv.Itoa(int(p.Index))
	set("kafka_topic_partition_current_offset", float64(p.End), topic, index)
	set("kafka_topic_partition_oldest_offset", float64(p.Oldest), topic, index)
	set("kafka_topic_partition_leader", float64(p.Leader), topic, index)
	set("kafka_topic_partition_leader_is_preferred", float64(one(p.Preferred)), topic, index)
	set("kafka_topic_partition_replicas", float64(p.Replicas), topic, index)
	set("kafka_topic_partition_in_sync_replica", float64(p.ISR), topic, index)
	set("kafka_topic_partition_under_replicated_partition", float64(one(p.ISR < p.Replicas)), topic, index)
}

func exportGroup(set func(string, float64, ...string), g GroupState, d detail) {
	if d.groups {
		if g.Members >= 0 {
			set("kafka_consumergroup_members", float64(g.Members), g.Name)
		}
		worst := -1.0
		for _, sum := range g.byTopic() {
			set("kafka_consumergroup_current_offset_sum", float64(sum.offset), g.Name, sum.topic)
			set("kafka_consumergroup_lag_sum", float64(sum.lag), g.Name, sum.topic)
			worst = max(worst, sum.age)
		}
		if worst >= 0 {
			set("kafka_consumergroup_group_max_lag_seconds", worst, g.Name)
		}
	}
	if !d.offsets {
		return
	}
	for _, o := range g.Offsets {
		index := strconv.Itoa(int(o.Partition))
		set("kafka_consumergroup_current_offset", float64(o.Committed), g.Name, o.Topic, index)
		if o.Lag >= 0 {
			set("kafka_consumergroup_lag", float64(o.Lag), g.Name, o.Topic, index)
		}
		if o.Age >= 0 {
			set("kafka_consumergroup_group_lag_seconds", o.Age, g.Name, o.Topic, index)
		}
	}
}
