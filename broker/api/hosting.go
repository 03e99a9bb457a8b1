package api

import (
	"context"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// awaitHosted waits until this broker hosts its part of what was just created, so that a client's next request does not
// meet NOT_LEADER_OR_FOLLOWER. It is a courtesy: the creation stands, whatever becomes of the wait. errs are the outcomes
// of the commands.
func (h *Handler) awaitHosted(ctx context.Context, commands []command.Command, errs []error) {
	for i, c := range commands {
		if errs[i] != nil {
			continue
		}
		var id kafka.TopicID
		var from int32
		var replicas [][]kafka.BrokerID
		switch c := c.(type) {
		case command.CreateTopic:
			id, replicas = c.ID, c.Partitions
		case command.AddPartitions:
			id, from, replicas = c.ID, c.From, c.Replicas
		}
		for j, brokers := range replicas {
			// Followers need not be there yet; the first replica is who leads at the start.
			if brokers[0] != h.Node {
				continue
			}
			p := kafka.Partition{Topic: id, Index: from + int32(j)}
			if err := h.await(ctx, p); err != nil {
				h.Log.Warn("created partition is not hosted yet", "partition", p, "error", err)
				break
			}
		}
	}
}
