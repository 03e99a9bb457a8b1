package api

import (
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire"
)

// SyncGroup (key 14, v0-5): the leader brings the assignment of a generation, every member fetches its part.
//
//   - Parked until the leader's assignment is durable: members of a group that a broker has lost and found again go on.
//   - v3+: static members. v5+: protocol type and name must be there, and the group's (KIP-559): INCONSISTENT_GROUP_PROTOCOL.

func (h *Handler) syncGroup(x *wire.Exchange) {
	req := x.Request.(*kmsg.SyncGroupRequest)
	if x.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		resp := kmsg.NewPtrSyncGroupResponse()
		resp.ErrorCode = code(group.ErrInconsistentProtocol)
		reply(x, resp)
		return
	}
	r := group.SyncRequest{
		MemberID:    req.MemberID,
		InstanceID:  deref(req.InstanceID),
		Generation:  req.Generation,
		Type:        req.ProtocolType,
		Protocol:    req.Protocol,
		Assignments: make([]group.Assignment, len(req.GroupAssignment)),
	}
	for i := range req.GroupAssignment {
		a := &req.GroupAssignment[i]
		r.Assignments[i] = group.Assignment{MemberID: a.MemberID, Data: a.MemberAssignment}
	}
	h.Groups.Sync(req.Group, r, func(s group.SyncResult) {
		resp := kmsg.NewPtrSyncGroupResponse()
		resp.ErrorCode, resp.MemberAssignment = code(s.Err), s.Assignment
		if s.Err == nil {
			resp.ProtocolType, resp.Protocol = &s.Type, &s.Protocol
		}
		reply(x, resp)
	})
}

// hostOf is an address without its port.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil { // no port: a test's pipe
		return a.String()
	}
	return host
}
