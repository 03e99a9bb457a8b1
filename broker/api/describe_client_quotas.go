package api

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/wire"
)

// DescribeClientQuotas (key 48, v0-1, KIP-546): the limits of the entities that match a filter, one component for each type that it speaks of.
//
//   - Strict leaves out entities that have other types too. No component: all, or, strictly, none.
//   - A type that is named twice, a match that does not go with its type, an address together with users or clients → INVALID_REQUEST;
//     a type that there is not → UNSUPPORTED_VERSION.

func (h *Handler) describeClientQuotas(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeClientQuotasRequest)
	resp := kmsg.NewPtrDescribeClientQuotasResponse()
	f, err := filterOf(req)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = code(err), message(err)
		reply(x, resp)
		return
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{} // null is for errors
	quota.Each(h.quorum.Image(), func(e quota.Entity, l quota.Limits) {
		if f.matches(e) {
			resp.Entries = append(resp.Entries, describedQuota(e, l))
		}
	})
	reply(x, resp)
}

func describedQuota(e quota.Entity, l quota.Limits) kmsg.DescribeClientQuotasResponseEntry {
	entry := kmsg.NewDescribeClientQuotasResponseEntry()
	parts := e.Parts()
	for _, kind := range slices.Sorted(maps.Keys(parts)) {
		part := kmsg.NewDescribeClientQuotasResponseEntryEntity()
		part.Type = kind
		if p := parts[kind]; !p.Default {
			part.Name = &p.Name
		}
		entry.Entity = append(entry.Entity, part)
	}
	for _, key := range slices.Sorted(maps.Keys(l)) {
		v := kmsg.NewDescribeClientQuotasResponseEntryValue()
		v.Key, v.Value = key, l[key]
		entry.Values = append(entry.Values, v)
	}
	return entry
}

// quotaFilter is what an entity's parts are to be; a nil name is the default.
type quotaFilter struct {
	strict bool
	exact  map[string]*string
	any    map[string]bool
}

func filterOf(req *kmsg.DescribeClientQuotasRequest) (*quotaFilter, error) {
	f := &quotaFilter{strict: req.Strict, exact: map[string]*string{}, any: map[string]bool{}}
	for i := range req.Components {
		c := &req.Components[i]
		_, again := f.exact[c.EntityType]
		switch {
		case c.EntityType == "":
			return nil, refuse(kerr.InvalidRequest, "a component of the filter has an empty type")
		case again || f.any[c.EntityType]:
			return nil, refuse(kerr.InvalidRequest, "the type %q stands in the filter twice", c.EntityType)
		case c.EntityType != quota.User && c.EntityType != quota.ClientID && c.EntityType != quota.IP:
			return nil, refuse(kerr.UnsupportedVersion, "the type %q is none of %s, %s, %s", c.EntityType, quota.User, quota.ClientID, quota.IP)
		case c.MatchType < kmsg.QuotasMatchTypeExact || c.MatchType > kmsg.QuotasMatchTypeAny:
			return nil, refuse(kerr.InvalidRequest, "match type %d is none: 0 is exact, 1 the default, 2 any", c.MatchType)
		case (c.MatchType == kmsg.QuotasMatchTypeExact) != (c.Match != nil):
			return nil, refuse(kerr.InvalidRequest, "an exact match, and no other, has a name to match: type %q", c.EntityType)
		case c.MatchType == kmsg.QuotasMatchTypeAny:
			f.any[c.EntityType] = true
		default:
			f.exact[c.EntityType] = c.Match
		}
	}
	has := func(kind string) bool { _, ok := f.exact[kind]; return ok || f.any[kind] }
	if has(quota.IP) && (has(quota.User) || has(quota.ClientID)) {
		return nil, refuse(kerr.InvalidRequest, "a filter of an %s does not combine with a %s or a %s", quota.IP, quota.User, quota.ClientID)
	}
	return f, nil
}

func (f *quotaFilter) matches(e quota.Entity) bool {
	parts := e.Parts()
	if f.strict && len(parts) != len(f.exact)+len(f.any) {
		return false
	}
	for kind := range f.any {
		if _, ok := parts[kind]; !ok {
			return false
		}
	}
	for kind, name := range f.exact {
		p, ok := parts[kind]
		if !ok || p.Default != (name == nil) || name != nil && *name != p.Name {
			return false
		}
	}
	return true
}
