package api

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// AlterConfigs (key 33, v0-2): replaces all of a resource's overrides by those given; what is not named returns to its
// default. Old tools use it; IncrementalAlterConfigs is the one without surprises. Here too lies what both share.

func (h *Handler) alterConfigs(x *wire.Exchange) {
	req := x.Request.(*kmsg.AlterConfigsRequest)
	edits := make([]configEdit, len(req.Resources))
	for i := range req.Resources {
		r := &req.Resources[i]
		edits[i].resource = resource{command.ResourceType(r.ResourceType), r.ResourceName}
		edits[i].apply = func(m *image.Image, current map[string]string) (map[string]string, error) {
			return replaced(r)
		}
	}
	errs := h.alter(x, edits, req.ValidateOnly)
	resp := kmsg.NewPtrAlterConfigsResponse()
	resp.Resources = make([]kmsg.AlterConfigsResponseResource, len(req.Resources))
	for i := range req.Resources {
		rr := &resp.Resources[i]
		*rr = kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		rr.ErrorCode, rr.ErrorMessage = code(errs[i]), message(errs[i])
	}
	reply(x, resp)
}

// replaced is the whole of a resource's overrides as an AlterConfigs request gives them.
func replaced(r *kmsg.AlterConfigsRequestResource) (map[string]string, error) {
	out := make(map[string]string, len(r.Configs))
	for i := range r.Configs {
		c := &r.Configs[i]
		if c.Value == nil {
			return nil, refuse(kerr.InvalidRequest, "configuration %q has a null value", c.Name)
		}
		if _, again := out[c.Name]; again {
			return nil, refuse(kerr.InvalidRequest, "configuration %q is given twice", c.Name)
		}
		out[c.Name] = *c.Value
	}
	return out, nil
}

// configEdit is one resource's change: apply computes the overrides that shall be from those that are.
type configEdit struct {
	resource resource
	apply    func(m *image.Image, current map[string]string) (map[string]string, error)
}

// maxConfigWaitMs bounds the wait for the quorum; the requests carry no timeout.
const maxConfigWaitMs = 30_000

// alter validates every edit on its own and proposes the valid ones together. Edits read, compute and write: on this broker
// one request does so at a time, and the others wait no longer than they would for the quorum.
func (h *Handler) alter(x *wire.Exchange, edits []configEdit, validateOnly bool) []error {
	ctx, cancel := within(x, maxConfigWaitMs)
	defer cancel()
	p := proposals{errs: make([]error, len(edits))}
	select {
	case h.configs <- struct{}{}:
		defer func() { <-h.configs }()
	case <-ctx.Done():
		for i := range p.errs {
			p.errs[i] = ctx.Err()
		}
		return p.errs
	}
	m := h.quorum.Image()
	times := map[resource]int{}
	for i := range edits {
		times[edits[i].resource]++
	}
	for i := range edits {
		switch e := &edits[i]; {
		case len(edits) > maxResources:
			p.errs[i] = refuse(kerr.InvalidRequest, "more than %d resources in one request", maxResources)
		case times[e.resource] > 1:
			p.errs[i] = refuse(kerr.InvalidRequest, "resource %q is named twice in the request", e.resource.name)
		default:
			var c command.SetConfigs
			if c, p.errs[i] = h.edited(m, e); p.errs[i] == nil && !validateOnly && len(c.Set)+len(c.Delete) > 0 {
				p.add(i, c)
			}
		}
	}
	if len(p.commands) > 0 {
		h.carryOut(ctx, &p)
	}
	return p.errs
}

// edited is the command that carries out one edit, if what results is valid.
func (h *Handler) edited(m *image.Image, e *configEdit) (command.SetConfigs, error) {
	c := command.SetConfigs{Type: e.resource.kind, Name: e.resource.name}
	if err := h.checkResource(m, e.resource); err != nil {
		return c, err
	}
	current := m.Configs(e.resource.kind, e.resource.name)
	next, err := e.apply(m, current)
	if err != nil {
		return c, err
	}
	s := scope(e.resource.kind)
	c.Set = map[string]string{}
	for name, value := range next {
		if old, set := current[name]; set && old == value {
			continue
		}
		if err := checkConfig(s, name, value); err != nil {
			return c, err
		}
		c.Set[name] = value
	}
	for name := range current {
		if _, stays := next[name]; !stays {
			c.Delete = append(c.Delete, name)
		}
	}
	changed := append(slices.Collect(maps.Keys(c.Set)), c.Delete...)
	switch e.resource.kind {
	case resourceTopic:
		err = h.Config.ValidateTopic(changed, next, h.dynamicBroker(m), h.dynamicDefault(m))
	case resourceBroker:
		ofBroker, ofAll := h.dynamicBroker(m), next
		if e.resource.name != "" {
			ofBroker, ofAll = next, h.dynamicDefault(m)
		}
		err = h.Config.ValidateDefaults(changed, ofBroker, ofAll)
	case resourceGroup:
		err = h.Config.CheckGroup(c.Set, next)
	}
	if err != nil {
		return c, refuse(badValue(s), "%v", err)
	}
	return c, nil
}

// scope is where a resource's keys are registered.
func scope(t command.ResourceType) config.Scope {
	switch t {
	case resourceTopic:
		return config.TopicScope
	case resourceGroup:
		return config.GroupScope
	case resourceClient:
		return config.ClientMetricsScope
	}
	return config.BrokerScope
}

// badValue is the error for a value that a scope does not take, as in Kafka.
func badValue(s config.Scope) *kerr.Error {
	if s == config.TopicScope || s == config.GroupScope {
		return kerr.InvalidConfig
	}
	return kerr.InvalidRequest
}

// unknownConfig refuses a key that is none, and names the one that may have been meant. (Kafka takes any for a broker.)
func unknownConfig(s config.Scope, name string) error {
	wrong := kerr.InvalidConfig
	if s == config.ClientMetricsScope {
		wrong = kerr.InvalidRequest
	}
	if nearest := config.Nearest(s, name); nearest != "" {
		return refuse(wrong, "configuration %q is unknown; the nearest is %q", name, nearest)
	}
	return refuse(wrong, "configuration %q is unknown", name)
}

// checkConfig checks one assignment: the key is known and may change while running, the value is valid.
func checkConfig(s config.Scope, name, value string) error {
	k, ok := config.Lookup(s, name)
	switch {
	case !ok:
		return unknownConfig(s, name)
	case k.ReadOnly:
		return refuse(kerr.InvalidRequest, "configuration %q is read-only: it is set in the broker's file and needs a restart", name)
	}
	if err := config.Validate(s, name, value); err != nil {
		return refuse(badValue(s), "%v", err)
	}
	return nil
}
