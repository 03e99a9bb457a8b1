package api

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// atNewestLevel brings the harness's cluster to the level that everything is served at.
func (s *harness) atNewestLevel() {
	s.t.Helper()
	s.propose1(command.RegisterBroker{ID: 1, Rack: "a", Endpoints: []command.Endpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9092}}, Version: command.WithLevel("v", command.NewestLevel)})
	s.propose1(command.SetLevel{Level: command.NewestLevel})
}

func beatRequest(name, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch = name, member, epoch
	return r
}

func joinConsumer(name, member string, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	r := beatRequest(name, member, 0)
	r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 60_000, topics
	r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return r
}

func beat(s *harness, r *kmsg.ConsumerGroupHeartbeatRequest, version int16) *kmsg.ConsumerGroupHeartbeatResponse {
	s.t.Helper()
	return trip[*kmsg.ConsumerGroupHeartbeatResponse](s, r, version)
}

// A member's life works in every version: it joins, commits and fetches with its epoch, is described and listed, and leaves.
func TestConsumerGroup(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		id := s.topic("t", 3)
		each(68, func(version int16) {
			name := "g" + string(rune('0'+version))
			ask := "m1"
			if version == 0 {
				ask = ""
			}
			j := beat(s, joinConsumer(name, ask, "t"), version)
			if j.ErrorCode != 0 || j.MemberID == nil || *j.MemberID == "" || j.MemberEpoch != 1 || j.HeartbeatIntervalMillis != 5000 || j.Assignment == nil ||
				len(j.Assignment.Topics) != 1 || j.Assignment.Topics[0].TopicID != id || !slices.Equal(j.Assignment.Topics[0].Partitions, []int32{0, 1, 2}) {
				t.Fatalf("v%d: %+v", version, j)
			}
			member := *j.MemberID
			if r := beat(s, beatRequest(name, member, 1), version); r.ErrorCode != 0 || r.MemberEpoch != 1 || r.Assignment != nil {
				t.Fatalf("v%d: %+v", version, r)
			}
			wantCode(t, "another's epoch", beat(s, beatRequest(name, member, 7), version).ErrorCode, kerr.FencedMemberEpoch)
			wantCode(t, "another member", beat(s, beatRequest(name, "who", 1), version).ErrorCode, kerr.UnknownMemberID)

			s.commitEpoch(name, member, 1, 9, nil)
			s.commitEpoch(name, member, 0, 9, kerr.StaleMemberEpoch)
			s.commitEpoch(name, "who", 1, 9, kerr.UnknownMemberID)
			for _, epoch := range []int32{0, 1} {
				s.commitEpoch(name, member, epoch, 8, kerr.UnsupportedVersion)
			}
			for epoch, want := range map[int32]*kerr.Error{1: nil, 2: kerr.StaleMemberEpoch} {
				f := kmsg.NewPtrOffsetFetchRequest()
				g := kmsg.NewOffsetFetchRequestGroup()
				g.Group, g.MemberID, g.MemberEpoch = name, &member, epoch
				f.Groups = append(f.Groups, g)
				got := trip[*kmsg.OffsetFetchResponse](s, f, 9)
				wantCode(t, "fetch", got.Groups[0].ErrorCode, want)
				if want == nil && (len(got.Groups[0].Topics) != 1 || got.Groups[0].Topics[0].Partitions[0].Offset != 5) {
					t.Errorf("%+v", got.Groups[0])
				}
			}
			s.describedConsumer(name, member, id)
			if r := beat(s, beatRequest(name, member, -1), version); r.ErrorCode != 0 || r.MemberEpoch != -1 {
				t.Fatalf("v%d: %+v", version, r)
			}
		})
		list := kmsg.NewPtrListGroupsRequest()
		list.TypesFilter, list.StatesFilter = []string{"CONSUMER"}, []string{"empty"}
		if r := trip[*kmsg.ListGroupsResponse](s, list, 5); len(r.Groups) != 2 || r.Groups[0].GroupType != "consumer" || r.Groups[0].ProtocolType != "consumer" {
			t.Errorf("%+v", r)
		}
	})
}

// commitEpoch commits offset 5 of the topic t's first partition as a member in an epoch.
// A heartbeat that no group would take is told another code than Kafka 4.3's, or leaves a group behind.
func TestConsumerGroupRefusals(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		s.topic("t", 1)
		for name, c := range map[string]struct {
			change func(*kmsg.ConsumerGroupHeartbeatRequest)
			want   *kerr.Error
		}{
			"group":        {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }, kerr.InvalidRequest},
			"blanks":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "  " }, kerr.InvalidRequest},
			"member":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = " " }, kerr.InvalidRequest},
			"instance":     {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = kmsg.StringPtr(" ") }, kerr.InvalidRequest},
			"rack":         {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = kmsg.StringPtr(" ") }, kerr.InvalidRequest},
			"assignor":     {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("") }, kerr.UnsupportedAssignor},
			"away":         {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 }, kerr.InvalidRequest},
			"epoch":        {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }, kerr.InvalidRequest},
			"nobody goes":  {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = "", -1 }, kerr.InvalidRequest},
			"unknown goes": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 }, kerr.GroupIDNotFound},
			"unknown":      {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 5 }, kerr.GroupIDNotFound},
		} {
			r := joinConsumer("g", "m1", "t")
			c.change(r)
			wantCode(t, name, beat(s, r, 1).ErrorCode, c.want)
		}
		for _, name := range []string{"g", "  "} {
			if _, ok := s.quorum.Image().Group(name); ok {
				t.Errorf("a group %q came of it", name)
			}
		}
	})
}

func (s *harness) commitEpoch(name, member string, epoch int32, version int16, want *kerr.Error) {
	s.t.Helper()
	c := kmsg.NewPtrOffsetCommitRequest()
	c.Group, c.MemberID, c.Generation = name, member, epoch
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 5
	c.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	got := trip[*kmsg.OffsetCommitResponse](s, c, version)
	wantCode(s.t.(*testing.T), "commit", got.Topics[0].Partitions[0].ErrorCode, want)
}

func (s *harness) describedConsumer(name, member string, id kafka.TopicID) {
	s.t.Helper()
	each(69, func(version int16) {
		d := kmsg.NewPtrConsumerGroupDescribeRequest()
		d.Groups = []string{name, "not there"}
		r := trip[*kmsg.ConsumerGroupDescribeResponse](s, d, version)
		g := r.Groups[0]
		if g.ErrorCode != 0 || g.State != "Stable" || g.Epoch != 1 || g.AssignmentEpoch != 1 || g.AssignorName != "uniform" || len(g.Members) != 1 {
			s.t.Fatalf("v%d: %+v", version, g)
		}
		m := g.Members[0]
		if m.MemberID != member || m.MemberEpoch != 1 || !slices.Equal(m.SubscribedTopics, []string{"t"}) || version > 0 && m.MemberType != 1 {
			s.t.Errorf("v%d: %+v", version, m)
		}
		for _, a := range []kmsg.Assignment{m.Assignment, m.TargetAssignment} {
			if len(a.TopicPartitions) != 1 || a.TopicPartitions[0].Topic != "t" || a.TopicPartitions[0].TopicID != id || len(a.TopicPartitions[0].Partitions) != 3 {
				s.t.Errorf("v%d: %+v", version, a)
			}
		}
		wantCode(s.t.(*testing.T), "no group", r.Groups[1].ErrorCode, kerr.GroupIDNotFound)
	})
	classic := kmsg.NewPtrDescribeGroupsRequest()
	classic.Groups = []string{name}
	wantCode(s.t.(*testing.T), "described as a classic group", trip[*kmsg.DescribeGroupsResponse](s, classic, 6).Groups[0].ErrorCode, kerr.GroupIDNotFound)
}

// Where a broker may not know what the consumer protocol writes, it is not advertised, and refused.
func TestConsumerGroupsNeedLevel(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		advertised := func() (keys, features bool) {
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "c", "1"
			r := ask[*kmsg.ApiVersionsResponse](s, req, 3)
			for _, k := range r.ApiKeys {
				keys = keys || k.ApiKey == 68 || k.ApiKey == 69
			}
			for _, f := range r.FinalizedFeatures {
				features = features || f.Name == "group.version" && f.MaxVersionLevel == 1
			}
			return keys, features
		}
		if keys, features := advertised(); keys || features {
			t.Errorf("advertised: keys %v, feature %v", keys, features)
		}
		s.topic("t", 1)
		wantCode(t, "join", beat(s, joinConsumer("g", "m", "t"), 1).ErrorCode, kerr.UnsupportedVersion)
		s.atNewestLevel()
		synctest.Wait()
		if keys, features := advertised(); !keys || !features {
			t.Errorf("advertised: keys %v, feature %v", keys, features)
		}
		wantCode(t, "join", beat(s, joinConsumer("g", "m", "t"), 1).ErrorCode, nil)
	})
}
