package api

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// AlterClientQuotas (key 49, v0-1): every entity has its own outcome; INVALID_REQUEST when it, a key or a value cannot be.

func (h *Handler) alterClientQuotas(x *wire.Exchange) {
	req := x.Request.(*kmsg.AlterClientQuotasRequest)
	ctx, cancel := within(x, maxConfigWaitMs)
	defer cancel()
	p := proposals{errs: make([]error, len(req.Entries))}
	times := map[quota.Entity]int{}
	entities := make([]quota.Entity, len(req.Entries))
	for i := range req.Entries {
		if entities[i], p.errs[i] = quotaEntity(req.Entries[i].Entity); p.errs[i] == nil {
			times[entities[i]]++
		}
	}
	m := h.quorum.Image()
	for i := range req.Entries {
		switch {
		case p.errs[i] != nil:
		case len(req.Entries) > maxResources:
			p.errs[i] = refuse(kerr.InvalidRequest, "more than %d entities in one request", maxResources)
		case times[entities[i]] > 1:
			p.errs[i] = refuse(kerr.InvalidRequest, "entity %q is named twice in the request", entities[i].Resource())
		default:
			var c command.SetConfigs
			if c, p.errs[i] = alteredQuota(m, entities[i], req.Entries[i].Ops); p.errs[i] == nil && !req.ValidateOnly && len(c.Set)+len(c.Delete) > 0 {
				p.add(i, c)
			}
		}
	}
	if len(p.commands) > 0 {
		h.carryOut(ctx, &p)
	}
	resp := kmsg.NewPtrAlterClientQuotasResponse()
	for i := range req.Entries {
		entry := kmsg.NewAlterClientQuotasResponseEntry()
		entry.ErrorCode, entry.ErrorMessage = code(p.errs[i]), message(p.errs[i])
		for _, part := range req.Entries[i].Entity {
			named := kmsg.NewAlterClientQuotasResponseEntryEntity()
			named.Type, named.Name = part.Type, part.Name
			entry.Entity = append(entry.Entity, named)
		}
		resp.Entries = append(resp.Entries, entry)
	}
	reply(x, resp)
}

func quotaEntity(parts []kmsg.AlterClientQuotasRequestEntryEntity) (e quota.Entity, err error) {
	for i := range parts {
		var to *quota.Part
		switch parts[i].Type {
		case quota.User:
			to = &e.User
		case quota.ClientID:
			to = &e.Client
		case quota.IP:
			to = &e.IP
		default:
			return e, refuse(kerr.InvalidRequest, "the type %q is none of %s, %s, %s", parts[i].Type, quota.User, quota.ClientID, quota.IP)
		}
		if to.Set {
			return e, refuse(kerr.InvalidRequest, "the type %q is given twice", parts[i].Type)
		}
		*to = quota.Part{Set: true, Default: parts[i].Name == nil}
		if parts[i].Name != nil {
			to.Name = *parts[i].Name
		}
	}
	if err := e.Check(); err != nil {
		return e, refuse(kerr.InvalidRequest, "%v", err)
	}
	return e, nil
}

// alteredQuota is the command that carries out the changes of one entity's limits. Each is absolute, so nothing is read that another request
// could change meanwhile; what is removed and not there is no change.
func alteredQuota(m *image.Image, e quota.Entity, ops []kmsg.AlterClientQuotasRequestEntryOp) (command.SetConfigs, error) {
	c := command.SetConfigs{Type: command.ClientQuota, Name: e.Resource(), Set: map[string]string{}}
	seen := map[string]bool{}
	for i := range ops {
		op := &ops[i]
		var err error
		switch {
		case seen[op.Key]:
			err = fmt.Errorf("%q is given twice", op.Key)
		case op.Remove:
			if !slices.Contains(e.Keys(), op.Key) {
				err = fmt.Errorf("%q is no quota of this entity; there are %v", op.Key, e.Keys())
			} else if _, set := m.Configs(command.ClientQuota, c.Name)[op.Key]; set {
				c.Delete = append(c.Delete, op.Key)
			}
		default:
			if err = e.CheckValue(op.Key, op.Value); err == nil {
				c.Set[op.Key] = quota.Format(op.Value)
			}
		}
		if err != nil {
			return c, refuse(kerr.InvalidRequest, "%v", err)
		}
		seen[op.Key] = true
	}
	return c, nil
}
