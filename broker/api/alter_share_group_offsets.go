package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// AlterShareGroupOffsets (key 91, v0): a share group without members begins anew at offsets; what it knew of records behind them is forgotten.
//
//   - A group that does not exist begins with that. One with members: NON_EMPTY_GROUP; a name that another kind of group has: GROUP_ID_NOT_FOUND.
//   - Partitions that do not exist are refused by themselves.

func (h *Handler) alterShareGroupOffsets(x *wire.Exchange) {
	req := x.Request.(*kmsg.AlterShareGroupOffsetsRequest)
	resp := kmsg.NewPtrAlterShareGroupOffsetsResponse()
	if err := h.shares(); err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
		return
	}
	m := h.quorum.Image()
	var c command.ResetShares
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewAlterShareGroupOffsetsResponseTopic()
		out.Topic = t.Topic
		topic, err := topicNamed(m, t.Topic)
		if err == nil {
			out.TopicID = topic.ID
		}
		for _, p := range t.Partitions {
			perr := err
			at := kafka.Partition{Topic: out.TopicID, Index: p.Partition}
			switch _, ok := m.Partition(at); {
			case perr != nil:
			case !ok:
				perr = errNoPartition
			case p.StartOffset < 0:
				perr = refuse(kerr.InvalidRequest, "offset %d is none", p.StartOffset)
			default:
				c.Starts = append(c.Starts, command.ShareStart{Partition: at, Start: kafka.Offset(p.StartOffset)})
			}
			op := kmsg.NewAlterShareGroupOffsetsResponseTopicPartition()
			op.Partition, op.ErrorCode, op.ErrorMessage = p.Partition, code(perr), message(perr)
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	h.Groups.ResetShares(req.GroupID, c, true, func(err error) {
		if err != nil {
			resp.ErrorCode, resp.ErrorMessage, resp.Topics = code(err), message(err), nil
		}
		reply(x, resp)
	})
}
