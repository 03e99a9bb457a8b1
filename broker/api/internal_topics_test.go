package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// watched is the quorum's image for who watches it; the tests here look once.
type watched struct{ *memoryQuorum }

func (w watched) Watch(quorum.Watcher) (*image.Image, func()) { return w.Image(), func() {} }

func newInternal(t *testing.T) *harness {
	s := newHarness(t)
	s.StateLogs = statelog.New(1, watched{s.meta})
	s.view.internal = true
	t.Cleanup(s.StateLogs.Close)
	return s
}

// Kafka's internal topics would be in everybody's list before there is anything in them, would not be found by who reads them, or not be known for what they are.
func TestInternalTopicsInMetadata(t *testing.T) {
	s := newInternal(t)
	id := s.topic("orders", 1)
	if r := metadataOf(s, 9, true); len(r.Topics) != 1 {
		t.Errorf("before there are groups: %+v", r.Topics)
	}
	for _, name := range []string{"__consumer_offsets", "__transaction_state"} {
		r := metadataOf(s, 9, true, name).Topics[0]
		if r.ErrorCode != 0 || !r.IsInternal || len(r.Partitions) != 50 || r.Partitions[49].Leader != 1 || len(r.Partitions[0].ISR) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	s.propose1(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: id}, Offset: 1}}})
	if r := metadataOf(s, 9, true); len(r.Topics) != 2 || *r.Topics[0].Topic != "__consumer_offsets" || !r.Topics[0].IsInternal {
		t.Errorf("with a group: %+v", r.Topics)
	}
	s.propose1(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: 49, Broker: kafka.NoBroker, Expected: 1}}})
	if r := metadataOf(s, 9, true, "__consumer_offsets").Topics[0]; r.Partitions[49].ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("a partition that nobody serves: %+v", r.Partitions[49])
	}
	d := kmsg.NewPtrDescribeConfigsRequest()
	dr := kmsg.NewDescribeConfigsRequestResource()
	dr.ResourceType, dr.ResourceName, dr.ConfigNames = kmsg.ConfigResourceTypeTopic, "__consumer_offsets", []string{"cleanup.policy"}
	d.Resources = append(d.Resources, dr)
	if r := ask[*kmsg.DescribeConfigsResponse](s, d, 4).Resources[0]; r.ErrorCode != 0 || *r.Configs[0].Value != "compact" {
		t.Errorf("configs: %+v", r)
	}
}

// Who reads what groups have committed would not get it, at any version, or would not learn who has it.
func TestInternalTopicsAreRead(t *testing.T) {
	s := newInternal(t)
	id := s.topic("orders", 1)
	s.propose1(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: id}, Offset: 7}}})
	index := statelog.PartitionOf("g")

	l := kmsg.NewPtrListOffsetsRequest()
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = "__consumer_offsets"
	lp := kmsg.NewListOffsetsRequestTopicPartition()
	lp.Partition, lp.Timestamp, lp.CurrentLeaderEpoch = index, -1, -1
	lt.Partitions = append(lt.Partitions, lp)
	l.Topics = append(l.Topics, lt)
	end := ask[*kmsg.ListOffsetsResponse](s, l, 7).Topics[0].Partitions[0]
	if end.ErrorCode != 0 || end.Offset == 0 {
		t.Fatalf("the end: %+v", end)
	}

	for _, version := range []int16{4, 12, 13, 18} {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionEpoch, req.MaxWaitMillis = 1<<20, -1, 1000
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.TopicID = "__consumer_offsets", statelog.Offsets.ID
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.Partition, fp.PartitionMaxBytes, fp.CurrentLeaderEpoch = index, 1<<20, -1
		ft.Partitions = append(ft.Partitions, fp)
		req.Topics = append(req.Topics, ft)
		select {
		case r := <-s.start(req, version).replies:
			p := r.Fetch.Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.Records.Len() == 0 || p.HighWatermark != kafka.Offset(end.Offset) || batch.View(p.Records.Bytes).NextOffset() != p.HighWatermark {
				t.Errorf("v%d: %+v", version, p)
			}
			release(r.Fetch)
		case <-time.After(10 * time.Second):
			t.Fatalf("v%d is not answered", version)
		}
	}

	// Who looks for hanging transactions asks for the producers of every partition of a broker, and takes one that refuses for all.
	dp := kmsg.NewPtrDescribeProducersRequest()
	dt := kmsg.NewDescribeProducersRequestTopic()
	dt.Topic, dt.Partitions = "__consumer_offsets", []int32{index}
	dp.Topics = append(dp.Topics, dt)
	if r := ask[*kmsg.DescribeProducersResponse](s, dp, 0).Topics[0].Partitions[0]; r.ErrorCode != 0 || len(r.ActiveProducers) != 0 {
		t.Errorf("producers: %+v", r)
	}

	s.propose1(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: index, Broker: 2, Expected: 1}}})
	if r := ask[*kmsg.ListOffsetsResponse](s, l, 7).Topics[0].Partitions[0]; r.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("where another broker serves it: %+v", r)
	}
}

// What is made up from the metadata would seem to have been changed.
func TestInternalTopicsCannotBeChanged(t *testing.T) {
	s := newInternal(t)
	invalid := kerr.InvalidTopicException.Code
	for _, version := range []int16{9, 13} {
		req := produceRequest(statelog.Offsets.ID, 1, 0)
		req.Topics[0].Topic = "__consumer_offsets"
		if r := ask[*kmsg.ProduceResponse](s, req, version); r.Topics[0].Partitions[0].ErrorCode != invalid {
			t.Errorf("Produce v%d: %+v", version, r.Topics[0])
		}
	}
	name := "__transaction_state"
	d := kmsg.NewPtrDeleteTopicsRequest()
	d.TimeoutMillis = 1000
	byName, byID := kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic()
	byName.Topic, byID.TopicID = &name, statelog.Transactions.ID
	d.Topics = append(d.Topics, byName, byID)
	for _, r := range ask[*kmsg.DeleteTopicsResponse](s, d, 6).Topics {
		if r.ErrorCode != invalid {
			t.Errorf("DeleteTopics: %+v", r)
		}
	}
	if r := create(s, 7, false, newTopic(name, 1, 1)); r.Topics[0].ErrorCode != kerr.TopicAlreadyExists.Code {
		t.Errorf("CreateTopics: %+v", r.Topics[0])
	}
	p := kmsg.NewPtrCreatePartitionsRequest()
	p.TimeoutMillis = 1000
	pt := kmsg.NewCreatePartitionsRequestTopic()
	pt.Topic, pt.Count = name, 60
	p.Topics = append(p.Topics, pt)
	if r := ask[*kmsg.CreatePartitionsResponse](s, p, 3); r.Topics[0].ErrorCode != invalid {
		t.Errorf("CreatePartitions: %+v", r.Topics[0])
	}
	a := kmsg.NewPtrIncrementalAlterConfigsRequest()
	ar := kmsg.NewIncrementalAlterConfigsRequestResource()
	ar.ResourceType, ar.ResourceName = kmsg.ConfigResourceTypeTopic, name
	a.Resources = append(a.Resources, ar)
	if r := ask[*kmsg.IncrementalAlterConfigsResponse](s, a, 1); r.Resources[0].ErrorCode != invalid {
		t.Errorf("IncrementalAlterConfigs: %+v", r.Resources[0])
	}
}
