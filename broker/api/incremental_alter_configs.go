package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// IncrementalAlterConfigs (key 44, v0-1; KIP-339): SET and DELETE single overrides, APPEND to and SUBTRACT from lists. Appending
// what is there and subtracting what is not change nothing. A list that has no override begins as its effective value.

func (h *Handler) incrementalAlterConfigs(x *wire.Exchange) {
	req := x.Request.(*kmsg.IncrementalAlterConfigsRequest)
	edits := make([]configEdit, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		edits[i].resource = resource{command.ResourceType(r.ResourceType), r.ResourceName}
		edits[i].apply = func(m *image.Image, current map[string]string) (map[string]string, error) {
			return h.changed(m, r, current)
		}
	}
	errs := h.alter(x, edits, req.ValidateOnly)
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	resp.Resources = make([]kmsg.IncrementalAlterConfigsResponseResource, len(req.Resources))
	for i := range req.Resources {
		rr := &resp.Resources[i]
		*rr = kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		rr.ErrorCode, rr.ErrorMessage = code(errs[i]), message(errs[i])
	}
	reply(x, resp)
}

// changed applies one resource's operations to its overrides.
func (h *Handler) changed(m *image.Image, r *kmsg.IncrementalAlterConfigsRequestResource, current map[string]string) (map[string]string, error) {
	next := maps.Clone(current)
	if next == nil {
		next = map[string]string{}
	}
	seen := map[string]bool{}
	for i := range r.Configs {
		c := &r.Configs[i]
		switch {
		case seen[c.Name]:
			return nil, refuse(kerr.InvalidRequest, "configuration %q is changed twice in the request", c.Name)
		case c.Value == nil && c.Op != kmsg.IncrementalAlterConfigOpDelete:
			return nil, refuse(kerr.InvalidRequest, "configuration %q has a null value", c.Name)
		}
		seen[c.Name] = true
		switch c.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			next[c.Name] = *c.Value
		case kmsg.IncrementalAlterConfigOpDelete:
			if err := checkDeletable(scope(command.ResourceType(r.ResourceType)), c.Name, current); err != nil {
				return nil, err
			}
			delete(next, c.Name)
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			list, err := h.editList(m, r, c, current)
			if err != nil {
				return nil, err
			}
			next[c.Name] = list
		default:
			return nil, refuse(kerr.InvalidRequest, "operation %d on configuration %q is unknown", c.Op, c.Name)
		}
	}
	return next, nil
}

// checkDeletable refuses to delete a key that nobody knows; an override that an older version left behind may go.
func checkDeletable(s config.Scope, name string, current map[string]string) error {
	if _, set := current[name]; set {
		return nil
	}
	if _, ok := config.Lookup(s, name); !ok {
		return unknownConfig(s, name)
	}
	return nil
}

// editList appends to or subtracts from a list.
func (h *Handler) editList(m *image.Image, r *kmsg.IncrementalAlterConfigsRequestResource, c *kmsg.IncrementalAlterConfigsRequestResourceConfig, current map[string]string) (string, error) {
	which := resource{command.ResourceType(r.ResourceType), r.ResourceName}
	k, ok := config.Lookup(scope(which.kind), c.Name)
	if !ok {
		return "", unknownConfig(scope(which.kind), c.Name)
	}
	if kmsg.ConfigType(k.Type) != kmsg.ConfigTypeList {
		return "", refuse(kerr.InvalidConfig, "configuration %q is not a list, which APPEND and SUBTRACT need", c.Name)
	}
	value, set := current[c.Name]
	if !set {
		entries, err := h.entries(m, which)
		if err != nil {
			return "", err
		}
		value = k.Default
		for i := range entries {
			if entries[i].Key.Name == c.Name {
				value = entries[i].Value
			}
		}
	}
	items := splitList(value)
	for _, item := range splitList(*c.Value) {
		at := slices.Index(items, item)
		switch {
		case c.Op == kmsg.IncrementalAlterConfigOpAppend && at < 0:
			items = append(items, item)
		case c.Op == kmsg.IncrementalAlterConfigOpSubtract && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return strings.Join(items, ","), nil
}

// splitList reads Kafka's spelling of a list: commas, space around items ignored.
func splitList(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
