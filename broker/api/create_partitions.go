package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// CreatePartitions (key 37, v0-3; KIP-195): grows topics to a total count. Fewer or as many as there are →
// INVALID_PARTITIONS. A manual assignment lists the replicas of the new partitions only. v3+ refuses
// what goes beyond controller_mutation_rate (KIP-599).

const createPartitionsQuotaVersion = 3

func (h *Handler) createPartitions(x *wire.Exchange) {
	req := x.Request.(*kmsg.CreatePartitionsRequest)
	resp := kmsg.NewPtrCreatePartitionsResponse()
	resp.Topics = make([]kmsg.CreatePartitionsResponseTopic, len(req.Topics))
	m := h.quorum.Image()
	brokers := controller.Takers(m)
	times := map[string]int{}
	for i := range req.Topics {
		times[req.Topics[i].Topic]++
	}
	p := proposals{errs: make([]error, len(req.Topics))}
	room, quota := maxPartitionsPerRequest, h.mutations(x, createPartitionsQuotaVersion)
	for i := range req.Topics {
		t := &req.Topics[i]
		var c command.AddPartitions
		if times[t.Topic] > 1 {
			p.errs[i] = refuse(kerr.InvalidRequest, "topic %q is named twice in the request", t.Topic)
		} else {
			c, p.errs[i] = growth(m, brokers, t, room)
		}
		room -= len(c.Replicas)
		if p.errs[i] == nil && !req.ValidateOnly {
			p.errs[i] = quota.admit(len(c.Replicas))
		}
		if p.errs[i] == nil && !req.ValidateOnly {
			p.add(i, c)
		}
	}
	if len(p.commands) > 0 {
		ctx, cancel := within(x, req.TimeoutMillis)
		defer cancel()
		h.awaitHosted(ctx, p.commands, h.carryOut(ctx, &p))
	}
	for i := range req.Topics {
		resp.Topics[i] = kmsg.NewCreatePartitionsResponseTopic()
		resp.Topics[i].Topic = req.Topics[i].Topic
		resp.Topics[i].ErrorCode, resp.Topics[i].ErrorMessage = code(p.errs[i]), message(p.errs[i])
	}
	reply(x, resp)
}

// growth plans one topic's new partitions; room is how many this request may still create.
func growth(m *image.Image, brokers []kafka.BrokerID, t *kmsg.CreatePartitionsRequestTopic, room int) (command.AddPartitions, error) {
	var c command.AddPartitions
	topic, err := topicNamed(m, t.Topic)
	if err != nil {
		return c, err
	}
	if t.Count <= topic.Partitions {
		return c, refuse(kerr.InvalidPartitions, "topic %q has %d partitions; %d is not more", t.Topic, topic.Partitions, t.Count)
	}
	more := int(t.Count) - int(topic.Partitions)
	if more > room {
		return c, refuse(kerr.PolicyViolation, "more than %d partitions in one request", maxPartitionsPerRequest)
	}
	factor := 1
	if first, ok := m.Partition(kafka.Partition{Topic: topic.ID}); ok {
		factor = len(first.Replicas) - len(first.Removing)
	}
	c.ID, c.From = topic.ID, topic.Partitions
	if t.Assignment == nil {
		c.Replicas, err = place(m, brokers, more, factor)
		return c, err
	}
	if len(t.Assignment) != more {
		return c, refuse(kerr.InvalidReplicaAssignment, "%d assignments for %d new partitions", len(t.Assignment), more)
	}
	replicas := make([][]kafka.BrokerID, more)
	for i := range t.Assignment {
		if replicas[i], err = checkReplicas(m, t.Assignment[i].Replicas, nil); err != nil {
			return c, err
		}
		if len(replicas[i]) != factor {
			return c, refuse(kerr.InvalidReplicaAssignment, "%d replicas where the topic has %d", len(replicas[i]), factor)
		}
	}
	c.Replicas = replicas
	return c, nil
}
