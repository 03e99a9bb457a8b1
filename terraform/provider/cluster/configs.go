package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Resource is what configurations are set on.
type Resource struct {
	Kind kmsg.ConfigResourceType
	Name string // of a topic; a broker's id, or "" for all of them
}

func (r Resource) String() string {
	switch {
	case r.Kind == kmsg.ConfigResourceTypeTopic:
		return "topic " + r.Name
	case r.Name == "":
		return "all brokers"
	}
	return "broker " + r.Name
}

// TopicResource, BrokerResource and AllBrokers name resources.
func TopicResource(name string) Resource {
	return Resource{kmsg.ConfigResourceTypeTopic, name}
}

// BrokerResource is one broker.
func BrokerResource(id int64) Resource {
	return Resource{kmsg.ConfigResourceTypeBroker, fmt.Sprint(id)}
}

// AllBrokers is the default of all brokers.
var AllBrokers = Resource{kmsg.ConfigResourceTypeBroker, ""}

// Change is a difference of configurations: what is set, and what goes back to its default.
type Change struct {
	Set    map[string]string
	Delete []string
}

// Difference is what makes next of before, for the keys that either of them names.
func Difference(before, next map[string]string) Change {
	d := Change{Set: map[string]string{}}
	for k, v := range next {
		if old, ok := before[k]; !ok || old != v {
			d.Set[k] = v
		}
	}
	for _, k := range sortedKeys(before) {
		if _, ok := next[k]; !ok {
			d.Delete = append(d.Delete, k)
		}
	}
	return d
}

// Empty says that there is nothing to change.
func (d Change) Empty() bool { return len(d.Set) == 0 && len(d.Delete) == 0 }

// Alter changes configurations, and nothing that the change does not name. With checkOnly it asks whether the cluster would.
func (c *Cluster) Alter(ctx context.Context, r Resource, d Change, checkOnly bool) error {
	if d.Empty() {
		return nil
	}
	if r.Kind == kmsg.ConfigResourceTypeTopic && !checkOnly {
		defer c.view.forget(r.Name)
	}
	one := kmsg.NewIncrementalAlterConfigsRequestResource()
	one.ResourceType, one.ResourceName = r.Kind, r.Name
	add := func(op kmsg.IncrementalAlterConfigOp, name string, value *string) {
		e := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		e.Op, e.Name, e.Value = op, name, value
		one.Configs = append(one.Configs, e)
	}
	for _, k := range sortedKeys(d.Set) {
		add(kmsg.IncrementalAlterConfigOpSet, k, kmsg.StringPtr(d.Set[k]))
	}
	for _, k := range d.Delete {
		add(kmsg.IncrementalAlterConfigOpDelete, k, nil)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources, req.ValidateOnly = []kmsg.IncrementalAlterConfigsRequestResource{one}, checkOnly
	what := "configure " + r.String()
	resp, err := request[*kmsg.IncrementalAlterConfigsResponse](ctx, c, req)
	if err != nil {
		return failed(what, err, nil)
	}
	for _, a := range resp.Resources {
		if err := coded(what, a.ErrorCode, a.ErrorMessage); err != nil {
			return err
		}
	}
	if checkOnly {
		return nil
	}
	return c.awaitConfigs(ctx, r, d)
}

// awaitConfigs returns when every broker that has to do with it shows a change.
func (c *Cluster) awaitConfigs(ctx context.Context, r Resource, d Change) error {
	source := r.source()
	names := append(sortedKeys(d.Set), d.Delete...)
	return c.onEveryBroker(ctx, "see the configuration of "+r.String()+" on every broker", func(ctx context.Context, id int32, b *kgo.Broker) bool {
		if r.Kind == kmsg.ConfigResourceTypeBroker && r.Name != "" && r.Name != fmt.Sprint(id) {
			return true
		}
		resp, err := b.Request(ctx, r.describe(names))
		if err != nil {
			return false
		}
		shown := map[string]string{}
		for _, a := range resp.(*kmsg.DescribeConfigsResponse).Resources {
			for _, e := range a.Configs {
				if e.Source == source && e.Value != nil {
					shown[e.Name] = *e.Value
				} else if e.Source == source && e.IsSensitive {
					shown[e.Name] = d.Set[e.Name]
				}
			}
		}
		return Difference(shown, d.Set).Empty()
	})
}

// source marks what was set on the resource itself.
func (r Resource) source() kmsg.ConfigSource {
	switch {
	case r.Kind == kmsg.ConfigResourceTypeTopic:
		return kmsg.ConfigSourceDynamicTopicConfig
	case r.Name == "":
		return kmsg.ConfigSourceDynamicDefaultBrokerConfig
	}
	return kmsg.ConfigSourceDynamicBrokerConfig
}

func (r Resource) describe(names []string) *kmsg.DescribeConfigsRequest {
	one := kmsg.NewDescribeConfigsRequestResource()
	one.ResourceType, one.ResourceName, one.ConfigNames = r.Kind, r.Name, names
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{one}
	return req
}

// BrokerConfigs are what was set on one broker, or on all; not what its file says, nor defaults.
func (c *Cluster) BrokerConfigs(ctx context.Context, r Resource) (map[string]string, error) {
	what := "read the configuration of " + r.String()
	resp, err := request[*kmsg.DescribeConfigsResponse](ctx, c, r.describe(nil))
	if err != nil {
		return nil, failed(what, err, nil)
	}
	source, set := r.source(), map[string]string{}
	for _, a := range resp.Resources {
		if err := coded(what, a.ErrorCode, a.ErrorMessage); err != nil {
			return nil, err
		}
		for _, e := range a.Configs {
			if e.Source == source && e.Value != nil {
				set[e.Name] = *e.Value
			}
		}
	}
	return set, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
