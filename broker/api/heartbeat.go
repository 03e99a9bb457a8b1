package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire"
)

// Heartbeat (key 12, v0-4): a member of a classic group is alive. REBALANCE_IN_PROGRESS tells it to join again; its
// session is kept all the same.

func (h *Handler) heartbeat(x *wire.Exchange) {
	req := x.Request.(*kmsg.HeartbeatRequest)
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = code(h.Groups.Heartbeat(req.Group, group.Identity{
		MemberID: req.MemberID, InstanceID: deref(req.InstanceID), Generation: req.Generation,
	}))
	reply(x, resp)
}
