package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// OffsetFetch (key 9, v1-10): a group's committed positions, read from the image.
//
//   - v9+: who names itself as a member of a consumer group must be one, in its present epoch (KIP-848): UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH.
//   - Null topics (v2+) mean all that the group has. v8+ asks for several groups at once (KIP-709).
//   - What is asked for again in the same request is answered once: a group's offsets are large, to ask for them takes five bytes.
//   - A group, topic or partition without a commit is -1 without an error; an unknown topic id (v10+) is
//     UNKNOWN_TOPIC_ID.
//   - RequireStable (v7+, KIP-447) asks for no offset that a transaction under way may still change: UNSTABLE_OFFSET_COMMIT.
//   - Only the group's coordinator answers: another broker's image may be behind. The coordinator's shows every commit that was
//     answered, and every commit of an earlier generation once a member has been assigned in a later one.

func (h *Handler) offsetFetch(x *wire.Exchange) {
	req := x.Request.(*kmsg.OffsetFetchRequest)
	resp := kmsg.NewPtrOffsetFetchResponse()
	m := h.quorum.Image()
	if x.Version < 8 {
		unserved := code(h.Groups.Serves(req.Group))
		topics := make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
		for i, t := range req.Topics {
			topics[i].Topic, topics[i].Partitions = t.Topic, t.Partitions
		}
		resp.ErrorCode = unserved
		offsetsOnce([]kmsg.OffsetFetchRequestGroup{{Group: req.Group, Topics: topics}})
		found := h.groupOffsets(m, x.Version, req.Group, topics, req.Topics == nil, unserved)
		if req.RequireStable && unserved == 0 {
			hideUnstable(m, req.Group, found)
		}
		resp.Topics = flattenOffsets(found)
		reply(x, resp)
		return
	}
	req.Groups = offsetsOnce(req.Groups)
	resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
	for i := range req.Groups {
		g := &req.Groups[i]
		out := kmsg.NewOffsetFetchResponseGroup()
		out.Group, out.ErrorCode = g.Group, code(h.Groups.MayFetch(g.Group, deref(g.MemberID), g.MemberEpoch))
		if out.ErrorCode == 0 {
			out.Topics = h.groupOffsets(m, x.Version, g.Group, g.Topics, g.Topics == nil, 0)
			if req.RequireStable {
				hideUnstable(m, g.Group, out.Topics)
			}
		}
		resp.Groups[i] = out
	}
	reply(x, resp)
}

// offsetsOnce leaves out what a request has asked for before: partitions of a group, and all that a group has.
func offsetsOnce(groups []kmsg.OffsetFetchRequestGroup) []kmsg.OffsetFetchRequestGroup {
	type offset struct {
		group, topic string
		id           kafka.TopicID
		index        int32
	}
	whole, seen := distinct[string]{}, distinct[offset]{}
	return slices.DeleteFunc(groups, func(g kmsg.OffsetFetchRequestGroup) bool {
		if g.Topics == nil {
			return whole.again(g.Group)
		}
		for i := range g.Topics {
			t := &g.Topics[i]
			t.Partitions = slices.DeleteFunc(t.Partitions, func(p int32) bool { return seen.again(offset{g.Group, t.Topic, t.TopicID, p}) })
		}
		return false
	})
}

// groupOffsets are one group's topics. failed stands in every partition when it is not 0.
func (h *Handler) groupOffsets(m *image.Image, version int16, name string, topics []kmsg.OffsetFetchRequestGroupTopic, all bool, failed int16) []kmsg.OffsetFetchResponseGroupTopic {
	if all {
		if failed != 0 {
			return nil
		}
		return allOffsets(m, name)
	}
	out := make([]kmsg.OffsetFetchResponseGroupTopic, len(topics))
	for i := range topics {
		t := &topics[i]
		out[i].Topic, out[i].TopicID = t.Topic, t.TopicID
		out[i].Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(t.Partitions))
		topic, err := findTopic(m, version, t.Topic, t.TopicID)
		for j, p := range t.Partitions {
			fp := &out[i].Partitions[j]
			*fp = noOffset(p)
			switch {
			case failed != 0:
				fp.ErrorCode = failed
			case err != nil:
				if version >= topicIDsInOffsets {
					fp.ErrorCode = code(err)
				}
			default:
				if o, ok := m.Offset(name, kafka.Partition{Topic: topic.ID, Index: p}); ok {
					setOffset(fp, o)
				}
			}
		}
	}
	return out
}

// hideUnstable takes back what a transaction under way may still change.
func hideUnstable(m *image.Image, group string, topics []kmsg.OffsetFetchResponseGroupTopic) {
	unstable := m.Unstable(group)
	if len(unstable) == 0 {
		return
	}
	for i := range topics {
		id := kafka.TopicID(topics[i].TopicID)
		if t, ok := m.TopicByName(topics[i].Topic); ok && id.IsZero() {
			id = t.ID
		}
		for j := range topics[i].Partitions {
			p := &topics[i].Partitions[j]
			if p.ErrorCode == 0 && unstable[kafka.Partition{Topic: id, Index: p.Partition}] {
				*p = noOffset(p.Partition)
				p.ErrorCode = kerr.UnstableOffsetCommit.Code
			}
		}
	}
}

// allOffsets are all that a group has, by topic.
func allOffsets(m *image.Image, name string) []kmsg.OffsetFetchResponseGroupTopic {
	out := []kmsg.OffsetFetchResponseGroupTopic{}
	var current *image.Topic
	m.Offsets(name, func(o *image.Offset) bool {
		if current == nil || current.ID != o.Partition.Topic {
			t, ok := m.TopicByID(o.Partition.Topic)
			if !ok {
				return true // the image drops a topic's offsets with it
			}
			current = t
			out = append(out, kmsg.OffsetFetchResponseGroupTopic{Topic: t.Name, TopicID: t.ID})
		}
		fp := noOffset(o.Partition.Index)
		setOffset(&fp, o)
		last := &out[len(out)-1]
		last.Partitions = append(last.Partitions, fp)
		return true
	})
	return out
}

var noMetadata = ""

func noOffset(p int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: &noMetadata}
}

func setOffset(fp *kmsg.OffsetFetchResponseGroupTopicPartition, o *image.Offset) {
	fp.Offset, fp.LeaderEpoch, fp.Metadata = int64(o.Offset), int32(o.LeaderEpoch), &o.Metadata
}

// flattenOffsets is the shape of versions before 8.
func flattenOffsets(ts []kmsg.OffsetFetchResponseGroupTopic) []kmsg.OffsetFetchResponseTopic {
	out := make([]kmsg.OffsetFetchResponseTopic, len(ts))
	for i, t := range ts {
		out[i].Topic = t.Topic
		out[i].Partitions = make([]kmsg.OffsetFetchResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			out[i].Partitions[j] = kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			}
		}
	}
	return out
}
