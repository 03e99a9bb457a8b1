package api

import (
	"slices"
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
		for _, g := range groups {
			if !named(req.StatesFilter, g.State) || !named(req.TypesFilter, g.Type) {
				continue
			}
			resp.Groups = append(resp.Groups, listedGroup(g))
		}
	}
	reply(x, resp)
}

func listedGroup(g coordinator.Listed) kmsg.ListGroupsResponseGroup {
	out := kmsg.NewListGroupsResponseGroup()
	out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.Name, g.ProtocolType, g.State, g.Type
	return out
}

// named tells whether a filter lets a name through; an empty filter lets everything.
func named(filter []string, name string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(strings.TrimSpace(f), name) })
}
