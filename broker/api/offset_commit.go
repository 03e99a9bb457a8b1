package api

import (
	"errors"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// OffsetCommit (key 8, v2-10): a group's positions, kept in the metadata quorum; answered when applied.
//
//   - A generation of -1 is a client without membership: it may commit while the group has no members.
//   - A group that does not exist, with a generation: GROUP_ID_NOT_FOUND (v9+), before that ILLEGAL_GENERATION.
//   - In a consumer group the generation is the member's epoch (KIP-848), v9+: STALE_MEMBER_EPOCH; before that UNSUPPORTED_VERSION,
//     but for members that speak the classic protocol.
//   - v2-4 may bring their own retention. v6+: leader epochs (KIP-320). v7+: static members. v10+: topic ids (KIP-848),
//     and UNKNOWN_TOPIC_ID for one that is not known.
//   - Partitions fail alone: unknown ones, and those whose metadata exceeds offset.metadata.max.bytes.

// topicIDsInOffsets is the first version of OffsetCommit and OffsetFetch that names topics by id.
const topicIDsInOffsets = 10

// memberEpochsInCommits is the first version of OffsetCommit that members of the consumer protocol may use.
const memberEpochsInCommits = 9

// offsetCommit is one request on its way.
type offsetCommit struct {
	resp    *kmsg.OffsetCommitResponse
	offsets []command.OffsetCommit
	at      []position // where each of offsets stands in resp
}

// position is a partition's place in a response.
type position struct{ topic, partition int }

func (h *Handler) offsetCommit(x *wire.Exchange) {
	req := x.Request.(*kmsg.OffsetCommitRequest)
	c := h.readOffsetCommit(x, req)
	if len(c.offsets) == 0 {
		reply(x, c.resp)
		return
	}
	who := group.Identity{MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation, Old: x.Version < memberEpochsInCommits}
	h.Groups.Commit(req.Group, who, c.offsets, func(gone []kafka.Partition, err error) {
		c.settle(x.Version, gone, err)
		reply(x, c.resp)
	})
}

// readOffsetCommit sorts out what can be committed, and prepares the response.
func (h *Handler) readOffsetCommit(x *wire.Exchange, req *kmsg.OffsetCommitRequest) *offsetCommit {
	c := &offsetCommit{resp: kmsg.NewPtrOffsetCommitResponse()}
	m := h.quorum.Image()
	expires := int64(0)
	if req.RetentionTimeMillis >= 0 && x.Version <= 4 {
		expires = h.Clock().UnixMilli() + req.RetentionTimeMillis
	}
	longest := h.Groups.Config().OffsetMetadataBytes
	c.resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		rt := &req.Topics[i]
		topic, err := findTopic(m, x.Version, rt.Topic, rt.TopicID)
		out := &c.resp.Topics[i]
		out.Topic, out.TopicID = rt.Topic, rt.TopicID
		out.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(rt.Partitions))
		for j := range rt.Partitions {
			p := &rt.Partitions[j]
			out.Partitions[j].Partition = p.Partition
			if refused := commitRefusal(topic, err, p, longest); refused != nil {
				out.Partitions[j].ErrorCode = code(refused)
				continue
			}
			c.at = append(c.at, position{i, j})
			c.offsets = append(c.offsets, command.OffsetCommit{
				Partition:   kafka.Partition{Topic: topic.ID, Index: p.Partition},
				Offset:      kafka.Offset(p.Offset),
				LeaderEpoch: kafka.LeaderEpoch(p.LeaderEpoch),
				Metadata:    deref(p.Metadata),
				ExpireMs:    expires,
			})
		}
	}
	return c
}

// findTopic finds a topic as a version names it: by name, or by id from v10 on.
func findTopic(m *image.Image, version int16, name string, id kafka.TopicID) (*image.Topic, error) {
	if version >= topicIDsInOffsets {
		if t, ok := m.TopicByID(id); ok {
			return t, nil
		}
		return nil, refuse(kerr.UnknownTopicID, "no topic has the id %s", id)
	}
	if t, ok := m.TopicByName(name); ok {
		return t, nil
	}
	return nil, image.ErrUnknownTopic
}

func commitRefusal(t *image.Topic, unknown error, p *kmsg.OffsetCommitRequestTopicPartition, longest int) error {
	switch {
	case unknown != nil:
		return unknown
	case p.Partition < 0 || p.Partition >= t.Partitions:
		return image.ErrUnknownPartition
	case p.Metadata != nil && len(*p.Metadata) > longest && utf8.RuneCountInString(*p.Metadata) > longest: // Kafka counts characters
		return refuse(kerr.OffsetMetadataTooLarge, "offset metadata exceeds offset.metadata.max.bytes (%d)", longest)
	}
	return nil
}

// settle writes the outcome into the response.
func (c *offsetCommit) settle(version int16, gone []kafka.Partition, err error) {
	if version < memberEpochsInCommits && errors.Is(err, group.ErrNotFound) {
		err = group.ErrIllegalGeneration
	}
	if err != nil {
		ec := code(err)
		for _, at := range c.at {
			c.resp.Topics[at.topic].Partitions[at.partition].ErrorCode = ec
		}
		return
	}
	if len(gone) == 0 {
		return
	}
	missing := make(map[kafka.Partition]bool, len(gone))
	for _, p := range gone {
		missing[p] = true
	}
	ec := kerr.UnknownTopicOrPartition.Code
	if version >= topicIDsInOffsets {
		ec = kerr.UnknownTopicID.Code
	}
	for i, at := range c.at {
		if missing[c.offsets[i].Partition] {
			c.resp.Topics[at.topic].Partitions[at.partition].ErrorCode = ec
		}
	}
}
