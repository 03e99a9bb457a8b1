package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// AlterPartitionReassignments (key 45, v0-1; KIP-455): other replicas for partitions, or, with null, an end to what is under
// way. Answered when it has begun; the controller ends it when the new replicas are in sync.
//
//   - A reassignment of a partition that is being reassigned replaces the one before.
//   - The replication factor may change, unless v1+ says that it may not.
//   - Of a partition that is named twice in one request only the first counts; the second is INVALID_REQUEST.
//   - New replicas must be active brokers that are not being drained. One that has the partition already may be in any state.

func (h *Handler) alterPartitionReassignments(x *wire.Exchange) {
	req := x.Request.(*kmsg.AlterPartitionAssignmentsRequest)
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	ctx, cancel := within(x, req.TimeoutMillis)
	defer cancel()
	keepFactor := x.Version >= 1 && !req.AllowReplicationFactorChange
	var list []changing
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			list = append(list, changing{topic: req.Topics[i].Topic, index: p.Partition, replicas: p.Replicas})
		}
	}
	if len(list) > maxPartitionsPerRequest {
		resp.ErrorCode = kerr.PolicyViolation.Code
		resp.ErrorMessage = message(refuse(kerr.PolicyViolation, "more than %d partitions in one request", maxPartitionsPerRequest))
		reply(x, resp)
		return
	}
	h.change(ctx, list, func(m *image.Image, p *image.Partition, c *changing) (any, error) {
		return assignment(m, p, c.replicas, keepFactor)
	})
	for i := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = req.Topics[i].Topic
		for range req.Topics[i].Partitions {
			c := &list[0]
			list = list[1:]
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.ErrorMessage = c.index, code(c.err), message(c.err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	reply(x, resp)
}

// assignment checks a reassignment; nodes nil cancels.
func assignment(m *image.Image, p *image.Partition, nodes []int32, keepFactor bool) (command.Assignment, error) {
	c := command.Assignment{Partition: p.Partition, Expected: p.PartitionEpoch}
	moving := len(p.Adding)+len(p.Removing) > 0
	if nodes == nil {
		if !moving {
			return c, refuse(kerr.NoReassignmentInProgress, "partition %d is not being reassigned", p.Index)
		}
		return c, nil
	}
	has := func(b kafka.BrokerID) bool { return slices.Contains(p.Replicas, b) }
	target, err := checkReplicas(m, nodes, has)
	if err != nil {
		return c, err
	}
	if factor := len(p.Settled()); keepFactor && len(target) != factor {
		return c, refuse(kerr.InvalidReplicationFactor, "%d replicas where partition %d has %d, and the request does not allow another replication factor", len(target), p.Index, factor)
	}
	c.Target = target
	return c, nil
}
