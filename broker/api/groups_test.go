package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// groupsTest runs f on fake time with a coordinator that serves.
func groupsTest(t *testing.T, f func(t *testing.T, s *harness)) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Groups.Run(ctx) }()
		synctest.Wait()
		f(t, s)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.leave()
	})
}

// trip sends a request through its wire form, and its response through the response's.
func trip[R kmsg.Response](s *harness, req kmsg.Request, version int16) R {
	s.t.Helper()
	resp := ask[R](s, wireForm(s.t, req, version), version)
	read := kmsg.ResponseForKey(req.Key())
	read.SetVersion(version)
	if err := read.ReadFrom(resp.AppendTo(nil)); err != nil {
		s.t.Fatalf("%T v%d cannot be read: %v", resp, version, err)
	}
	return read.(R)
}

func wireForm(t testing.TB, req kmsg.Request, version int16) kmsg.Request {
	t.Helper()
	req.SetVersion(version)
	read := kmsg.RequestForKey(req.Key())
	read.SetVersion(version)
	if err := read.ReadFrom(req.AppendTo(nil)); err != nil {
		t.Fatalf("%T v%d cannot be read: %v", req, version, err)
	}
	return read
}

// each runs f for every advertised version of an API.
func each(key int16, f func(version int16)) {
	for _, a := range wire.Table() {
		if a.Key == key {
			for v := a.Min; v <= a.Max; v++ {
				f(v)
			}
		}
	}
}

func wantCode(t *testing.T, what string, got int16, want *kerr.Error) {
	t.Helper()
	wanted := int16(0)
	if want != nil {
		wanted = want.Code
	}
	if got != wanted {
		t.Errorf("%s: %v, want %v", what, kerr.ErrorForCode(got), kerr.ErrorForCode(wanted))
	}
}

func joinRequest(name, member string) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.ProtocolType = name, member, "consumer"
	r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 10_000, 30_000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff")}}
	return r
}

// member makes a stable group of one member; versions are those of JoinGroup and SyncGroup.
func (s *harness) member(name string, join, sync int16) (id string, generation int32) {
	s.t.Helper()
	j := trip[*kmsg.JoinGroupResponse](s, joinRequest(name, ""), join)
	if j.ErrorCode == kerr.MemberIDRequired.Code {
		j = trip[*kmsg.JoinGroupResponse](s, joinRequest(name, j.MemberID), join)
	}
	if j.ErrorCode != 0 || j.LeaderID != j.MemberID || len(j.Members) != 1 || *j.Protocol != "range" {
		s.t.Fatalf("join v%d: %+v", join, j)
	}
	sr := kmsg.NewPtrSyncGroupRequest()
	sr.Group, sr.MemberID, sr.Generation = name, j.MemberID, j.Generation
	if sync >= 5 {
		sr.ProtocolType, sr.Protocol = j.ProtocolType, j.Protocol
		if join < 7 { // the join did not say
			sr.ProtocolType = kmsg.StringPtr("consumer")
		}
	}
	if sync >= 5 { // without them nobody could say that the member speaks of another protocol (KIP-559)
		bare := kmsg.NewPtrSyncGroupRequest()
		bare.Group, bare.MemberID, bare.Generation = name, j.MemberID, j.Generation
		if r := trip[*kmsg.SyncGroupResponse](s, bare, sync); r.ErrorCode != kerr.InconsistentGroupProtocol.Code {
			s.t.Errorf("sync v%d without a protocol: %+v", sync, r)
		}
	}
	sr.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: j.MemberID, MemberAssignment: []byte("work")}}
	r := trip[*kmsg.SyncGroupResponse](s, sr, sync)
	if r.ErrorCode != 0 || string(r.MemberAssignment) != "work" {
		s.t.Fatalf("sync v%d: %+v", sync, r)
	}
	return j.MemberID, j.Generation
}

// A member's life works in every version of its APIs: join, sync, heartbeat, leave.
func TestGroupLifeInEveryVersion(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		for v := int16(0); v <= 9; v++ {
			sync, beat, leave := min(v, 5), min(v, 4), min(v, 5)
			id, generation := s.member("g", v, sync)
			if prefix, _, ok := strings.Cut(id, "-"); !ok || prefix != "" { // no client id
				t.Errorf("member id %q", id)
			}
			h := kmsg.NewPtrHeartbeatRequest()
			h.Group, h.MemberID, h.Generation = "g", id, generation
			wantCode(t, "heartbeat", trip[*kmsg.HeartbeatResponse](s, h, beat).ErrorCode, nil)
			h.Generation++
			wantCode(t, "heartbeat of another generation", trip[*kmsg.HeartbeatResponse](s, h, beat).ErrorCode, kerr.IllegalGeneration)
			l := kmsg.NewPtrLeaveGroupRequest()
			l.Group, l.MemberID = "g", id
			l.Members = []kmsg.LeaveGroupRequestMember{{MemberID: id}, {MemberID: "nobody"}}
			r := trip[*kmsg.LeaveGroupResponse](s, l, leave)
			wantCode(t, "leave", r.ErrorCode, nil)
			if leave >= 3 {
				wantCode(t, "leave", r.Members[0].ErrorCode, nil)
				wantCode(t, "leave of nobody", r.Members[1].ErrorCode, kerr.UnknownMemberID)
			}
			again := trip[*kmsg.LeaveGroupResponse](s, l, leave)
			if leave < 3 {
				wantCode(t, "leave twice", again.ErrorCode, kerr.UnknownMemberID)
			}
			synctest.Wait()
		}
	})
}

// A join that is refused says why, in a form that old versions can hold.
func TestJoinRefused(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		each(11, func(v int16) {
			r := joinRequest("", "")
			wantCode(t, "no group", trip[*kmsg.JoinGroupResponse](s, r, v).ErrorCode, kerr.InvalidGroupID)
			r = joinRequest("g", "")
			r.SessionTimeoutMillis = 1
			j := trip[*kmsg.JoinGroupResponse](s, r, v)
			wantCode(t, "session of a millisecond", j.ErrorCode, kerr.InvalidSessionTimeout)
			if j.Generation != -1 {
				t.Errorf("generation %d", j.Generation)
			}
			wantCode(t, "stranger", trip[*kmsg.JoinGroupResponse](s, joinRequest("g", "x"), v).ErrorCode, kerr.UnknownMemberID)
		})
	})
}

// OffsetCommit and OffsetFetch agree in every version, by name and by id, and unknown topics, partitions and ids fail alone.
func TestOffsetsInEveryVersion(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		id := s.topic("t", 3)
		each(8, func(v int16) {
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Group, req.Generation, req.RetentionTimeMillis = "g", -1, -1
			meta, long := "meta", strings.Repeat("m", 4097)
			wide := strings.Repeat("é", 4096) // as many characters as are allowed
			req.Topics = []kmsg.OffsetCommitRequestTopic{
				{Topic: "t", TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{
					{Partition: 0, Offset: 10 + int64(v), LeaderEpoch: 3, Metadata: &meta},
					{Partition: 1, Offset: 1, LeaderEpoch: -1, Metadata: &long},
					{Partition: 2, Offset: 1, LeaderEpoch: -1, Metadata: &wide},
					{Partition: 9, Offset: 1, LeaderEpoch: -1},
				}},
				{Topic: "nope", TopicID: kafka.TopicID{1}, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 0, Offset: 1}}},
			}
			resp := trip[*kmsg.OffsetCommitResponse](s, req, v)
			unknown := kerr.UnknownTopicOrPartition
			if v >= 10 {
				unknown = kerr.UnknownTopicID
			}
			for i, want := range []*kerr.Error{nil, kerr.OffsetMetadataTooLarge, nil, kerr.UnknownTopicOrPartition} {
				wantCode(t, "commit", resp.Topics[0].Partitions[i].ErrorCode, want)
			}
			wantCode(t, "commit of an unknown topic", resp.Topics[1].Partitions[0].ErrorCode, unknown)

			req.Generation, req.MemberID, req.Group = 5, "x", "none"
			resp = trip[*kmsg.OffsetCommitResponse](s, req, v)
			missing := kerr.IllegalGeneration
			if v >= 9 {
				missing = kerr.GroupIDNotFound
			}
			wantCode(t, "member of no group", resp.Topics[0].Partitions[0].ErrorCode, missing)
		})
		each(9, func(v int16) {
			some, all := s.offsets(v, "g", id, false), s.offsets(v, "g", id, true)
			for _, got := range [][]kmsg.OffsetFetchResponseGroupTopicPartition{some, all} {
				p := got[0]
				if p.Offset != 20 || *p.Metadata != "meta" || p.ErrorCode != 0 || v >= 5 && p.LeaderEpoch != 3 {
					t.Errorf("v%d: %+v", v, p)
				}
			}
			if some[1].Offset != -1 || some[1].ErrorCode != 0 {
				t.Errorf("v%d: a partition without a commit: %+v", v, some[1])
			}
			for _, p := range s.offsets(v, "none", id, false) {
				if p.Offset != -1 || p.ErrorCode != 0 {
					t.Errorf("v%d: a group that does not exist: %+v", v, p)
				}
			}
			if ps := s.offsets(v, "none", id, true); len(ps) != 0 {
				t.Errorf("v%d: all of a group that does not exist: %+v", v, ps)
			}
		})
	})
}

// One small request that asks for the same offsets again and again would be answered with gigabytes.
func TestOffsetsAreAnsweredOnce(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		id := s.topic("t", 1)
		c := kmsg.NewPtrOffsetCommitRequest()
		c.Group, c.Generation, c.RetentionTimeMillis = "g", -1, -1
		meta := strings.Repeat("m", 4096)
		c.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 5, Metadata: &meta}}}}
		wantCode(t, "commit", trip[*kmsg.OffsetCommitResponse](s, c, 8).Topics[0].Partitions[0].ErrorCode, nil)
		each(9, func(v int16) {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Group = "g"
			again := make([]int32, 100)
			for range 100 {
				req.Topics = append(req.Topics, kmsg.OffsetFetchRequestTopic{Topic: "t", Partitions: again})
				req.Groups = append(req.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"},
					kmsg.OffsetFetchRequestGroup{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: id, Partitions: again}}})
			}
			resp := trip[*kmsg.OffsetFetchResponse](s, req, v)
			found, want := 0, 2 // once by name and once among all
			for _, t := range resp.Topics {
				found, want = found+len(t.Partitions), 1
			}
			for _, g := range resp.Groups {
				for _, t := range g.Topics {
					found += len(t.Partitions)
				}
			}
			if found != want || v >= 8 && len(resp.Groups[0].Topics) != 1 {
				t.Errorf("v%d: %d offsets, want %d", v, found, want)
			}
		})
	})
}

// offsets fetches partitions 0 and 1 of t, or all, and checks the shape around them.
func (s *harness) offsets(v int16, name string, id kafka.TopicID, all bool) []kmsg.OffsetFetchResponseGroupTopicPartition {
	s.t.Helper()
	if all && v < 2 { // did not know it
		return s.offsets(2, name, id, all)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = name
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = name
	if !all {
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: id, Partitions: []int32{0, 1}}, {Topic: "u", TopicID: kafka.TopicID{9}, Partitions: []int32{0}}}
	}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	resp := trip[*kmsg.OffsetFetchResponse](s, req, v)
	if v >= 8 {
		ts := resp.Groups[0].Topics
		if resp.Groups[0].ErrorCode != 0 || resp.Groups[0].Group != name {
			s.t.Errorf("v%d: %+v", v, resp.Groups[0])
		}
		if !all {
			want := int16(0)
			if v >= 10 {
				want = kerr.UnknownTopicID.Code
			}
			if u := ts[1].Partitions[0]; u.ErrorCode != want || u.Offset != -1 {
				s.t.Errorf("v%d: an unknown topic: %+v", v, u)
			}
		}
		if len(ts) == 0 {
			return nil
		}
		if v >= 10 && kafka.TopicID(ts[0].TopicID) != id || v < 10 && ts[0].Topic != "t" {
			s.t.Errorf("v%d: topic %+v", v, ts[0])
		}
		return ts[0].Partitions
	}
	var out []kmsg.OffsetFetchResponseGroupTopicPartition
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode})
		}
	}
	return out
}

// Groups are listed, filtered and described in every version, and those that do not exist are said to be so.
func TestListAndDescribe(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.topic("t", 1)
		s.member("g", 5, 3)
		each(16, func(v int16) {
			list := func(states, types []string) int {
				req := kmsg.NewPtrListGroupsRequest()
				if v >= 4 {
					req.StatesFilter = states
				}
				if v >= 5 {
					req.TypesFilter = types
				}
				resp := trip[*kmsg.ListGroupsResponse](s, req, v)
				for _, g := range resp.Groups {
					if g.Group != "g" || g.ProtocolType != "consumer" || v >= 4 && g.GroupState != "Stable" || v >= 5 && g.GroupType != "classic" {
						t.Errorf("v%d: %+v", v, g)
					}
				}
				return len(resp.Groups)
			}
			if list(nil, nil) != 1 || list([]string{"stable"}, []string{"Classic"}) != 1 {
				t.Errorf("v%d: the group is not listed", v)
			}
			if v >= 4 && list([]string{"Empty"}, nil) != 0 || v >= 5 && list(nil, []string{"share"}) != 0 {
				t.Errorf("v%d: the filter lets it through", v)
			}
		})
		each(15, func(v int16) {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Groups = []string{"g", "none"}
			resp := trip[*kmsg.DescribeGroupsResponse](s, req, v)
			g, none := resp.Groups[0], resp.Groups[1]
			if g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || string(g.Members[0].MemberAssignment) != "work" {
				t.Errorf("v%d: %+v", v, g)
			}
			if v < 6 {
				wantCode(t, "no group", none.ErrorCode, nil)
			} else {
				wantCode(t, "no group", none.ErrorCode, kerr.GroupIDNotFound)
			}
			if none.State != "Dead" {
				t.Errorf("v%d: %+v", v, none)
			}
		})
	})
}

// Groups with members are not deleted, empty ones are, with their offsets; each name has its own answer.
func TestDeleteGroupsAndOffsets(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		id, other := s.topic("t", 1), s.topic("other", 1)
		member, generation := s.member("busy", 5, 3)
		for _, name := range []string{"empty", "busy"} {
			c := kmsg.NewPtrOffsetCommitRequest()
			c.Group, c.Generation, c.RetentionTimeMillis = name, -1, -1
			if name == "busy" {
				c.MemberID, c.Generation = member, generation
			}
			for _, topic := range []string{"t", "other"} {
				c.Topics = append(c.Topics, kmsg.OffsetCommitRequestTopic{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}})
			}
			wantCode(t, "commit", trip[*kmsg.OffsetCommitResponse](s, c, 8).Topics[0].Partitions[0].ErrorCode, nil)
		}
		d := kmsg.NewPtrOffsetDeleteRequest()
		d.Group = "busy"
		for _, topic := range []string{"t", "other", "nope"} {
			d.Topics = append(d.Topics, kmsg.OffsetDeleteRequestTopic{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}})
		}
		r := trip[*kmsg.OffsetDeleteResponse](s, d, 0)
		for i, want := range []*kerr.Error{kerr.GroupSubscribedToTopic, nil, kerr.UnknownTopicOrPartition} {
			wantCode(t, "offset of "+d.Topics[i].Topic, r.Topics[i].Partitions[0].ErrorCode, want)
		}
		s.has("busy", id, true)
		s.has("busy", other, false)
		d.Group = "none"
		wantCode(t, "offsets of no group", trip[*kmsg.OffsetDeleteResponse](s, d, 0).ErrorCode, kerr.GroupIDNotFound)

		each(42, func(v int16) {
			req := kmsg.NewPtrDeleteGroupsRequest()
			req.Groups = []string{"busy", "empty", "none", "empty"} // twice is once
			resp := trip[*kmsg.DeleteGroupsResponse](s, req, v)
			wantCode(t, "busy", resp.Groups[0].ErrorCode, kerr.NonEmptyGroup)
			if v == 0 {
				wantCode(t, "empty", resp.Groups[1].ErrorCode, nil)
			} else {
				wantCode(t, "deleted before", resp.Groups[1].ErrorCode, kerr.GroupIDNotFound)
			}
			wantCode(t, "none", resp.Groups[2].ErrorCode, kerr.GroupIDNotFound)
			if len(resp.Groups) != 3 {
				t.Errorf("v%d: %d answers for three groups", v, len(resp.Groups))
			}
		})
		s.has("empty", id, false)
	})
}

func (s *harness) has(name string, id kafka.TopicID, want bool) {
	s.t.Helper()
	if _, ok := s.meta.Image().Offset(name, kafka.Partition{Topic: id}); ok != want {
		s.t.Errorf("offset of %s in %v: %v, want %v", name, id, ok, want)
	}
}

// This broker coordinates every group; what has no coordinator is refused for good, so that clients do not wait for it.
func TestFindCoordinator(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		each(10, func(v int16) {
			for kind := range int8(3) {
				if kind > 0 && v == 0 {
					continue
				}
				req := kmsg.NewPtrFindCoordinatorRequest()
				req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, "k", []string{"k", "l"}
				resp := trip[*kmsg.FindCoordinatorResponse](s, req, v)
				ec, node, host, port := resp.ErrorCode, resp.NodeID, resp.Host, resp.Port
				if v >= 4 {
					if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "l" {
						t.Fatalf("v%d: %+v", v, resp)
					}
					c := resp.Coordinators[0]
					ec, node, host, port = c.ErrorCode, c.NodeID, c.Host, c.Port
				}
				if kind == groupCoordinator {
					wantCode(t, "group", ec, nil)
					if node != 1 || host != "localhost" || port != 9092 {
						t.Errorf("v%d: %d %s:%d", v, node, host, port)
					}
				} else {
					wantCode(t, "other kinds", ec, kerr.InvalidRequest)
				}
			}
		})
	})
}

// While groups are loading clients are told so, with the code upon which they retry.
func TestGroupsLoading(t *testing.T) {
	s := newHarness(t)
	s.topic("t", 1)
	wantCode(t, "join", trip[*kmsg.JoinGroupResponse](s, joinRequest("g", ""), 5).ErrorCode, kerr.CoordinatorLoadInProgress)
	wantCode(t, "list", trip[*kmsg.ListGroupsResponse](s, kmsg.NewPtrListGroupsRequest(), 4).ErrorCode, kerr.CoordinatorLoadInProgress)
	f := kmsg.NewPtrOffsetFetchRequest()
	f.Group, f.Topics = "g", []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	wantCode(t, "fetch", trip[*kmsg.OffsetFetchResponse](s, f, 7).ErrorCode, kerr.CoordinatorLoadInProgress)
	h := kmsg.NewPtrHeartbeatRequest()
	h.Group = "g"
	wantCode(t, "heartbeat", trip[*kmsg.HeartbeatResponse](s, h, 4).ErrorCode, nil)
}

// A commit with a retention of its own (v2-4) keeps it; without one, and in later versions, the broker's counts.
func TestCommitRetention(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		id := s.topic("t", 1)
		for v, own := range map[int16]bool{2: true, 4: true, 5: false} {
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Group, req.Generation, req.RetentionTimeMillis = "g", -1, 60_000
			req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}}}
			trip[*kmsg.OffsetCommitResponse](s, req, v)
			var o *image.Offset
			o, _ = s.meta.Image().Offset("g", kafka.Partition{Topic: id})
			if o == nil || own != (o.ExpireMs > 0) {
				t.Errorf("v%d: %+v", v, o)
			}
		}
	})
}

// Whoever says a name twice would be answered twice, with all members each time.
func TestDescribesOnce(t *testing.T) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		names := []string{"g", "h", "g", "g"}
		classic, consumers, shares, apps := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrConsumerGroupDescribeRequest(), kmsg.NewPtrShareGroupDescribeRequest(), kmsg.NewPtrStreamsGroupDescribeRequest()
		classic.Groups, consumers.Groups, shares.GroupIDs, apps.Groups = names, names, names, names
		var got [4][]string
		for _, g := range trip[*kmsg.DescribeGroupsResponse](s, classic, 6).Groups {
			got[0] = append(got[0], g.Group)
		}
		for _, g := range trip[*kmsg.ConsumerGroupDescribeResponse](s, consumers, 1).Groups {
			got[1] = append(got[1], g.Group)
		}
		for _, g := range trip[*kmsg.ShareGroupDescribeResponse](s, shares, 1).Groups {
			got[2] = append(got[2], g.GroupID)
		}
		for _, g := range trip[*kmsg.StreamsGroupDescribeResponse](s, apps, 0).Groups {
			got[3] = append(got[3], g.Group)
		}
		for i, names := range got {
			if !slices.Equal(names, []string{"g", "h"}) {
				t.Errorf("answer %d: %q", i, names)
			}
		}
	})
}
