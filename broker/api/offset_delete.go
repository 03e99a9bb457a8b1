package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// OffsetDelete (key 47, v0): a group forgets its positions in partitions (KIP-496). A group with members may forget
// only topics that it does not subscribe to (GROUP_SUBSCRIBED_TO_TOPIC), which can be told of consumers alone: for
// others NON_EMPTY_GROUP. Deleting what is not there is no error.

func (h *Handler) offsetDelete(x *wire.Exchange) {
	req := x.Request.(*kmsg.OffsetDeleteRequest)
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.Topics = make([]kmsg.OffsetDeleteResponseTopic, len(req.Topics))
	m := h.quorum.Image()
	topics := make([]coordinator.TopicOffsets, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		out := &resp.Topics[i]
		out.Topic = t.Topic
		out.Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Partitions))
		topics[i].Name = t.Topic
		topic, known := m.TopicByName(t.Topic)
		for j, p := range t.Partitions {
			out.Partitions[j].Partition = p.Partition
			if !known || p.Partition < 0 || p.Partition >= topic.Partitions {
				out.Partitions[j].ErrorCode = code(image.ErrUnknownPartition)
				continue
			}
			topics[i].Partitions = append(topics[i].Partitions, kafka.Partition{Topic: topic.ID, Index: p.Partition})
		}
	}
	h.Groups.DeleteOffsets(req.Group, topics, func(each []error, err error) {
		if err != nil {
			resp.ErrorCode, resp.Topics = code(err), nil
			reply(x, resp)
			return
		}
		for i, err := range each {
			for j := range resp.Topics[i].Partitions {
				if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
					p.ErrorCode = code(err)
				}
			}
		}
		reply(x, resp)
	})
}
