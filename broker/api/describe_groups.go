package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire"
)

// DescribeGroups (key 15, v0-6): state and members of classic groups.
//
//   - A group that does not exist is Dead without an error; from v6 on GROUP_ID_NOT_FOUND (KIP-1043).
//   - Metadata and assignments are shown while the group is Stable.
//   - Authorized operations: see authorized_operations.go.

func (h *Handler) describeGroups(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeGroupsRequest)
	resp := kmsg.NewPtrDescribeGroupsResponse()
	names := once(req.Groups)
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(names))
	for i, name := range names {
		d, err := h.Groups.Describe(name)
		resp.Groups[i] = describedGroup(x.Version, name, d, err)
		if resp.Groups[i].ErrorCode == 0 {
			resp.Groups[i].AuthorizedOperations = operations(req.IncludeAuthorizedOperations, groupOperations)
		}
	}
	reply(x, resp)
}

func describedGroup(version int16, name string, d group.Description, err error) kmsg.DescribeGroupsResponseGroup {
	out := kmsg.NewDescribeGroupsResponseGroup()
	out.Group, out.AuthorizedOperations = name, unauthorized
	if errors.Is(err, group.ErrNotFound) {
		out.State = group.Dead.String()
		if version < 6 {
			return out
		}
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = code(err), message(err)
		return out
	}
	out.State, out.ProtocolType, out.Protocol = d.State.String(), d.Type, d.Protocol
	out.Members = make([]kmsg.DescribeGroupsResponseGroupMember, len(d.Members))
	for i, m := range d.Members {
		om := kmsg.NewDescribeGroupsResponseGroupMember()
		om.MemberID, om.InstanceID, om.ClientID, om.ClientHost = m.ID, nullable(m.InstanceID), m.ClientID, m.ClientHost
		om.ProtocolMetadata, om.MemberAssignment = m.Metadata, m.Assignment
		out.Members[i] = om
	}
	return out
}
