package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// FindCoordinator (key 10, v0-6): which broker coordinates a group, or a transactional id.
//
//   - The image places the groups' shards on brokers. One that is fenced, or on its way out, coordinates nothing for long:
//     COORDINATOR_NOT_AVAILABLE, upon which clients ask again. v4+ asks for several keys at once (KIP-699).
//   - Transactional ids lie in the same shards as groups.
//   - Share groups are coordinated as all groups are. What Kafka's brokers ask of the coordinator of a share's state lies with the partition's
//     leader here: there is no such coordinator, and as for any kind that is not served, INVALID_REQUEST has clients give up with a message, where
//     COORDINATOR_NOT_AVAILABLE would make them wait for what does not come.

// Kinds of coordinators, the request's CoordinatorType.
const (
	groupCoordinator       = 0
	transactionCoordinator = 1
	shareCoordinator       = 2
)

func (h *Handler) findCoordinator(x *wire.Exchange) {
	req := x.Request.(*kmsg.FindCoordinatorRequest)
	resp := kmsg.NewPtrFindCoordinatorResponse()
	h.settle(x)
	if x.Version < 4 {
		c := h.coordinatorOf(h.quorum.Image(), x, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = c.NodeID, c.Host, c.Port
		reply(x, resp)
		return
	}
	m := h.quorum.Image()
	resp.Coordinators = make([]kmsg.FindCoordinatorResponseCoordinator, len(req.CoordinatorKeys))
	for i, key := range req.CoordinatorKeys {
		resp.Coordinators[i] = h.coordinatorOf(m, x, req.CoordinatorType, key)
	}
	reply(x, resp)
}

func (h *Handler) coordinatorOf(m *image.Image, x *wire.Exchange, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	err := h.servedCoordinator(kind)
	if err == nil {
		at := m.Coordinator(image.CoordinatorShard(key)).Broker
		if b, ok := m.Broker(at); ok && b.State == command.Active {
			if host, port, ok := endpoint(b, listener(x)); ok {
				c.NodeID, c.Host, c.Port = int32(b.ID), host, port
				return c
			}
		}
		err = refuse(kerr.CoordinatorNotAvailable, "%q has no coordinator at the moment", key)
	}
	c.ErrorCode, c.ErrorMessage = code(err), message(err)
	return c
}

func (h *Handler) servedCoordinator(kind int8) error {
	switch kind {
	case groupCoordinator:
		return nil
	case transactionCoordinator:
		if h.Transactions == nil {
			return refuse(kerr.InvalidRequest, "transactions are not served")
		}
		return h.transacts()
	case shareCoordinator:
		return refuse(kerr.InvalidRequest, "the state of shares is with the partitions' leaders: share groups have the coordinators of groups")
	}
	return refuse(kerr.InvalidRequest, "there is no coordinator of type %d", kind)
}
