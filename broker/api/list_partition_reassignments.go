package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// ListPartitionReassignments (key 46, v0; KIP-455): the partitions that are being reassigned, of those named or, with null, of
// all. One that does not exist, or is not being reassigned, is left out.

func (h *Handler) listPartitionReassignments(x *wire.Exchange) {
	req := x.Request.(*kmsg.ListPartitionReassignmentsRequest)
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	m := h.quorum.Image()
	if req.Topics == nil {
		m.Topics(func(t *image.Topic) bool {
			rt := kmsg.NewListPartitionReassignmentsResponseTopic()
			rt.Topic = t.Name
			m.Partitions(t.ID, func(p *image.Partition) bool {
				addReassignment(&rt, p)
				return true
			})
			if len(rt.Partitions) > 0 {
				resp.Topics = append(resp.Topics, rt)
			}
			return true
		})
		reply(x, resp)
		return
	}
	for i := range req.Topics {
		rt := kmsg.NewListPartitionReassignmentsResponseTopic()
		rt.Topic = req.Topics[i].Topic
		for _, index := range req.Topics[i].Partitions {
			if p, err := partitionNamed(m, rt.Topic, index); err == nil {
				addReassignment(&rt, p)
			}
		}
		if len(rt.Partitions) > 0 {
			resp.Topics = append(resp.Topics, rt)
		}
	}
	reply(x, resp)
}

func addReassignment(rt *kmsg.ListPartitionReassignmentsResponseTopic, p *image.Partition) {
	if len(p.Adding)+len(p.Removing) == 0 {
		return
	}
	rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
	rp.Partition, rp.Replicas, rp.AddingReplicas, rp.RemovingReplicas = p.Index, ids(p.Replicas), ids(p.Adding), ids(p.Removing)
	rt.Partitions = append(rt.Partitions, rp)
}
