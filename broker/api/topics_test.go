package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// metadataOf asks for topics by name.
func metadataOf(s *harness, version int16, create bool, names ...string) *kmsg.MetadataResponse {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &n
		req.Topics = append(req.Topics, t)
	}
	return ask[*kmsg.MetadataResponse](s, req, version)
}

// Metadata names brokers by the listener asked on, leaders, ids; a topic asked for twice is answered once.
func TestMetadata(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	s.propose1(command.RegisterBroker{ID: 2, Endpoints: []command.Endpoint{{Listener: "INSIDE", Host: "10.0.0.2", Port: 9}, {Listener: "PLAINTEXT", Host: "two", Port: 2}}})
	r := metadataOf(s, 12, false, "t", "t")
	if len(r.Topics) != 1 || r.Topics[0].TopicID != id || len(r.Topics[0].Partitions) != 2 || r.Topics[0].Partitions[1].Leader != 1 {
		t.Errorf("topics %+v", r.Topics)
	}
	if len(r.Brokers) != 2 || r.Brokers[1].Host != "two" || r.Brokers[0].Rack == nil || *r.Brokers[0].Rack != "a" || r.Brokers[1].Rack != nil {
		t.Errorf("brokers %+v", r.Brokers)
	}
	if r.ControllerID != 1 || r.Topics[0].AuthorizedOperations != unauthorized {
		t.Errorf("controller %d, operations %d", r.ControllerID, r.Topics[0].AuthorizedOperations)
	}

	all := kmsg.NewPtrMetadataRequest()
	all.Topics = nil
	for _, version := range []int16{0, 1, 13} {
		if r := ask[*kmsg.MetadataResponse](s, all, version); len(r.Topics) != 1 {
			t.Errorf("v%d: all topics are %d", version, len(r.Topics))
		}
	}
	all.Topics = []kmsg.MetadataRequestTopic{}
	if r := ask[*kmsg.MetadataResponse](s, all, 1); len(r.Topics) != 0 {
		t.Errorf("no topics are %d", len(r.Topics))
	}
}

// Topics are found by id from v12; an id that is none is told by that.
func TestMetadataByID(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	req := kmsg.NewPtrMetadataRequest()
	for _, id := range []kafka.TopicID{id, {1}} {
		mt := kmsg.NewMetadataRequestTopic()
		mt.TopicID = id
		req.Topics = append(req.Topics, mt)
	}
	r := ask[*kmsg.MetadataResponse](s, req, 12)
	if *r.Topics[0].Topic != "t" || r.Topics[1].ErrorCode != kerr.UnknownTopicID.Code || r.Topics[1].Topic != nil {
		t.Errorf("%+v", r.Topics)
	}
	name := ""
	req.Topics[0].Topic = &name // as Java's consumer and its admin client write it
	if r := ask[*kmsg.MetadataResponse](s, req, 13); r.Topics[0].ErrorCode != 0 || *r.Topics[0].Topic != "t" || r.Topics[0].TopicID != id {
		t.Errorf("by id, with an empty name: %+v", r.Topics[0])
	}
	if r := ask[*kmsg.MetadataResponse](s, req, 11); r.Topics[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("v11: %+v", r.Topics[0])
	}
}

// A topic is made on demand when both sides allow it, and the answer shows it at once; never for bad or internal names.
func TestMetadataAutoCreation(t *testing.T) {
	s := newHarness(t, "num.partitions=3")
	if r := metadataOf(s, 9, false, "x"); r.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("not allowed by the request: %+v", r.Topics[0])
	}
	if r := metadataOf(s, 9, true, "x", "y", "x"); len(r.Topics) != 2 || r.Topics[0].ErrorCode != 0 || len(r.Topics[0].Partitions) != 3 {
		t.Errorf("allowed: %+v", r.Topics)
	}
	if r := metadataOf(s, 3, false, "old"); r.Topics[0].ErrorCode != 0 {
		t.Errorf("v3 always allows: %+v", r.Topics[0])
	}
	r := metadataOf(s, 9, true, "a b", "__consumer_offsets", "o_l.d", "o.l_d")
	for i, want := range []*kerr.Error{kerr.InvalidTopicException, kerr.UnknownTopicOrPartition, nil, kerr.InvalidTopicException} {
		if got := kerr.ErrorForCode(r.Topics[i].ErrorCode); want == nil && got != nil || want != nil && got != want {
			t.Errorf("%s: %v", *r.Topics[i].Topic, got)
		}
	}
	s.meta.err = quorum.ErrNotReady
	if r := metadataOf(s, 9, true, "late"); r.Topics[0].ErrorCode != kerr.NotController.Code {
		t.Errorf("without a quorum: %+v", r.Topics[0])
	}

	off := newHarness(t, "auto.create.topics.enable=false")
	if r := metadataOf(off, 9, true, "x"); r.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("not allowed by the broker: %+v", r.Topics[0])
	}
}

// The prepared view follows topics and leaders, and outlives commits of offsets.
func TestViewFollowsTheImage(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 1)
	before := s.view.of(s.meta.Image())
	s.propose1(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: id}, Offset: 1}}})
	if s.view.of(s.meta.Image()) != before {
		t.Error("an offset commit made a new view")
	}
	s.propose1(command.AddPartitions{ID: id, From: 1, Replicas: [][]kafka.BrokerID{{1}}})
	if v := s.view.of(s.meta.Image()); len(v.topics[v.byID[id]].Partitions) != 2 {
		t.Error("the view has not followed")
	}
}

// create asks for one topic.
func create(s *harness, version int16, validateOnly bool, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsResponse {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.ValidateOnly, req.TimeoutMillis = topics, validateOnly, 1000
	return ask[*kmsg.CreateTopicsResponse](s, req, version)
}

// newTopic is a wish for a topic; configs are name, value, name, value, …
func newTopic(name string, partitions int32, factor int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		t.Configs = append(t.Configs, c)
	}
	return t
}

// assigned adds replicas of partition 0, 1, … to a wish.
func assigned(t kmsg.CreateTopicsRequestTopic, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	for i, r := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), r
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	return t
}

// Each wish that cannot be granted is refused with Kafka's code and a reason; its neighbours in the request are not disturbed.
func TestCreateTopicsRefusals(t *testing.T) {
	s := newHarness(t, "bucket.url=mem:")
	s.topic("there", 1)
	s.topic("a.b", 1)
	twice := newTopic("twice", 1, 1)
	nullConfig := newTopic("n1", 1, 1)
	nullConfig.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	gap := assigned(newTopic("n2", -1, -1), []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 5
	cases := []struct {
		topic kmsg.CreateTopicsRequestTopic
		want  *kerr.Error
	}{
		{newTopic("good", 2, 1), nil},
		{newTopic("there", 1, 1), kerr.TopicAlreadyExists},
		{newTopic("a_b", 1, 1), kerr.InvalidTopicException},
		{newTopic("", 1, 1), kerr.InvalidTopicException},
		{newTopic("..", 1, 1), kerr.InvalidTopicException},
		{newTopic("a/b", 1, 1), kerr.InvalidTopicException},
		{newTopic(strings.Repeat("x", 250), 1, 1), kerr.InvalidTopicException},
		{twice, kerr.InvalidRequest},
		{twice, kerr.InvalidRequest},
		{newTopic("p0", 0, 1), kerr.InvalidPartitions},
		{newTopic("p-2", -2, 1), kerr.InvalidPartitions},
		{newTopic("huge", maxPartitionsPerRequest+1, 1), kerr.PolicyViolation},
		{newTopic("r0", 1, 0), kerr.InvalidReplicationFactor},
		{newTopic("r2", 1, 2), kerr.InvalidReplicationFactor},
		{newTopic("c1", 1, 1, "retention.mss", "1"), kerr.InvalidConfig},
		{newTopic("c2", 1, 1, "retention.ms", "soon"), kerr.InvalidConfig},
		{newTopic("c3", 1, 1, "cleanup.policy", "forget"), kerr.InvalidConfig},
		{newTopic("c4", 1, 1, "retention.ms", "5", "local.retention.ms", "6"), kerr.InvalidConfig},
		{newTopic("c5", 1, 1, "retention.ms", "5", "retention.ms", "6"), kerr.InvalidConfig},
		{nullConfig, kerr.InvalidConfig},
		{assigned(newTopic("m1", 1, -1), []int32{1}), kerr.InvalidRequest},
		{assigned(newTopic("m2", -1, -1), []int32{9}), kerr.InvalidReplicaAssignment},
		{assigned(newTopic("m3", -1, -1), []int32{1, 1}), kerr.InvalidReplicaAssignment},
		{assigned(newTopic("m4", -1, -1), []int32{1}, []int32{}), kerr.InvalidReplicaAssignment},
		{gap, kerr.InvalidReplicaAssignment},
		{assigned(newTopic("m6", -1, -1), []int32{1}, []int32{1}), nil},
		{newTopic("new.name", 1, 1), nil},
		{newTopic("new_name", 1, 1), kerr.InvalidTopicException}, // collides within the request
	}
	var topics []kmsg.CreateTopicsRequestTopic
	for _, c := range cases {
		topics = append(topics, c.topic)
	}
	for _, validateOnly := range []bool{true, false} {
		r := create(s, 7, validateOnly, topics...)
		for i, c := range cases {
			got, want := r.Topics[i].ErrorCode, int16(0)
			if c.want != nil {
				want = c.want.Code
			}
			if got != want || (got != 0) != (r.Topics[i].ErrorMessage != nil) {
				t.Errorf("validate only %v: %q: error %v (%v), want %v", validateOnly, c.topic.Topic, kerr.ErrorForCode(got), deref(r.Topics[i].ErrorMessage), c.want)
			}
		}
		for _, name := range []string{"good", "m6", "new.name"} {
			if _, made := s.meta.Image().TopicByName(name); made == validateOnly {
				t.Errorf("validate only %v: %q exists: %v", validateOnly, name, made)
			}
		}
	}
}

// What was created is reported: id, counts from the defaults, and each configuration with its source.
func TestCreateTopicsReport(t *testing.T) {
	s := newHarness(t, "num.partitions=4", "log.retention.hours=5")
	r := create(s, 7, false, newTopic("t", -1, -1, "segment.bytes", "1048576")).Topics[0]
	if r.NumPartitions != 4 || r.ReplicationFactor != 1 || r.TopicID == [16]byte{} {
		t.Errorf("%+v", r)
	}
	want := map[string]struct {
		value  string
		source kmsg.ConfigSource
	}{
		"segment.bytes":  {"1048576", kmsg.ConfigSourceDynamicTopicConfig},
		"retention.ms":   {"18000000", kmsg.ConfigSourceStaticBrokerConfig},
		"cleanup.policy": {"delete", kmsg.ConfigSourceDefaultConfig},
	}
	for _, c := range r.Configs {
		if w, ok := want[c.Name]; ok {
			if deref(c.Value) != w.value || kmsg.ConfigSource(c.Source) != w.source {
				t.Errorf("%s = %q from %d", c.Name, deref(c.Value), c.Source)
			}
			delete(want, c.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
}

// Topics are deleted by name and by id, each with its own outcome; a topic named twice is not deleted.
func TestDeleteTopics(t *testing.T) {
	s := newHarness(t)
	byName, byID, twice := s.topic("n", 1), s.topic("i", 1), s.topic("w", 1)
	entry := func(name string, id kafka.TopicID) kmsg.DeleteTopicsRequestTopic {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.TopicID = id
		if name != "" {
			t.Topic = &name
		}
		return t
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		entry("n", kafka.TopicID{}), entry("", byID), entry("w", kafka.TopicID{}), entry("", twice),
		entry("none", kafka.TopicID{}), entry("", kafka.TopicID{9}), entry("n", byName), entry("", kafka.TopicID{}),
	}
	req.TimeoutMillis = 1000
	r := ask[*kmsg.DeleteTopicsResponse](s, req, 6)
	for i, want := range []*kerr.Error{nil, nil, kerr.InvalidRequest, kerr.InvalidRequest, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidRequest, kerr.InvalidRequest} {
		if got := kerr.ErrorForCode(r.Topics[i].ErrorCode); want == nil && got != nil || want != nil && got != want {
			t.Errorf("entry %d: %v, want %v", i, got, want)
		}
	}
	if r.Topics[0].TopicID != byName || deref(r.Topics[1].Topic) != "i" {
		t.Errorf("names and ids: %+v", r.Topics[:2])
	}
	var left []string
	for _, mt := range s.view.of(s.meta.Image()).topics {
		left = append(left, *mt.Topic)
	}
	if !slices.Equal(left, []string{"w"}) {
		t.Errorf("left: %v", left)
	}
	old := kmsg.NewPtrDeleteTopicsRequest()
	old.TopicNames, old.TimeoutMillis = []string{"w"}, 1000
	if r := ask[*kmsg.DeleteTopicsResponse](s, old, 5); r.Topics[0].ErrorCode != 0 {
		t.Errorf("v5: %+v", r.Topics[0])
	}
	off := newHarness(t, "delete.topic.enable=false")
	off.topic("w", 1)
	if r := ask[*kmsg.DeleteTopicsResponse](off, old, 5); r.Topics[0].ErrorCode != kerr.TopicDeletionDisabled.Code {
		t.Errorf("disabled: %+v", r.Topics[0])
	}
}

// Partitions are added up to a larger count only, and only when the request is more than a rehearsal.
func TestCreatePartitions(t *testing.T) {
	s := newHarness(t)
	id := s.topic("t", 2)
	grow := func(topic string, count int32, validateOnly bool, replicas ...[]int32) int16 {
		req := kmsg.NewPtrCreatePartitionsRequest()
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = topic, count
		for _, r := range replicas {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = r
			rt.Assignment = append(rt.Assignment, a)
		}
		req.Topics, req.TimeoutMillis, req.ValidateOnly = append(req.Topics, rt), 1000, validateOnly
		return ask[*kmsg.CreatePartitionsResponse](s, req, 3).Topics[0].ErrorCode
	}
	for _, c := range []struct {
		got  int16
		want *kerr.Error
	}{
		{grow("none", 3, false), kerr.UnknownTopicOrPartition},
		{grow("t", 2, false), kerr.InvalidPartitions},
		{grow("t", 1, false), kerr.InvalidPartitions},
		{grow("t", 1<<30, false), kerr.PolicyViolation},
		{grow("t", 4, false, []int32{1}), kerr.InvalidReplicaAssignment},
		{grow("t", 3, false, []int32{7}), kerr.InvalidReplicaAssignment},
		{grow("t", 3, false, []int32{}), kerr.InvalidReplicaAssignment},
	} {
		if c.got != c.want.Code {
			t.Errorf("error %v, want %v", kerr.ErrorForCode(c.got), c.want)
		}
	}
	count := func() int32 { t, _ := s.meta.Image().TopicByID(id); return t.Partitions }
	if grow("t", 4, true) != 0 || count() != 2 {
		t.Error("a rehearsal failed or acted")
	}
	if grow("t", 4, false) != 0 || count() != 4 || s.log(id, 3) == nil {
		t.Error("partitions were not added")
	}
	if grow("t", 5, false, []int32{1}) != 0 || count() != 5 {
		t.Error("an assigned partition was not added")
	}
}

// DescribeTopicPartitions pages through all partitions exactly once, whatever the page, and tells unknown topics.
func TestDescribeTopicPartitionsPages(t *testing.T) {
	s := newHarness(t)
	s.topic("a", 3)
	s.topic("b", 1)
	s.topic("c", 5)
	for limit := int32(1); limit <= 10; limit++ {
		var got []string
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = limit
		for range 20 {
			r := ask[*kmsg.DescribeTopicPartitionsResponse](s, req, 0)
			n := 0
			for _, rt := range r.Topics {
				for _, p := range rt.Partitions {
					got = append(got, *rt.Topic+string(rune('0'+p.Partition)))
					if p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
						t.Fatal("null where Java expects a list")
					}
					n++
				}
			}
			if n > int(limit) {
				t.Fatalf("a page of %d for a limit of %d", n, limit)
			}
			if r.NextCursor == nil {
				break
			}
			c := kmsg.NewDescribeTopicPartitionsRequestCursor()
			c.Topic, c.Partition = r.NextCursor.Topic, r.NextCursor.Partition
			req.Cursor = &c
		}
		if want := []string{"a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3", "c4"}; !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	for _, name := range []string{"zz", "b", "..", "b"} {
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = name
		req.Topics = append(req.Topics, rt)
	}
	r := ask[*kmsg.DescribeTopicPartitionsResponse](s, req, 0)
	var codes []int16
	for _, rt := range r.Topics {
		codes = append(codes, rt.ErrorCode)
	}
	if !slices.Equal(codes, []int16{kerr.InvalidTopicException.Code, 0, kerr.UnknownTopicOrPartition.Code}) {
		t.Errorf("codes %v", codes)
	}
	for _, at := range []kmsg.DescribeTopicPartitionsRequestCursor{{Topic: "b", Partition: -1}, {Topic: "c"}} {
		req.Cursor = &at
		for _, rt := range ask[*kmsg.DescribeTopicPartitionsResponse](s, req, 0).Topics {
			if rt.ErrorCode != kerr.InvalidRequest.Code || len(rt.Partitions) > 0 {
				t.Errorf("cursor %+v: %q has code %d", at, *rt.Topic, rt.ErrorCode)
			}
		}
	}
}
