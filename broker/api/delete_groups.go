package api

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// DeleteGroups (key 42, v0-3): empty groups and their offsets are removed; answered when that is applied.
// NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND are per group. v3+ has messages.

func (h *Handler) deleteGroups(x *wire.Exchange) {
	req := x.Request.(*kmsg.DeleteGroupsRequest)
	resp := kmsg.NewPtrDeleteGroupsResponse()
	names := once(req.Groups) // the second time it would not be there any more
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(names))
	var left atomic.Int64
	left.Store(int64(len(names)) + 1)
	done := func() {
		if left.Add(-1) == 0 {
			reply(x, resp)
		}
	}
	for i, name := range names {
		out := &resp.Groups[i]
		out.Default()
		out.Group = name
		h.Groups.Delete(name, func(err error) {
			out.ErrorCode, out.ErrorMessage = code(err), message(err)
			done()
		})
	}
	done()
}
