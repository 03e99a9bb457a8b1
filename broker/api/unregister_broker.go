package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// UnregisterBroker (key 64, v0; KIP-631): a broker that is gone for good is forgotten, by the image and by the metadata
// quorum. One that is not stopped, or still has replicas, is refused with INVALID_REQUEST: it would be missed.

// adminWaitMs bounds requests that carry no timeout of their own.
const adminWaitMs = 30_000

func (h *Handler) unregisterBroker(x *wire.Exchange) {
	req := x.Request.(*kmsg.UnregisterBrokerRequest)
	resp := kmsg.NewPtrUnregisterBrokerResponse()
	ctx, cancel := within(x, adminWaitMs)
	defer cancel()
	node := kafka.BrokerID(req.BrokerID)
	_, err := h.quorum.Propose(ctx, command.UnregisterBroker{ID: node})
	if err == nil && h.Dismiss != nil {
		err = h.Dismiss(ctx, node)
	}
	resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
	reply(x, resp)
}
