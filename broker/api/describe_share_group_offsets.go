package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DescribeShareGroupOffsets (key 90, v0-1): where share groups begin in partitions; v1: and how many records they have still to do (KIP-1226).
//
//   - Without topics: all that the group has. Where it has nothing, or there is no such partition, the offset is -1, and that is no error.
//   - All that a group has is answered once, however often a request asks for it.
//   - The lag is what the leader has below its high watermark, and is not done. A broker that does not host the partition does not know it: -1.

func (h *Handler) describeShareGroupOffsets(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeShareGroupOffsetsRequest)
	resp := kmsg.NewPtrDescribeShareGroupOffsetsResponse()
	whole := distinct[string]{}
	req.Groups = slices.DeleteFunc(req.Groups, func(g kmsg.DescribeShareGroupOffsetsRequestGroup) bool {
		return g.Topics == nil && whole.again(g.GroupID)
	})
	resp.Groups = make([]kmsg.DescribeShareGroupOffsetsResponseGroup, len(req.Groups))
	m := h.quorum.Image()
	for i := range req.Groups {
		g, out := &req.Groups[i], &resp.Groups[i]
		out.Default()
		out.GroupID = g.GroupID
		err := h.shares()
		if err == nil {
			err = h.Groups.Serves(g.GroupID)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = code(err), message(err)
			continue
		}
		if g.Topics == nil {
			m.Shares(g.GroupID, func(s *image.Share) bool {
				if t, ok := m.TopicByID(s.Partition.Topic); ok {
					h.describeShare(m, out, g.GroupID, t.Name, s.Partition.Index)
				}
				return true
			})
			continue
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				h.describeShare(m, out, g.GroupID, t.Topic, p)
			}
		}
	}
	reply(x, resp)
}

// describeShare adds a partition to a group's answer.
func (h *Handler) describeShare(m *image.Image, out *kmsg.DescribeShareGroupOffsetsResponseGroup, group, topic string, index int32) {
	if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != topic {
		t := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
		t.Topic = topic
		if it, ok := m.TopicByName(topic); ok {
			t.TopicID = it.ID
		}
		out.Topics = append(out.Topics, t)
	}
	t := &out.Topics[len(out.Topics)-1]
	p := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
	p.Partition, p.StartOffset, p.Lag = index, -1, -1
	at := kafka.Partition{Topic: t.TopicID, Index: index}
	if ip, ok := m.Partition(at); ok {
		p.LeaderEpoch = int32(ip.LeaderEpoch)
	}
	if s, ok := m.Share(group, at); ok {
		p.StartOffset, p.Lag = int64(s.Start), h.shareLag(s)
	}
	t.Partitions = append(t.Partitions, p)
}

// shareLag is how much a group has still to do in a partition; -1: not known here.
func (h *Handler) shareLag(s *image.Share) int64 {
	p := h.find(s.Partition)
	if p == nil {
		return -1
	}
	end := p.HighWatermark()
	lag := end - s.Start
	for _, r := range s.Runs {
		if r.State.Done() && r.First < end {
			lag -= min(r.Next, end) - r.First
		}
	}
	return int64(max(lag, 0))
}
