package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// clusterHarness has the brokers 1, 2 and 3, of which 3 is fenced and 4 is to be emptied, and a topic t: partition 0 on 1 and
// 2, led by 2 while 1 is in sync; partition 1 on 3 alone, led by nobody; partition 2 on 1 and 3, led by 1, 3 eligible.
func clusterHarness(t *testing.T) (*harness, kafka.TopicID) {
	s := newHarness(t)
	for id := kafka.BrokerID(2); id <= 4; id++ {
		s.propose1(command.RegisterBroker{ID: id, Incarnation: [16]byte{byte(id)}, Endpoints: []command.Endpoint{{Listener: "PLAINTEXT", Host: "other", Port: int32(id)}}})
	}
	s.propose1(command.DrainBroker{ID: 4, Drain: true})
	id := kafka.TopicID{15: 77}
	s.propose1(command.CreateTopic{ID: id, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}, {3}, {1, 3}}})
	b, _ := s.meta.Image().Broker(3)
	s.propose1(command.SetBrokerState{ID: 3, Epoch: b.Epoch, State: command.Fenced})
	at := func(i int32) kafka.Partition { return kafka.Partition{Topic: id, Index: i} }
	s.propose1(command.ElectLeaders{Elections: []command.Election{
		{Partition: at(0), Leader: 2, ISR: []kafka.BrokerID{1, 2}},
		{Partition: at(1), Leader: kafka.NoBroker, ISR: []kafka.BrokerID{3}},
	}})
	s.propose1(command.AlterISR{Changes: []command.ISRChange{{Partition: at(2), ISR: []command.ISRMember{{ID: 1}}, ELR: []kafka.BrokerID{3}}}})
	return s, id
}

func (s *harness) partition(id kafka.TopicID, index int32) *image.Partition {
	s.t.Helper()
	p, ok := s.meta.Image().Partition(kafka.Partition{Topic: id, Index: index})
	if !ok {
		s.t.Fatalf("no partition %d", index)
	}
	return p
}

// Clients are told of brokers that can be talked to only; who asks for the fenced ones sees them; replicas on them are
// offline; eligible replicas are shown.
func TestFencedBrokersAreLeftOut(t *testing.T) {
	s, _ := clusterHarness(t)
	m := metadataOf(s, 12, false, "t")
	if len(m.Brokers) != 3 || slices.ContainsFunc(m.Brokers, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == 3 }) {
		t.Errorf("%+v", m.Brokers)
	}
	ps := m.Topics[0].Partitions
	if ps[1].ErrorCode != kerr.LeaderNotAvailable.Code || !slices.Equal(ps[2].OfflineReplicas, []int32{3}) || len(ps[0].OfflineReplicas) != 0 {
		t.Errorf("%+v", ps)
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	for _, c := range []struct {
		version int16
		fenced  bool
		want    int
	}{{1, false, 3}, {2, false, 3}, {2, true, 4}} {
		req.IncludeFencedBrokers = c.fenced
		r := ask[*kmsg.DescribeClusterResponse](s, req, c.version)
		if len(r.Brokers) != c.want {
			t.Errorf("%+v: %+v", c, r.Brokers)
		}
		for _, b := range r.Brokers {
			if b.IsFenced != (b.NodeID == 3) {
				t.Errorf("%+v", b)
			}
		}
	}
	dt := kmsg.NewPtrDescribeTopicPartitionsRequest()
	dt.ResponsePartitionLimit = 10
	if r := ask[*kmsg.DescribeTopicPartitionsResponse](s, dt, 0); !slices.Equal(r.Topics[0].Partitions[2].EligibleLeaderReplicas, []int32{3}) {
		t.Errorf("%+v", r.Topics[0].Partitions)
	}
}

// Elections are held where they are needed and possible, and the others are answered with the reason.
func TestElectLeaders(t *testing.T) {
	s, id := clusterHarness(t)
	elect := func(kind int8, version int16, partitions ...int32) map[int32]int16 {
		req := kmsg.NewPtrElectLeadersRequest()
		req.ElectionType = kind
		if partitions != nil {
			rt := kmsg.NewElectLeadersRequestTopic()
			rt.Topic, rt.Partitions = "t", partitions
			req.Topics = append(req.Topics, rt)
		}
		r := ask[*kmsg.ElectLeadersResponse](s, req, version)
		codes := map[int32]int16{}
		for _, rt := range r.Topics {
			for _, p := range rt.Partitions {
				codes[p.Partition] = p.ErrorCode
			}
		}
		if r.ErrorCode != 0 {
			codes[-1] = r.ErrorCode
		}
		return codes
	}
	if got := elect(preferredElection, 2); len(got) != 2 || got[0] != 0 || got[1] != kerr.PreferredLeaderNotAvailable.Code {
		t.Errorf("all: %v", got)
	}
	if s.partition(id, 0).Leader != 1 {
		t.Errorf("%+v", s.partition(id, 0))
	}
	if got := elect(preferredElection, 0, 0, 9); got[0] != kerr.ElectionNotNeeded.Code || got[9] != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("again: %v", got)
	}
	if got := elect(uncleanElection, 2, 1, 2); got[1] != kerr.EligibleLeadersNotAvailable.Code || got[2] != kerr.ElectionNotNeeded.Code {
		t.Errorf("unclean: %v", got)
	}
	if got := elect(7, 1); got[-1] != kerr.InvalidRequest.Code {
		t.Errorf("no kind of election: %v", got)
	}
	p := s.partition(id, 2)
	s.propose1(command.ElectLeaders{Elections: []command.Election{{Partition: p.Partition, Leader: kafka.NoBroker, ISR: []kafka.BrokerID{3}, Expected: p.PartitionEpoch}}})
	if got := elect(uncleanElection, 2, 2); got[2] != 0 || s.partition(id, 2).Leader != 1 {
		t.Errorf("%v, %+v", got, s.partition(id, 2))
	}
}

// An election that was decided on a partition that has just moved on is decided again.
func TestChangesAreDecidedAgain(t *testing.T) {
	s, id := clusterHarness(t)
	racing := true
	s.meta.applied = func(_, _ *image.Image) {
		if racing {
			racing = false
			p := s.partition(id, 0)
			s.propose1(command.ElectLeaders{Elections: []command.Election{{Partition: p.Partition, Leader: 2, ISR: p.ISR, Expected: p.PartitionEpoch}}})
		}
	}
	list := []changing{{topic: "t", index: 0}}
	tries := 0
	s.change(context.Background(), list, func(_ *image.Image, p *image.Partition, _ *changing) (any, error) {
		if tries++; tries == 1 {
			return command.Election{Partition: p.Partition, Leader: 1, ISR: p.ISR, Expected: p.PartitionEpoch - 1}, nil
		}
		return command.Election{Partition: p.Partition, Leader: 1, ISR: p.ISR, Expected: p.PartitionEpoch}, nil
	})
	if list[0].err != nil || !list[0].done || tries != 2 || s.partition(id, 0).Leader != 1 {
		t.Errorf("%+v after %d tries, %+v", list[0], tries, s.partition(id, 0))
	}
}

// A reassignment begins, is listed, is replaced and is cancelled; what cannot be is refused with the reason.
func TestReassignments(t *testing.T) {
	s, id := clusterHarness(t)
	alter := func(version int16, factor bool, index int32, replicas []int32) int16 {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.AllowReplicationFactorChange = factor
		rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		rt.Topic = "t"
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Partition, rp.Replicas = index, replicas
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		return ask[*kmsg.AlterPartitionAssignmentsResponse](s, req, version).Topics[0].Partitions[0].ErrorCode
	}
	for what, c := range map[string]struct {
		factor   bool
		index    int32
		replicas []int32
		want     *kerr.Error
	}{
		"unknown partition":         {true, 9, []int32{1}, kerr.UnknownTopicOrPartition},
		"none":                      {true, 0, []int32{}, kerr.InvalidReplicaAssignment},
		"unknown broker":            {true, 0, []int32{1, 9}, kerr.InvalidReplicaAssignment},
		"a broker twice":            {true, 0, []int32{1, 1}, kerr.InvalidReplicaAssignment},
		"a fenced broker":           {true, 0, []int32{1, 3}, kerr.InvalidReplicaAssignment},
		"a broker that is drained":  {true, 0, []int32{1, 4}, kerr.InvalidReplicaAssignment},
		"another factor":            {false, 0, []int32{1}, kerr.InvalidReplicationFactor},
		"nothing to cancel":         {true, 0, nil, kerr.NoReassignmentInProgress},
		"fenced, but there already": {true, 2, []int32{3, 2}, nil},
	} {
		want := int16(0)
		if c.want != nil {
			want = c.want.Code
		}
		if got := alter(1, c.factor, c.index, c.replicas); got != want {
			t.Errorf("%s: %v", what, kerr.ErrorForCode(got))
		}
	}
	// Both of these could be refused, and yet be carried out in turns.
	twice := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	for _, replicas := range [][]int32{{1}, {2}} {
		rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		rt.Topic = "t"
		rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		rp.Partition, rp.Replicas = 0, replicas
		rt.Partitions = append(rt.Partitions, rp)
		twice.Topics = append(twice.Topics, rt)
	}
	r := ask[*kmsg.AlterPartitionAssignmentsResponse](s, twice, 1)
	if first, second := r.Topics[0].Partitions[0].ErrorCode, r.Topics[1].Partitions[0]; first != 0 || second.ErrorCode != kerr.InvalidRequest.Code || !strings.Contains(*second.ErrorMessage, "twice") {
		t.Errorf("a partition that is named twice: %v, %v", kerr.ErrorForCode(first), kerr.ErrorForCode(second.ErrorCode))
	}
	alter(1, true, 0, nil)
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	if r := ask[*kmsg.ListPartitionReassignmentsResponse](s, list, 0); len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 ||
		!slices.Equal(r.Topics[0].Partitions[0].AddingReplicas, []int32{2}) || !slices.Equal(r.Topics[0].Partitions[0].RemovingReplicas, []int32{1}) {
		t.Errorf("%+v", r.Topics)
	}
	named := kmsg.NewListPartitionReassignmentsRequestTopic()
	named.Topic, named.Partitions = "t", []int32{0, 9}
	list.Topics = append(list.Topics, named)
	if r := ask[*kmsg.ListPartitionReassignmentsResponse](s, list, 0); len(r.Topics) != 0 {
		t.Errorf("%+v", r.Topics)
	}
	if got := alter(0, true, 2, []int32{1, 2}); got != 0 || !slices.Equal(s.partition(id, 2).Adding, []kafka.BrokerID{2}) {
		t.Errorf("replaced: %d, %+v", got, s.partition(id, 2))
	}
	if got := alter(0, true, 2, nil); got != 0 || !slices.Equal(s.partition(id, 2).Replicas, []kafka.BrokerID{1, 3}) {
		t.Errorf("cancelled: %d, %+v", got, s.partition(id, 2))
	}
}

// A broker is forgotten when it is fenced and empty, by the image and the quorum; the quorum's refusal is told.
func TestUnregisterBroker(t *testing.T) {
	s, _ := clusterHarness(t)
	var dismissed []kafka.BrokerID
	var refusal error
	s.Dismiss = func(_ context.Context, id kafka.BrokerID) error {
		dismissed = append(dismissed, id)
		return refusal
	}
	forget := func(id int32) int16 {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		return ask[*kmsg.UnregisterBrokerResponse](s, req, 0).ErrorCode
	}
	if a, b, c := forget(9), forget(4), forget(3); a != kerr.BrokerIDNotRegistered.Code || b != kerr.InvalidRequest.Code || c != kerr.InvalidRequest.Code || dismissed != nil {
		t.Errorf("unknown %d, active %d, not empty %d, dismissed %v", a, b, c, dismissed)
	}
	r, _ := s.meta.Image().Broker(4)
	s.propose1(command.SetBrokerState{ID: 4, Epoch: r.Epoch, State: command.Fenced})
	if got := forget(4); got != 0 || !slices.Equal(dismissed, []kafka.BrokerID{4}) {
		t.Errorf("%d, %v", got, dismissed)
	}
	s.propose1(command.RegisterBroker{ID: 4, Incarnation: [16]byte{44}, Fenced: true})
	refusal = errors.New("it is the last voter")
	if got := forget(4); got == 0 {
		t.Error("the quorum's refusal is not told")
	}
}

// Replicas are placed on brokers that can take them only, by hand as well.
func TestPlacementAvoidsBrokersThatCannotTake(t *testing.T) {
	s, _ := clusterHarness(t)
	create := func(name string, factor int16, assigned ...int32) int16 {
		req := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 4, factor
		if assigned != nil {
			rt.NumPartitions, rt.ReplicationFactor = -1, -1
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Replicas = assigned
			rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
		}
		req.Topics = append(req.Topics, rt)
		return ask[*kmsg.CreateTopicsResponse](s, req, 7).Topics[0].ErrorCode
	}
	if got := create("wide", 4); got != kerr.InvalidReplicationFactor.Code {
		t.Errorf("factor 4 with two brokers that can take, one that is away and one that is drained: %d", got)
	}
	if got := create("two", 2); got != 0 {
		t.Errorf("factor 2: %d", got)
	}
	for _, on := range []int32{3, 4, 9} {
		if got := create("by-hand", 0, on); got != kerr.InvalidReplicaAssignment.Code {
			t.Errorf("by hand on broker %d: %d", on, got)
		}
	}
}

// A topic could not be created while one of the brokers restarts, or one that is away would lead, or get replicas without need.
func TestBrokersThatAreAwayGetReplicas(t *testing.T) {
	s, _ := clusterHarness(t)
	create := func(name string, factor int16) *kmsg.CreateTopicsResponse {
		req := kmsg.NewPtrCreateTopicsRequest()
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 4, factor
		req.Topics = append(req.Topics, rt)
		return ask[*kmsg.CreateTopicsResponse](s, req, 7)
	}
	check := func(name string, partitions int32, factor int, third bool) {
		t.Helper()
		topic, _ := s.meta.Image().TopicByName(name)
		for i := range partitions {
			p := s.partition(topic.ID, i)
			if len(p.Replicas) != factor || p.Replicas[0] == 3 || p.Leader == 3 || slices.Contains(p.Replicas, 3) != third || slices.Contains(p.Replicas, 4) {
				t.Errorf("%s, partition %d: replicas %v, leader %d", name, i, p.Replicas, p.Leader)
			}
		}
	}
	for factor := int16(2); factor <= 3; factor++ {
		name := fmt.Sprintf("of-%d", factor)
		if got := create(name, factor).Topics[0]; got.ErrorCode != 0 {
			t.Fatalf("factor %d with broker 3 of 3 away: %v", factor, got)
		}
		check(name, 4, int(factor), factor == 3)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	gt := kmsg.NewCreatePartitionsRequestTopic()
	gt.Topic, gt.Count = "of-3", 6
	grow.Topics = append(grow.Topics, gt)
	if got := ask[*kmsg.CreatePartitionsResponse](s, grow, 3).Topics[0]; got.ErrorCode != 0 {
		t.Fatalf("more partitions with broker 3 away: %v", got)
	}
	check("of-3", 6, 3, true)
	for _, id := range []kafka.BrokerID{1, 2} {
		b, _ := s.meta.Image().Broker(id)
		s.propose1(command.SetBrokerState{ID: id, Epoch: b.Epoch, State: command.Fenced})
	}
	if got := create("nobody", 1).Topics[0].ErrorCode; got != kerr.InvalidReplicationFactor.Code {
		t.Errorf("with nobody there: %d", got)
	}
}

// Groups are looked for where their shard is; a coordinator that is fenced is none; and this broker answers for its own only.
func TestCoordinatorsByShard(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.propose1(command.RegisterBroker{ID: 2, Incarnation: [16]byte{2}, Endpoints: []command.Endpoint{{Listener: "PLAINTEXT", Host: "other", Port: 2}}})
		shard := image.CoordinatorShard("g")
		s.propose1(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: shard, Broker: 2, Expected: 1}}})
		if err := s.Groups.Follow(s.meta.Image()); err != nil {
			t.Fatal(err)
		}
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKeys = []string{"g"}
		if c := ask[*kmsg.FindCoordinatorResponse](s, find, 4).Coordinators[0]; c.NodeID != 2 || c.Host != "other" || c.ErrorCode != 0 {
			t.Errorf("%+v", c)
		}
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group, hb.MemberID = "g", "m"
		if c := ask[*kmsg.HeartbeatResponse](s, hb, 4).ErrorCode; c != kerr.NotCoordinator.Code {
			t.Errorf("heartbeat: %d", c)
		}
		of := kmsg.NewPtrOffsetFetchRequest()
		of.Group = "g"
		if c := ask[*kmsg.OffsetFetchResponse](s, of, 7).ErrorCode; c != kerr.NotCoordinator.Code {
			t.Errorf("offsets: %d", c)
		}
		b, _ := s.meta.Image().Broker(2)
		s.propose1(command.SetBrokerState{ID: 2, Epoch: b.Epoch, State: command.Fenced})
		if c := ask[*kmsg.FindCoordinatorResponse](s, find, 4).Coordinators[0]; c.ErrorCode != kerr.CoordinatorNotAvailable.Code {
			t.Errorf("%+v", c)
		}
	})
}
