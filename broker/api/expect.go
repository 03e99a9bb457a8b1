package api

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A client that was told where a leader has moved (KIP-951) may be there before the news are: brokers follow the quorum each at its own
// pace, a millisecond or two apart. Told NOT_LEADER at that moment it waits for a quarter of a second (franz-go), or a whole one. So who may be
// about to lead waits for its own image first. Whoever is simply mistaken is told so that much later.

// expectLead bounds the wait for a leadership.
const expectLead = 50 * time.Millisecond

// expectProduce waits while this broker, in sync, may be about to lead what is produced to. Before anything is appended or held.
func (h *Handler) expectProduce(x *wire.Exchange, req *kmsg.ProduceRequest) {
	m := h.quorum.Image()
	waits := func(id kafka.Partition) bool {
		l := h.find(id)
		if l == nil || l.LeaderEpoch() >= 0 {
			return false
		}
		p, ok := h.quorum.Image().Partition(id)
		return ok && slices.Contains(p.ISR, h.Node)
	}
	var open []kafka.Partition
	for i := range req.Topics {
		topic, err := producedTopic(m, x.Version, &req.Topics[i])
		if err != nil {
			continue
		}
		for j := range req.Topics[i].Partitions {
			if id := (kafka.Partition{Topic: topic.ID, Index: req.Topics[i].Partitions[j].Partition}); waits(id) {
				open = append(open, id)
			}
		}
	}
	if len(open) > 0 {
		h.until(x, func() bool { return !slices.ContainsFunc(open, waits) })
	}
}

// expectFetch waits while a fetch names a leadership that this broker does not know yet.
func (h *Handler) expectFetch(x *wire.Exchange, req *kmsg.FetchRequest) {
	type named struct {
		id    kafka.Partition
		epoch kafka.LeaderEpoch
	}
	m := h.quorum.Image()
	waits := func(n named) bool {
		l := h.find(n.id)
		if l == nil || l.LeaderEpoch() >= n.epoch {
			return false
		}
		p, ok := h.quorum.Image().Partition(n.id)
		return ok && (p.LeaderEpoch < n.epoch || p.LeaderEpoch == n.epoch && p.Leader == h.Node)
	}
	var open []named
	for i := range req.Topics {
		t := &req.Topics[i]
		topic, err := topicWithID(m, t.TopicID)
		if x.Version < fetchTopicIDVersion {
			topic, err = topicNamed(m, t.Topic)
		}
		if err != nil {
			continue
		}
		for j := range t.Partitions {
			n := named{kafka.Partition{Topic: topic.ID, Index: t.Partitions[j].Partition}, kafka.LeaderEpoch(t.Partitions[j].CurrentLeaderEpoch)}
			if n.epoch >= 0 && waits(n) {
				open = append(open, n)
			}
		}
	}
	if len(open) > 0 {
		h.until(x, func() bool { return !slices.ContainsFunc(open, waits) })
	}
}

// until waits for the hosted partitions to be as they are expected.
func (h *Handler) until(x *wire.Exchange, settled func() bool) {
	ctx, cancel := context.WithTimeout(gone(x), expectLead)
	defer cancel()
	for {
		next := h.followed()
		if settled() {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}
