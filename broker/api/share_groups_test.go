package api

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// shareLog is a made-up partition that holds real batches, a record in each.
func (s *harness) shareLog(p kafka.Partition) shareleader.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logs[p]; l != nil {
		return batched{l}
	}
	return nil
}

type batched struct{ *fakeLog }

func (l batched) Read(r partition.ReadRequest) (partition.ReadResult, error) {
	res, err := l.fakeLog.Read(r)
	n := res.Run.N / unit
	res.Run.Bytes = nil
	for i := range n {
		b := batch.Builder{BaseOffset: r.From + kafka.Offset(i)}
		b.Add(1, nil, []byte("v"))
		v, berr := b.Build()
		if berr != nil {
			return res, berr
		}
		res.Run.Bytes = append(res.Run.Bytes, v...)
	}
	res.Run.N = len(res.Run.Bytes)
	return res, err
}

func sharesTest(t *testing.T, f func(t *testing.T, s *harness)) {
	groupsTest(t, func(t *testing.T, s *harness) {
		s.atNewestLevel()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Shares.Run(ctx) }()
		f(t, s)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// sharer is a member of group g that reads partition 0 of a topic.
type sharer struct {
	s     *harness
	id    string
	topic kafka.TopicID
	epoch int32
}

func (m *sharer) join(topic string) {
	m.s.t.Helper()
	r := kmsg.NewPtrShareGroupHeartbeatRequest()
	r.GroupID, r.MemberID, r.SubscribedTopicNames = "g", m.id, []string{topic}
	if got := trip[*kmsg.ShareGroupHeartbeatResponse](m.s, r, 1); got.ErrorCode != 0 || got.Assignment == nil || len(got.Assignment.TopicPartitions) != 1 {
		m.s.t.Fatalf("%+v", got)
	}
}

func (m *sharer) request(acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) *kmsg.ShareFetchRequest {
	group := "g"
	r := kmsg.NewPtrShareFetchRequest()
	r.GroupID, r.MemberID, r.ShareSessionEpoch = &group, &m.id, m.epoch
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.MaxRecords, r.BatchSize, r.ShareAcquireMode = 100, 1, 1<<20, 3, 3, 1
	r.Topics = []kmsg.ShareFetchRequestTopic{{TopicID: m.topic, Partitions: []kmsg.ShareFetchRequestTopicPartition{{AcknowledgementBatches: acks}}}}
	return r
}

// fetch is what partition 0 gave.
func (m *sharer) fetch(version int16, acks ...kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch) kmsg.ShareFetchResponseTopicPartition {
	m.s.t.Helper()
	got := trip[*kmsg.ShareFetchResponse](m.s, m.request(acks...), version)
	if got.ErrorCode != 0 || got.AcquisitionLockTimeoutMillis != 30000 {
		m.s.t.Fatalf("%+v", got)
	}
	m.epoch++
	if len(got.Topics) == 0 {
		return kmsg.ShareFetchResponseTopicPartition{}
	}
	return got.Topics[0].Partitions[0]
}

func ackOf(first, last int64, types ...int8) kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch {
	return kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{FirstOffset: first, LastOffset: last, AcknowledgeTypes: types}
}

func (m *sharer) acknowledge(want *kerr.Error, first, last int64, types ...int8) {
	m.s.t.Helper()
	group := "g"
	r := kmsg.NewPtrShareAcknowledgeRequest()
	r.GroupID, r.MemberID, r.ShareSessionEpoch, r.IsRenewAck = &group, &m.id, m.epoch, slices.Contains(types, 4)
	p := kmsg.NewShareAcknowledgeRequestTopicPartition()
	p.AcknowledgementBatches = []kmsg.ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch{{FirstOffset: first, LastOffset: last, AcknowledgeTypes: types}}
	r.Topics = []kmsg.ShareAcknowledgeRequestTopic{{TopicID: m.topic, Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{p}}}
	got := trip[*kmsg.ShareAcknowledgeResponse](m.s, r, 2)
	if got.ErrorCode != 0 || len(got.Topics) != 1 {
		m.s.t.Fatalf("%+v", got)
	}
	m.epoch++
	code := int16(0)
	if want != nil {
		code = want.Code
	}
	if c := got.Topics[0].Partitions[0].ErrorCode; c != code {
		m.s.t.Errorf("acknowledging [%d, %d] %v: %v, want %v", first, last, types, kerr.ErrorForCode(c), want)
	}
}

// A record would be given to two members, not come again when it is released, its lock has ended or its member has gone, come again when it was
// accepted; or what clients do wrong would not have Kafka's error.
func TestShareGroup(t *testing.T) {
	sharesTest(t, func(t *testing.T, s *harness) {
		id := s.topic("t", 1)
		s.propose1(command.SetConfigs{Type: command.Group, Name: "g", Set: map[string]string{"share.auto.offset.reset": "earliest"}})
		s.log(id, 0).append(10)
		a, b := &sharer{s: s, id: "a", topic: id}, &sharer{s: s, id: "b", topic: id}
		a.join("t")
		b.join("t")
		got := a.fetch(1)
		if len(got.AcquiredRecords) != 1 || got.AcquiredRecords[0].FirstOffset != 0 || got.AcquiredRecords[0].LastOffset != 2 || got.AcquiredRecords[0].DeliveryCount != 1 || len(got.Records) == 0 {
			t.Fatalf("%+v", got)
		}
		if got := b.fetch(2); len(got.AcquiredRecords) != 1 || got.AcquiredRecords[0].FirstOffset != 3 {
			t.Fatalf("the second member: %+v", got)
		}
		// 0 is accepted, 1 released, 2 kept. Not with the fetch: what is released may be durable in time for it, or not.
		if got := a.fetch(2, ackOf(0, 0, 1)); got.AcknowledgeErrorCode != 0 || len(got.AcquiredRecords) != 1 || got.AcquiredRecords[0].FirstOffset != 6 || got.AcquiredRecords[0].LastOffset != 8 {
			t.Fatalf("%+v", got)
		}
		a.acknowledge(nil, 0, 1, 1, 2)
		a.acknowledge(kerr.InvalidRecordState, 0, 0, 1) // once more: it is done
		a.acknowledge(kerr.InvalidRecordState, 1, 1, 1)
		a.acknowledge(kerr.InvalidRecordState, 3, 3, 1)
		a.acknowledge(kerr.InvalidRequest, 500, 500, 1)
		a.acknowledge(kerr.InvalidRequest, 2, 2, 9)
		a.acknowledge(nil, 2, 2, 4) // renewed
		for _, wrong := range []struct {
			what string
			want *kerr.Error
			f    func(r *kmsg.ShareFetchRequest)
		}{
			{"epoch", kerr.InvalidShareSessionEpoch, func(r *kmsg.ShareFetchRequest) { r.ShareSessionEpoch = 77 }},
			{"session", kerr.ShareSessionNotFound, func(r *kmsg.ShareFetchRequest) { other := "other"; r.MemberID = &other }},
			{"member", kerr.InvalidRequest, func(r *kmsg.ShareFetchRequest) { r.MemberID = nil }},
			{"mode", kerr.InvalidRequest, func(r *kmsg.ShareFetchRequest) { r.ShareAcquireMode = 2 }},
			{"renewal that fetches", kerr.InvalidRequest, func(r *kmsg.ShareFetchRequest) { r.IsRenewAck = true }},
			{"limit", kerr.ShareSessionLimitReached, func(r *kmsg.ShareFetchRequest) { third := "third"; r.MemberID, r.ShareSessionEpoch = &third, 0 }},
			{"acks at the beginning", kerr.InvalidRequest, func(r *kmsg.ShareFetchRequest) {
				r.ShareSessionEpoch, r.Topics[0].Partitions[0].AcknowledgementBatches = 0, []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{ackOf(2, 2, 1)}
			}},
		} {
			r := a.request()
			wrong.f(r)
			wantCode(t, wrong.what, trip[*kmsg.ShareFetchResponse](s, r, 2).ErrorCode, wrong.want)
		}
		if got := b.fetch(2); len(got.AcquiredRecords) != 2 || got.AcquiredRecords[0].FirstOffset != 1 || got.AcquiredRecords[0].DeliveryCount != 2 || got.AcquiredRecords[1].FirstOffset != 9 {
			t.Fatalf("what was released, and what is behind what both have: %+v", got)
		}
		if got := b.fetch(2); len(got.AcquiredRecords) != 0 {
			t.Fatalf("everything is somebody's: %+v", got)
		}
		// The first member's connection would end; it says so.
		a.epoch = -1
		trip[*kmsg.ShareFetchResponse](s, a.request(), 2)
		synctest.Wait()
		got = b.fetch(2)
		if len(got.AcquiredRecords) != 2 || got.AcquiredRecords[0].FirstOffset != 2 || got.AcquiredRecords[1].LastOffset != 7 || got.AcquiredRecords[0].DeliveryCount != 2 {
			t.Fatalf("when the first has gone: %+v", got)
		}
		described(t, s, 1, 9)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		b.acknowledge(kerr.InvalidRecordState, 3, 3, 1)
	})
}

// described holds the start and the lag of partition 0.
func described(t *testing.T, s *harness, start, lag int64) {
	t.Helper()
	r := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	r.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: "g"}, {GroupID: "g"}} // all that it has: once
	got := trip[*kmsg.DescribeShareGroupOffsetsResponse](s, r, 1)
	if len(got.Groups) != 1 {
		t.Errorf("a group that is asked for twice is answered %d times", len(got.Groups))
	}
	if len(got.Groups[0].Topics) != 1 || got.Groups[0].Topics[0].Topic != "t" {
		t.Fatalf("%+v", got.Groups[0])
	}
	if p := got.Groups[0].Topics[0].Partitions[0]; p.StartOffset != start || p.Lag != lag {
		t.Errorf("start %d, lag %d; want %d, %d", p.StartOffset, p.Lag, start, lag)
	}
}

// An administrator's offsets would not take effect, or would while there are members; a share group would be listed, described or deleted as what it is not.
func TestShareGroupOffsets(t *testing.T) {
	sharesTest(t, func(t *testing.T, s *harness) {
		id := s.topic("t", 1)
		s.log(id, 0).append(10)
		alter := func(start int64) *kmsg.AlterShareGroupOffsetsResponse {
			r := kmsg.NewPtrAlterShareGroupOffsetsRequest()
			r.GroupID = "g"
			r.Topics = []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterShareGroupOffsetsRequestTopicPartition{{StartOffset: start}, {Partition: 8}}}}
			return trip[*kmsg.AlterShareGroupOffsetsResponse](s, r, 0)
		}
		got := alter(4) // the group begins with it
		if got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 0 || got.Topics[0].Partitions[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Fatalf("%+v", got)
		}
		described(t, s, 4, 6)
		m := &sharer{s: s, id: "a", topic: id}
		m.join("t")
		if got := m.fetch(2); len(got.AcquiredRecords) != 1 || got.AcquiredRecords[0].FirstOffset != 4 {
			t.Fatalf("%+v", got)
		}
		wantCode(t, "with a member", alter(0).ErrorCode, kerr.NonEmptyGroup)

		list := kmsg.NewPtrListGroupsRequest()
		list.TypesFilter = []string{"share"}
		if l := trip[*kmsg.ListGroupsResponse](s, list, 5); len(l.Groups) != 1 || l.Groups[0].GroupState != "Stable" || l.Groups[0].ProtocolType != "share" {
			t.Errorf("%+v", l.Groups)
		}
		d := kmsg.NewPtrShareGroupDescribeRequest()
		d.GroupIDs = []string{"g", "none"}
		if g := trip[*kmsg.ShareGroupDescribeResponse](s, d, 1).Groups; g[0].GroupState != "Stable" || g[0].Assignor != "simple" || len(g[0].Members) != 1 ||
			len(g[0].Members[0].Assignment.TopicPartitions) != 1 || g[1].ErrorCode != kerr.GroupIDNotFound.Code {
			t.Errorf("%+v", g)
		}
		wantCode(t, "a consumer in a share group", beat(s, joinConsumer("g", "m", "t"), 1).ErrorCode, kerr.GroupIDNotFound)

		leave := kmsg.NewPtrShareGroupHeartbeatRequest()
		leave.GroupID, leave.MemberID, leave.MemberEpoch = "g", "a", -1
		wantCode(t, "leaving", trip[*kmsg.ShareGroupHeartbeatResponse](s, leave, 1).ErrorCode, nil)
		if got := alter(2); got.ErrorCode != 0 {
			t.Fatalf("%+v", got)
		}
		s.Shares.Follow(s.meta.Image())
		described(t, s, 2, 8)
		if got := m.fetch(2); len(got.AcquiredRecords) != 1 || got.AcquiredRecords[0].FirstOffset != 2 {
			t.Fatalf("after the reset: %+v", got)
		}

		forget := func() *kmsg.DeleteShareGroupOffsetsResponse {
			r := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
			r.GroupID, r.Topics = "g", []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "t"}, {Topic: "none"}}
			return trip[*kmsg.DeleteShareGroupOffsetsResponse](s, r, 0)
		}
		if f := forget(); f.ErrorCode != 0 || f.Topics[0].ErrorCode != 0 || f.Topics[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("%+v", f)
		}
		wantCode(t, "nothing to delete", forget().Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{"g"}
		wantCode(t, "delete", trip[*kmsg.DeleteGroupsResponse](s, del, 2).Groups[0].ErrorCode, nil)
		wantCode(t, "of a deleted group", forget().ErrorCode, kerr.GroupIDNotFound)
	})
}
