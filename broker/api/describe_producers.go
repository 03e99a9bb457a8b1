package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// DescribeProducers (key 61, v0; KIP-664): the producers whose state a partition's leader holds. A partition that is named again is answered
// once: it may have thousands of producers, and a name takes four bytes.

func (h *Handler) describeProducers(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeProducersRequest)
	resp := kmsg.NewPtrDescribeProducersResponse()
	resp.Topics = make([]kmsg.DescribeProducersResponseTopic, len(req.Topics))
	m := h.quorum.Image()
	seen := distinct[topicPartition]{}
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Topic = t.Topic
		named := slices.DeleteFunc(t.Partitions, func(index int32) bool { return seen.again(topicPartition{t.Topic, index}) })
		rt.Partitions = make([]kmsg.DescribeProducersResponseTopicPartition, len(named))
		for j, index := range named {
			rp := &rt.Partitions[j]
			*rp = kmsg.NewDescribeProducersResponseTopicPartition()
			rp.Partition = index
			l, err := h.readingAt(m, t.Topic, index, kafka.NoEpoch)
			if err != nil {
				rp.ErrorCode, rp.ErrorMessage = code(err), message(err)
				continue
			}
			for _, p := range l.Producers() {
				ap := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
				ap.ProducerID, ap.ProducerEpoch, ap.LastSequence = int64(p.ID), int32(p.Epoch), p.LastSequence
				ap.LastTimestamp, ap.CoordinatorEpoch, ap.CurrentTxnStartOffset = p.LastTimestamp, int32(p.CoordinatorEpoch), int64(p.TxnStart)
				rp.ActiveProducers = append(rp.ActiveProducers, ap)
			}
		}
	}
	reply(x, resp)
}
