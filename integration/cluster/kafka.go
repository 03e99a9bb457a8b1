package cluster

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Kafka is Apache Kafka as the script kafka-cluster starts it: the reference.
type Kafka struct {
	Script string // path of kafka-cluster
	Heap   string // JVM options, "" for small ones
	// Faketime is libfaketime's library, "" for none; the file beside a node's log shifts its clock.
	Faketime string
}

// shareGroups has members of share groups that have crashed be forgotten soon, and a group's locks be as short as it likes.
var shareGroups = []string{
	"group.share.min.session.timeout.ms=6000", "group.share.session.timeout.ms=6000",
	"group.share.min.heartbeat.interval.ms=1000", "group.share.heartbeat.interval.ms=1000", "group.share.min.record.lock.duration.ms=1000",
}

// Name is the system's.
func (Kafka) Name() string { return "Apache Kafka" }

// Async is true: Kafka acknowledges from the page cache.
func (Kafka) Async() bool { return true }

// Start is a node that is broker and controller.
func (k Kafka) Start(c *Cluster, node int) (Start, error) {
	var nodes []string
	for i := range c.Nodes() {
		nodes = append(nodes, fmt.Sprintf("%d@%s", i+1, c.Address(i)))
	}
	heap := k.Heap
	if heap == "" {
		heap = "-Xmx256M -Xms256M -XX:TieredStopAtLevel=1"
	}
	s := Start{
		Args: []string{k.Script, fmt.Sprint(node + 1), c.Data(node), c.Host(node), fmt.Sprint(c.Port(node)), strings.Join(nodes, ","),
			"offsets.topic.num.partitions=4", "log.segment.bytes=1048576"},
		Env: []string{"KAFKA_HEAP=" + heap},
	}
	s.Args = append(s.Args, shareGroups...)
	if k.Faketime != "" {
		s.Env = append(s.Env, "LD_PRELOAD="+k.Faketime, "FAKETIME_TIMESTAMP_FILE="+c.ClockFile(node), "FAKETIME_CACHE_DURATION=1", "DONT_FAKE_MONOTONIC=1", "FAKETIME_DISABLE_SHM=1")
	}
	return s, nil
}

// Refuses implements System.
func (Kafka) Refuses(string) bool { return false }

// Admin is none.
func (Kafka) Admin(*Cluster, int) string { return "" }

// Records is the directory of a replica.
func (Kafka) Records(c *Cluster, node int, topic string, _ [16]byte, partition int32) string {
	return filepath.Join(c.Data(node), "data", fmt.Sprintf("%s-%d", topic, partition))
}

// Files are what a replica and the metadata consist of.
func (Kafka) Files() map[string][]string {
	return map[string][]string{
		"index":    {"data/*-*/*.index", "data/*-*/*.timeindex"},
		"snapshot": {"data/__cluster_metadata-0/*.checkpoint", "data/*-*/*.snapshot"},
	}
}
