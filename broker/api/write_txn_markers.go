package api

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/producer"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// WriteTxnMarkers (key 27, v1-2; KIP-98, 664): an administrator ends a transaction that hangs in a partition. Brokers have a private
// request for their own markers.
//
//   - Only an older producer epoch (INVALID_PRODUCER_EPOCH) and an older coordinator epoch (TRANSACTION_COORDINATOR_FENCED) are
//     refused, and what no producer has: a negative id or epoch. Whoever sends this has looked, as `qanat txn abort` does.
//   - Answered when the marker is on all in-sync replicas.

// adminMarkTimeout bounds the wait for that; the request has no timeout of its own.
const adminMarkTimeout = 30 * time.Second

func (h *Handler) writeTxnMarkers(x *wire.Exchange) {
	req := x.Request.(*kmsg.WriteTxnMarkersRequest)
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	m := h.quorum.Image()
	w := &adminMarks{}
	for _, mark := range req.Markers {
		rm := kmsg.WriteTxnMarkersResponseMarker{ProducerID: mark.ProducerID}
		for _, t := range mark.Topics {
			rt := kmsg.WriteTxnMarkersResponseMarkerTopic{Topic: t.Topic, Partitions: make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))}
			for j, index := range t.Partitions {
				rt.Partitions[j].Partition = index
				w.out = append(w.out, &rt.Partitions[j])
				w.left.Add(1)
				l, err := h.leadingAt(m, t.Topic, index, kafka.NoEpoch)
				if err == nil {
					err = ofProducer(&mark)
				}
				if err != nil {
					w.Produced(len(w.out)-1, partition.Produced{Err: err})
					continue
				}
				l.AppendMarker(partition.End{
					Producer: kafka.ProducerID(mark.ProducerID), Epoch: kafka.ProducerEpoch(mark.ProducerEpoch),
					Marker: batch.Marker{Commit: mark.Committed, Coordinator: kafka.CoordinatorEpoch(mark.CoordinatorEpoch)},
				}, adminMarkTimeout, w, len(w.out)-1)
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	go func() {
		w.left.Wait()
		reply(x, resp)
	}()
}

// ofProducer refuses a marker that can be no producer's: it would stay in the log. Kafka's brokers fail on it, and say no more.
func ofProducer(m *kmsg.WriteTxnMarkersRequestMarker) error {
	switch {
	case m.ProducerID < 0:
		return refuse(kerr.InvalidProducerIDMapping, "producer id %d", m.ProducerID)
	case m.ProducerEpoch < 0:
		return refuse(kerr.InvalidProducerEpoch, "producer epoch %d", m.ProducerEpoch)
	case kafka.CoordinatorEpoch(m.CoordinatorEpoch) < producer.NoCoordinator:
		return refuse(kerr.TransactionCoordinatorFenced, "coordinator epoch %d", m.CoordinatorEpoch)
	}
	return nil
}

// adminMarks implements partition.Waiter.
type adminMarks struct {
	out  []*kmsg.WriteTxnMarkersResponseMarkerTopicPartition
	left sync.WaitGroup
}

// Produced implements partition.Waiter.
func (w *adminMarks) Produced(slot int, r partition.Produced) {
	if r.Err != nil {
		if w.out[slot].ErrorCode = code(r.Err); known(r.Err) == nil {
			w.out[slot].ErrorCode = kerr.KafkaStorageError.Code
		}
	}
	w.left.Done()
}
