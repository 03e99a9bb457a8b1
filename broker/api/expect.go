package api

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A client that was told where a leader has moved (KIP-951) may be there before the news are: brokers follow the quorum each at its own
// pace, a millisecond or two apart. Told NOT_LEADER at that moment it waits for a quarter of a second (franz-go), or a whole one. So who may be
// about to lead waits for its own image first. Whoever is simply mistaken is told so that much later.

// expectLead bounds the wait for a leadership.
const expectLead = 50 * time.Millisecond

// expected are leaderships that a request speaks of and this broker does not have yet.
type expected []leadership

// leadership is a partition's under an epoch; kafka.NoEpoch where the request names none.
type leadership struct {
	id    kafka.Partition
	epoch kafka.LeaderEpoch
}

// early tells whether the news of a leadership may still be on their way to this broker.
func (h *Handler) early(l leadership) bool {
	at := h.find(l.id)
	if at == nil || at.LeaderEpoch() >= max(l.epoch, 0) {
		return false
	}
	p, ok := h.quorum.Image().Partition(l.id)
	switch {
	case !ok:
		return false
	case l.epoch < 0:
		return slices.Contains(p.ISR, h.Node)
	}
	return p.LeaderEpoch < l.epoch || p.LeaderEpoch == l.epoch && p.Leader == h.Node
}

// add notes a leadership of a topic, which is nil when it is not known here.
func (h *Handler) add(e expected, t *image.Topic, index int32, epoch kafka.LeaderEpoch) expected {
	if t != nil {
		if l := (leadership{kafka.Partition{Topic: t.ID, Index: index}, epoch}); h.early(l) {
			return append(e, l)
		}
	}
	return e
}

// expectProduce waits while this broker, in sync, may be about to lead what is produced to. Before anything is appended or held.
func (h *Handler) expectProduce(x *wire.Exchange, req *kmsg.ProduceRequest) {
	m := h.quorum.Image()
	var e expected
	for i := range req.Topics {
		t, _ := producedTopic(m, x.Version, &req.Topics[i])
		for j := range req.Topics[i].Partitions {
			e = h.add(e, t, req.Topics[i].Partitions[j].Partition, kafka.NoEpoch)
		}
	}
	h.expect(x, e)
}

// expectFetch waits while a fetch names a leadership that this broker does not know yet.
func (h *Handler) expectFetch(x *wire.Exchange, req *kmsg.FetchRequest) {
	m := h.quorum.Image()
	var e expected
	for i := range req.Topics {
		t, _ := topicWithID(m, req.Topics[i].TopicID)
		if x.Version < fetchTopicIDVersion {
			t, _ = topicNamed(m, req.Topics[i].Topic)
		}
		for j := range req.Topics[i].Partitions {
			if p := &req.Topics[i].Partitions[j]; p.CurrentLeaderEpoch >= 0 {
				e = h.add(e, t, p.Partition, kafka.LeaderEpoch(p.CurrentLeaderEpoch))
			}
		}
	}
	h.expect(x, e)
}

// expectEpochs is expectFetch for who asks where an epoch ends, as clients do that have moved before they fetch (KIP-320).
func (h *Handler) expectEpochs(x *wire.Exchange, req *kmsg.OffsetForLeaderEpochRequest) {
	m := h.quorum.Image()
	var e expected
	for i := range req.Topics {
		t, _ := topicNamed(m, req.Topics[i].Topic)
		for j := range req.Topics[i].Partitions {
			if p := &req.Topics[i].Partitions[j]; p.CurrentLeaderEpoch >= 0 {
				e = h.add(e, t, p.Partition, kafka.LeaderEpoch(p.CurrentLeaderEpoch))
			}
		}
	}
	h.expect(x, e)
}

// expect waits until nothing of it is on its way any more.
func (h *Handler) expect(x *wire.Exchange, e expected) {
	if len(e) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(gone(x), expectLead)
	defer cancel()
	for {
		next := h.followed()
		if !slices.ContainsFunc(e, h.early) {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}
