package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
)

// DescribeLogDirs tells both tiers, of all topics or of those asked for; what is not here is left out.
func TestDescribeLogDirs(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	s.topic("u", 1)
	s.log(id, 1).append(10)
	s.log(id, 1).local = 4
	req := kmsg.NewPtrDescribeLogDirsRequest()
	r := ask[*kmsg.DescribeLogDirsResponse](s, req, 4)
	if len(r.Dirs) != 2 || r.Dirs[0].Dir != "/data" || r.Dirs[1].Dir != "s3://bucket" || len(r.Dirs[0].Topics) != 2 || len(r.Dirs[1].Topics) != 2 {
		t.Fatalf("%+v", r.Dirs)
	}
	if d := r.Dirs; d[0].TotalBytes != 1000 || d[0].UsableBytes != 400 || d[1].TotalBytes != -1 {
		t.Errorf("space: %+v", d)
	}
	for i, want := range []int64{6 * unit, 4 * unit} {
		if p := r.Dirs[i].Topics[0].Partitions; len(p) != 2 || p[1].Size != want {
			t.Errorf("dir %d: %+v", i, p)
		}
	}
	rt := kmsg.NewDescribeLogDirsRequestTopic()
	rt.Topic, rt.Partitions = "t", []int32{1, 7}
	req.Topics = append(req.Topics, rt)
	if p := ask[*kmsg.DescribeLogDirsResponse](s, req, 1).Dirs[0].Topics[0].Partitions; len(p) != 1 || p[0].Partition != 1 {
		t.Errorf("%+v", p)
	}
}

// DescribeQuorum tells the Raft quorum as the log that KRaft's tools know, and nothing of other topics.
func TestDescribeQuorum(t *testing.T) {
	s := newHarness(t)
	req := kmsg.NewPtrDescribeQuorumRequest()
	for _, name := range []string{metadataLog, "t"} {
		rt := kmsg.NewDescribeQuorumRequestTopic()
		rt.Topic = name
		rt.Partitions = append(rt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
	}
	r := ask[*kmsg.DescribeQuorumResponse](s, req, 2)
	p := r.Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.LeaderID != 1 || p.LeaderEpoch != 3 || len(p.CurrentVoters) != 1 || p.CurrentVoters[0].LastFetchTimestamp != -1 || p.HighWatermark != int64(s.meta.index) {
		t.Errorf("%+v", p)
	}
	if len(r.Nodes) != 1 || r.Nodes[0].Listeners[0].Port != 9093 {
		t.Errorf("%+v", r.Nodes)
	}
	if p := r.Topics[1].Partitions[0]; p.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", p)
	}
}

// DescribeCluster tells the brokers, and refuses to stand in for controllers.
func TestDescribeCluster(t *testing.T) {
	s := newHarness(t)
	req := kmsg.NewPtrDescribeClusterRequest()
	r := ask[*kmsg.DescribeClusterResponse](s, req, 2)
	if r.ErrorCode != 0 || len(r.Brokers) != 1 || r.Brokers[0].Host != "localhost" || r.ControllerID != 1 || r.ClusterAuthorizedOperations != unauthorized {
		t.Errorf("%+v", r)
	}
	for kind, want := range map[int8]*kerr.Error{2: kerr.MismatchedEndpointType, 7: kerr.UnsupportedEndpointType} {
		req.EndpointType = kind
		if r := ask[*kmsg.DescribeClusterResponse](s, req, 1); r.ErrorCode != want.Code || r.ErrorMessage == nil {
			t.Errorf("type %d: %+v", kind, r)
		}
	}
}

// DescribeProducers lists the producers of the partitions led here, and those of a partition once, however often it is named.
func TestDescribeProducers(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	s.log(id, 0).producers = []partition.ProducerInfo{{ID: 7, Epoch: 1, LastSequence: 5, LastTimestamp: 9, CoordinatorEpoch: -1, TxnStart: -1}}
	s.log(id, 1).epoch = -1
	req := kmsg.NewPtrDescribeProducersRequest()
	rt := kmsg.NewDescribeProducersRequestTopic()
	rt.Topic, rt.Partitions = "t", []int32{0, 1, 0}
	req.Topics = append(req.Topics, rt, rt)
	topics := ask[*kmsg.DescribeProducersResponse](s, req, 0).Topics
	if len(topics[0].Partitions) != 2 || len(topics[1].Partitions) != 0 {
		t.Errorf("%+v", topics)
	}
	p := topics[0].Partitions
	if a := p[0].ActiveProducers; len(a) != 1 || a[0].ProducerID != 7 || a[0].LastSequence != 5 || a[0].CurrentTxnStartOffset != -1 {
		t.Errorf("%+v", p[0])
	}
	if p[1].ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("%+v", p[1])
	}
}

// A tool that rolls a reassignment back asks that replicas be where they are: it must hear that they are, and of any other directory
// that there is none.
func TestAlterReplicaLogDirs(t *testing.T) {
	s := newHarness(t)
	s.topic("t", 2)
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	for dir, index := range map[string]int32{"/data": 0, "s3://bucket": 1, "/elsewhere": 1, "": 1} {
		d := kmsg.NewAlterReplicaLogDirsRequestDir()
		d.Dir = dir
		rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		rt.Topic, rt.Partitions = "t", []int32{index}
		d.Topics = append(d.Topics, rt)
		if dir == "/data" {
			none := rt
			none.Partitions = []int32{7}
			d.Topics = append(d.Topics, none)
		}
		req.Dirs = append(req.Dirs, d)
	}
	for version := int16(1); version <= 2; version++ {
		r := ask[*kmsg.AlterReplicaLogDirsResponse](s, req, version)
		codes := map[int16]int{}
		for _, p := range r.Topics[0].Partitions {
			codes[p.ErrorCode]++
		}
		if len(r.Topics) != 1 || codes[0] != 2 || codes[kerr.LogDirNotFound.Code] != 2 || codes[kerr.UnknownTopicOrPartition.Code] != 1 {
			t.Errorf("v%d: %+v", version, r)
		}
	}
}
