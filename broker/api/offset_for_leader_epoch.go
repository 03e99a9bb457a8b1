package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// OffsetForLeaderEpoch (key 23, v2-4; KIP-101, 279, 320): where an epoch ends. The answer is the largest epoch known at or
// below the requested one, and the offset after its last record; -1 and -1 where none is known. A client compares it with
// its position to learn whether what it consumed was truncated, so the end never lies below what was once readable.

func (h *Handler) offsetForLeaderEpoch(x *wire.Exchange) {
	req := x.Request.(*kmsg.OffsetForLeaderEpochRequest)
	h.expectEpochs(x, req)
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	resp.Topics = make([]kmsg.OffsetForLeaderEpochResponseTopic, len(req.Topics))
	m := h.quorum.Image()
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.OffsetForLeaderEpochResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			*rp = kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			l, err := h.readingAt(m, t.Topic, p.Partition, kafka.LeaderEpoch(p.CurrentLeaderEpoch))
			if err != nil {
				rp.ErrorCode = code(err)
				continue
			}
			end := l.EpochEnd(kafka.LeaderEpoch(p.LeaderEpoch))
			rp.LeaderEpoch, rp.EndOffset = int32(end.Epoch), int64(end.End)
		}
	}
	reply(x, resp)
}
