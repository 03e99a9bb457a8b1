package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire"
)

// LeaveGroup (key 13, v0-5): members leave a classic group at once, instead of by the end of their sessions.
//
//   - v0-2 is one member's, and its error is the response's. v3+ is a batch, with an error for each; an instance id
//     without a member id is an administrator removing a static member (KIP-345). v5+: reasons (KIP-800).

func (h *Handler) leaveGroup(x *wire.Exchange) {
	req := x.Request.(*kmsg.LeaveGroupRequest)
	resp := kmsg.NewPtrLeaveGroupResponse()
	leavers := []group.Leaver{{MemberID: req.MemberID}}
	if x.Version >= 3 {
		leavers = make([]group.Leaver, len(req.Members))
		for i := range req.Members {
			m := &req.Members[i]
			leavers[i] = group.Leaver{MemberID: m.MemberID, InstanceID: deref(m.InstanceID), Reason: deref(m.Reason)}
		}
	}
	each, err := h.Groups.Leave(req.Group, leavers)
	switch {
	case err != nil:
		resp.ErrorCode = code(err)
	case x.Version < 3:
		resp.ErrorCode = code(each[0])
	default:
		resp.Members = make([]kmsg.LeaveGroupResponseMember, len(each))
		for i, err := range each {
			m := kmsg.NewLeaveGroupResponseMember()
			m.MemberID, m.InstanceID, m.ErrorCode = req.Members[i].MemberID, req.Members[i].InstanceID, code(err)
			resp.Members[i] = m
		}
	}
	reply(x, resp)
}
