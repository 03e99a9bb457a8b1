package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// DeleteShareGroupOffsets (key 92, v0): a share group without members forgets what it has of topics.
//
//   - NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND are the group's. A topic that does not exist, or of which the group has nothing:
//     UNKNOWN_TOPIC_OR_PARTITION, by itself.

func (h *Handler) deleteShareGroupOffsets(x *wire.Exchange) {
	req := x.Request.(*kmsg.DeleteShareGroupOffsetsRequest)
	resp := kmsg.NewPtrDeleteShareGroupOffsetsResponse()
	if err := h.shares(); err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
		return
	}
	m := h.quorum.Image()
	has := map[[16]byte]bool{}
	m.Shares(req.GroupID, func(s *image.Share) bool { has[s.Partition.Topic] = true; return true })
	var c command.ResetShares
	for i := range req.Topics {
		out := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
		out.Topic = req.Topics[i].Topic
		topic, err := topicNamed(m, out.Topic)
		if err == nil {
			if out.TopicID = topic.ID; has[topic.ID] {
				c.Forget = append(c.Forget, topic.ID)
			} else {
				err = refuse(kerr.UnknownTopicOrPartition, "the group has nothing of topic %q to delete", out.Topic)
			}
		}
		out.ErrorCode, out.ErrorMessage = code(err), message(err)
		resp.Topics = append(resp.Topics, out)
	}
	h.Groups.ResetShares(req.GroupID, c, false, func(err error) {
		if err != nil {
			resp.ErrorCode, resp.ErrorMessage, resp.Topics = code(err), message(err), nil
		}
		reply(x, resp)
	})
}
