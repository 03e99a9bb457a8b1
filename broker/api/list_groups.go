package api

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/wire"
)

// ListGroups (key 16, v0-5): every group that this broker coordinates. v4+ filters by state (KIP-518), v5+ by type
// (KIP-848), both whatever the case; an unknown state or type matches nothing.

func (h *Handler) listGroups(x *wire.Exchange) {
	req := x.Request.(*kmsg.ListGroupsRequest)
	resp := kmsg.NewPtrListGroupsResponse()
	groups, err := h.Groups.List()
	resp.ErrorCode = code(err)
	if err == nil {
		states, types := distinctOf(plain(req.StatesFilter)), distinctOf(plain(req.TypesFilter))
		for _, g := range groups {
			if states.passes(strings.ToLower(g.State)) && types.passes(strings.ToLower(g.Type)) {
				resp.Groups = append(resp.Groups, listedGroup(g))
			}
		}
	}
	reply(x, resp)
}

func listedGroup(g coordinator.Listed) kmsg.ListGroupsResponseGroup {
	out := kmsg.NewListGroupsResponseGroup()
	out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.Name, g.ProtocolType, g.State, g.Type
	return out
}

// plain are names as they are compared, whatever their case.
func plain(names []string) []string {
	for i, n := range names {
		names[i] = strings.ToLower(strings.TrimSpace(n))
	}
	return names
}
