package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire"
)

// JoinGroup (key 11, v0-9): a member asks into a classic group and waits for its next generation.
//
//   - v0 has no rebalance timeout: the session timeout stands in (KIP-62).
//   - v4+: a dynamic member's first join is answered with MEMBER_ID_REQUIRED and an id to come back with (KIP-394).
//   - v5+: static members (KIP-345). v8+: the reason, for the log (KIP-800). v9+: SkipAssignment (KIP-814).
//   - The answer is parked until the join phase ends, which the slowest member decides, within its rebalance timeout.

func (h *Handler) joinGroup(x *wire.Exchange) {
	req := x.Request.(*kmsg.JoinGroupRequest)
	r := group.JoinRequest{
		MemberID:       req.MemberID,
		InstanceID:     deref(req.InstanceID),
		ClientID:       x.ClientID,
		ClientHost:     clientHost(x),
		Session:        millis(req.SessionTimeoutMillis),
		Rebalance:      millis(req.RebalanceTimeoutMillis),
		Type:           req.ProtocolType,
		Protocols:      make([]group.Protocol, len(req.Protocols)),
		Reason:         deref(req.Reason),
		RequireKnownID: x.Version >= 4,
		SkipAssignment: x.Version >= 9,
	}
	if x.Version == 0 {
		r.Rebalance = r.Session
	}
	for i := range req.Protocols {
		r.Protocols[i] = group.Protocol{Name: req.Protocols[i].Name, Metadata: req.Protocols[i].Metadata}
	}
	h.Groups.Join(req.Group, r, func(j group.JoinResult) { reply(x, joinResponse(j)) })
}

func joinResponse(j group.JoinResult) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.Generation, resp.MemberID = code(j.Err), j.Generation, j.MemberID
	if j.Err != nil {
		return resp
	}
	resp.ProtocolType, resp.Protocol = &j.Type, &j.Protocol
	resp.LeaderID, resp.SkipAssignment = j.Leader, j.SkipAssignment
	resp.Members = make([]kmsg.JoinGroupResponseMember, len(j.Members))
	for i, m := range j.Members {
		jm := kmsg.NewJoinGroupResponseMember()
		jm.MemberID, jm.InstanceID, jm.ProtocolMetadata = m.ID, nullable(m.InstanceID), m.Metadata
		resp.Members[i] = jm
	}
	return resp
}

// deref is a nullable string's value; null is "".
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nullable is null for "".
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// clientHost is the client's address as Kafka's tools show it: a slash, then the IP address.
func clientHost(x *wire.Exchange) string {
	if x.Client == nil || x.Client.Addr == nil {
		return ""
	}
	return "/" + hostOf(x.Client.Addr)
}
