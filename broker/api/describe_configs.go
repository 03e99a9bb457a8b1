package api

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
)

// DescribeConfigs (key 32, v1-4): every key of a topic, a broker, a group or a client metrics subscription with its value, its source, its synonyms
// (KIP-226) and its documentation (KIP-569). No list of keys, or an empty one, means all.
//
//   - A broker answers for itself; the empty broker name is the cluster's dynamic default, of which only what is set is shown.
//   - A group has configurations before it exists (KIP-848).
//   - Sensitive values are null. Log levels of brokers are not Kafka configurations here: INVALID_REQUEST.

// Kafka's ConfigResource types.
const (
	resourceTopic  = command.ResourceType(2)
	resourceBroker = command.ResourceType(4)
	resourceLogger = command.ResourceType(8)
	resourceClient = command.ResourceType(16)
	resourceGroup  = command.ResourceType(32)
)

func (h *Handler) describeConfigs(x *wire.Exchange) {
	req := x.Request.(*kmsg.DescribeConfigsRequest)
	resp := kmsg.NewPtrDescribeConfigsResponse()
	resp.Resources = make([]kmsg.DescribeConfigsResponseResource, len(req.Resources))
	m := h.quorum.Image()
	described := map[resource]bool{}
	for i := range req.Resources {
		r, rr := &req.Resources[i], &resp.Resources[i]
		*rr = kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		which := resource{command.ResourceType(r.ResourceType), r.ResourceName}
		var entries []config.Entry
		err := error(nil)
		switch {
		case len(req.Resources) > maxResources:
			err = refuse(kerr.InvalidRequest, "more than %d resources in one request", maxResources)
		case described[which]:
			err = refuse(kerr.InvalidRequest, "resource %q is named twice in the request", r.ResourceName)
		default:
			described[which] = true
			entries, err = h.entries(m, which)
		}
		if err != nil {
			rr.ErrorCode, rr.ErrorMessage = code(err), message(err)
			continue
		}
		rr.Configs = describeEntries(entries, r.ConfigNames, req.IncludeSynonyms, req.IncludeDocumentation)
	}
	reply(x, resp)
}

// resource is what configurations belong to.
type resource struct {
	kind command.ResourceType
	name string
}

// entries are all of a resource's configurations.
func (h *Handler) entries(m *image.Image, r resource) ([]config.Entry, error) {
	if r.kind == resourceTopic && internalTopic(r.name) && h.StateLogs != nil {
		return h.Config.DescribeTopic(internalConfigs, nil, nil), nil
	}
	if err := h.checkResource(m, r); err != nil {
		return nil, err
	}
	switch r.kind {
	case resourceTopic:
		return h.Config.DescribeTopic(m.Configs(resourceTopic, r.name), h.dynamicBroker(m), h.dynamicDefault(m)), nil
	case resourceGroup:
		return h.Config.DescribeGroup(m.Configs(resourceGroup, r.name)), nil
	case resourceClient:
		return h.Config.DescribeClientMetrics(m.Configs(resourceClient, r.name)), nil
	}
	if r.name != "" {
		return h.Config.DescribeBroker(h.dynamicBroker(m), h.dynamicDefault(m)), nil
	}
	set := h.dynamicDefault(m)
	var out []config.Entry
	for _, e := range h.Config.DescribeBroker(nil, set) {
		if _, ok := set[e.Key.Name]; ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// checkResource refuses resources that do not exist or have no configurations here.
func (h *Handler) checkResource(m *image.Image, r resource) error {
	switch r.kind {
	case resourceTopic:
		if err := checkTopicName(r.name); err != nil {
			return err
		}
		_, err := topicNamed(m, r.name)
		return err
	case resourceBroker:
		if r.name != "" && r.name != h.nodeName() {
			return refuse(kerr.InvalidRequest, "broker %q was asked of broker %s; the empty name is the cluster's default", r.name, h.nodeName())
		}
		return nil
	case resourceGroup:
		if r.name == "" {
			return refuse(kerr.InvalidRequest, "the default of groups is set in the broker's configuration")
		}
		return nil
	case resourceLogger:
		return refuse(kerr.InvalidRequest, "log levels of brokers are not served as configurations")
	case resourceClient:
		if r.name == "" {
			return refuse(kerr.InvalidRequest, "a client metrics subscription needs a name")
		}
		return nil
	}
	return refuse(kerr.InvalidRequest, "resource type %d is unknown", r.kind)
}

// nodeName is this broker as a resource's name.
func (h *Handler) nodeName() string { return strconv.Itoa(int(h.Node)) }

// dynamicBroker and dynamicDefault are the overrides of this broker and of all brokers.
func (h *Handler) dynamicBroker(m *image.Image) map[string]string {
	return m.Configs(resourceBroker, h.nodeName())
}
func (h *Handler) dynamicDefault(m *image.Image) map[string]string {
	return m.Configs(resourceBroker, "")
}

func describeEntries(entries []config.Entry, names []string, synonyms, docs bool) []kmsg.DescribeConfigsResponseResourceConfig {
	var wanted map[string]bool
	if len(names) > 0 {
		wanted = make(map[string]bool, len(names))
		for _, n := range names {
			wanted[n] = true
		}
	}
	out := make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if wanted != nil && !wanted[e.Key.Name] {
			continue
		}
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.ReadOnly, c.IsSensitive = e.Key.Name, e.Key.ReadOnly, e.Key.Sensitive
		c.Source, c.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Key.Type)
		c.IsDefault = c.Source == kmsg.ConfigSourceDefaultConfig
		c.Value = visible(e.Key, &e.Value)
		if docs {
			c.Documentation = &e.Key.Doc
		}
		if synonyms {
			for j := range e.Synonyms {
				s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
				s.Name, s.Source = e.Synonyms[j].Name, kmsg.ConfigSource(e.Synonyms[j].Source)
				s.Value = visible(e.Key, &e.Synonyms[j].Value)
				c.ConfigSynonyms = append(c.ConfigSynonyms, s)
			}
		}
		out = append(out, c)
	}
	return out
}

// visible hides sensitive values.
func visible(k config.Key, value *string) *string {
	if k.Sensitive {
		return nil
	}
	return value
}
