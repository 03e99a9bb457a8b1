package api

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// streamsJoin is of an application that counts words: t → g-words → g-counts.
func streamsJoin(name, member string) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.RebalanceTimeoutMillis, r.EndpointInformationEpoch = name, member, 60_000, -1
	r.ProcessID = kmsg.StringPtr("p-" + member)
	r.ActiveTasks, r.StandbyTasks, r.WarmupTasks = []kmsg.TaskIDs{}, []kmsg.TaskIDs{}, []kmsg.TaskIDs{}
	e := kmsg.NewStreamsGroupHeartbeatRequestUserEndpoint()
	e.Host, e.Port = "h", 8080
	r.UserEndpoint = &e
	read, count := kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology(), kmsg.NewStreamsGroupHeartbeatRequestTopologySubtopology()
	read.SubtopologyID, read.SourceTopics, read.RepartitionSinkTopics = "0", []string{"t"}, []string{name + "-words"}
	count.SubtopologyID, count.RepartitionSourceTopics, count.StateChangelogTopics = "1", []kmsg.TopicInfo{topicInfo(name + "-words")}, []kmsg.TopicInfo{topicInfo(name + "-counts")}
	count.StateChangelogTopics[0].Configs = []kmsg.TopicInfoConfig{{Key: "cleanup.policy", Value: "compact"}}
	t := kmsg.NewStreamsGroupHeartbeatRequestTopology()
	t.Subtopologies = append(t.Subtopologies, read, count)
	r.Topology = &t
	return r
}

func topicInfo(name string) kmsg.TopicInfo {
	t := kmsg.NewTopicInfo()
	t.Topic = name
	return t
}

func streamsBeat(name, member string, epoch int32) *kmsg.StreamsGroupHeartbeatRequest {
	r := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch = name, member, epoch
	return r
}

func streamsSay(s *harness, r *kmsg.StreamsGroupHeartbeatRequest) *kmsg.StreamsGroupHeartbeatResponse {
	s.t.Helper()
	return trip[*kmsg.StreamsGroupHeartbeatResponse](s, r, 0)
}

// A member's life: its topics are created, it is told its tasks, commits with its epoch, is described and listed, leaves, and the group is deleted.
func TestStreamsGroup(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		id := s.topic("t", 2)
		r := streamsSay(s, streamsJoin("g", "m1"))
		if r.ErrorCode != 0 || r.MemberEpoch != 1 || r.HeartbeatIntervalMillis != 5000 || r.ActiveTasks == nil || len(r.ActiveTasks) > 0 || len(r.Status) != 2 ||
			r.Status[0].StatusCode != 5 || r.Status[1].StatusCode != 3 || r.PartitionsByUserEndpoint == nil {
			t.Fatalf("%+v", r)
		}
		m := s.quorum.Image()
		counts, ok := m.TopicByName("g-counts")
		if !ok || counts.Partitions != 2 || m.Configs(2, "g-counts")["cleanup.policy"] != "compact" {
			t.Fatalf("%+v", counts)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r = streamsSay(s, streamsBeat("g", "m1", 1))
		if r.ErrorCode != 0 || len(r.Status) > 0 || len(r.ActiveTasks) != 2 || r.ActiveTasks[1].SubtopologyID != "1" || !slices.Equal(r.ActiveTasks[1].Partitions, []int32{0, 1}) {
			t.Fatalf("%+v", r)
		}
		if e := r.PartitionsByUserEndpoint; len(e) != 1 || e[0].UserEndpoint.Port != 8080 || len(e[0].ActivePartitions) != 2 || e[0].ActivePartitions[0].Topic != "t" {
			t.Fatalf("%+v", e)
		}
		epoch := r.MemberEpoch
		wantCode(t, "another's epoch", streamsSay(s, streamsBeat("g", "m1", epoch+4)).ErrorCode, kerr.FencedMemberEpoch)
		wantCode(t, "another member", streamsSay(s, streamsBeat("g", "m9", epoch)).ErrorCode, kerr.UnknownMemberID)
		wantCode(t, "another group", streamsSay(s, streamsBeat("k", "m1", epoch)).ErrorCode, kerr.GroupIDNotFound)
		s.commitEpoch("g", "m1", epoch, 9, nil)
		s.commitEpoch("g", "m1", epoch-1, 9, kerr.StaleMemberEpoch)
		s.commitEpoch("g", "m1", epoch, 8, kerr.UnsupportedVersion)
		s.describedStreams("g", epoch)
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{"g"}
		wantCode(t, "deletes a group with members", trip[*kmsg.DeleteGroupsResponse](s, del, 2).Groups[0].ErrorCode, kerr.NonEmptyGroup)
		if r := streamsSay(s, streamsBeat("g", "m1", -1)); r.ErrorCode != 0 || r.MemberEpoch != -1 {
			t.Fatalf("%+v", r)
		}
		s.has("g", id, true)
		wantCode(t, "deletes", trip[*kmsg.DeleteGroupsResponse](s, del, 2).Groups[0].ErrorCode, nil)
		d := kmsg.NewPtrStreamsGroupDescribeRequest()
		d.Groups = []string{"g"}
		wantCode(t, "describes what is gone", trip[*kmsg.StreamsGroupDescribeResponse](s, d, 0).Groups[0].ErrorCode, kerr.GroupIDNotFound)
	})
}

func (s *harness) describedStreams(name string, epoch int32) {
	s.t.Helper()
	d := kmsg.NewPtrStreamsGroupDescribeRequest()
	d.Groups = []string{name}
	g := trip[*kmsg.StreamsGroupDescribeResponse](s, d, 0).Groups[0]
	if g.ErrorCode != 0 || g.State != "Stable" || g.Epoch != epoch || g.AssignmentEpoch != epoch || g.Topology == nil || len(g.Topology.Subtopologies) != 2 || len(g.Members) != 1 {
		s.t.Fatalf("%+v", g)
	}
	if c := g.Topology.Subtopologies[1].StateChangelogTopics; len(c) != 1 || c[0].NumPartitions != 2 || c[0].Configs[0].Value != "compact" {
		s.t.Fatalf("%+v", c)
	}
	if m := g.Members[0]; m.ProcessID != "p-m1" || m.MemberEpoch != epoch || m.UserEndpoint == nil || len(m.Assignment.ActiveTasks) != 2 || len(m.TargetAssignment.ActiveTasks) != 2 {
		s.t.Fatalf("%+v", m)
	}
	l := kmsg.NewPtrListGroupsRequest()
	l.TypesFilter = []string{"Streams"}
	if gs := trip[*kmsg.ListGroupsResponse](s, l, 5).Groups; len(gs) != 1 || gs[0].GroupType != "streams" || gs[0].ProtocolType != "streams" || gs[0].GroupState != "Stable" {
		s.t.Fatalf("%+v", gs)
	}
}

// Requests that are none would be let in, or answered with another code than Kafka's; internal topics that cannot be made would be kept from who needs them.
func TestStreamsGroupRefusals(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		s.topic("t", 2)
		for name, c := range map[string]struct {
			change func(*kmsg.StreamsGroupHeartbeatRequest)
			want   *kerr.Error
		}{
			"a broker's own topic": {func(r *kmsg.StreamsGroupHeartbeatRequest) {
				r.Topology.Subtopologies[0].SourceTopics[0] = "__consumer_offsets"
			}, kerr.StreamsInvalidTopology},
			"no topic's name": {func(r *kmsg.StreamsGroupHeartbeatRequest) {
				r.Topology.Subtopologies[0].RepartitionSinkTopics[0] = "a b"
			}, kerr.StreamsInvalidTopology},
			"a circle": {func(r *kmsg.StreamsGroupHeartbeatRequest) {
				r.Topology.Subtopologies[0].SourceTopics = nil
				r.Topology.Subtopologies[0].RepartitionSourceTopics = []kmsg.TopicInfo{topicInfo("g-words")}
			}, kerr.StreamsInvalidTopology},
			"epoch":   {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.Topology.Epoch = -1 }, kerr.StreamsInvalidTopologyEpoch},
			"static":  {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.InstanceID = kmsg.StringPtr("i") }, kerr.InvalidRequest},
			"offsets": {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.TaskOffsets = []kmsg.TaskOffset{} }, kerr.InvalidRequest},
			"regex": {func(r *kmsg.StreamsGroupHeartbeatRequest) {
				r.Topology.Subtopologies[0].SourceTopicRegex = []string{"a.*"}
			}, kerr.InvalidRequest},
			"group":    {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.Group = "" }, kerr.InvalidRequest},
			"blanks":   {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.Group = "  " }, kerr.InvalidRequest},
			"no epoch": {func(r *kmsg.StreamsGroupHeartbeatRequest) { r.MemberEpoch = -2 }, kerr.InvalidRequest},
		} {
			r := streamsJoin("g", "m1")
			c.change(r)
			wantCode(t, name, streamsSay(s, r).ErrorCode, c.want)
		}
		if _, ok := s.quorum.Image().Group("g"); ok {
			t.Error("a group came of it")
		}
		r := streamsJoin("g", "m1")
		r.Topology.Subtopologies[1].StateChangelogTopics[0].ReplicationFactor = 99
		r.Topology.Subtopologies[1].StateChangelogTopics[0].Configs[0].Value = "shred"
		got := streamsSay(s, r)
		if got.ErrorCode != 0 || len(got.Status) != 2 || !strings.Contains(got.Status[1].StatusDetail, "g-counts") || !strings.Contains(got.Status[1].StatusDetail, "shred") {
			t.Fatalf("%+v", got)
		}
	})
}
