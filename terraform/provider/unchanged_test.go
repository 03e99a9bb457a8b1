package provider

import (
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// False if it failed: "a topic that stays as it is is planned as the framework plans it, and any other one by the framework".
func TestUnchangedTopicsArePlannedAsTheFrameworkDoes(t *testing.T) {
	ctx := t.Context()
	none := func(string) string { return "" }
	framework := providerserver.NewProtocol6(New("test", none)())()
	ours := NewServer("test", none)()
	kind := topicKind(t, framework)
	value := func(partitions any, retention string) *tfprotov6.DynamicValue {
		return topicState(t, kind, "orders", "00ff", partitions, 3, retention)
	}
	absent, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ prior, config, proposed *tfprotov6.DynamicValue }{
		"as it is":                        {value(6, "1000"), value(6, "1000"), value(6, "1000")},
		"as it is, without configs":       {value(6, ""), value(6, ""), value(6, "")},
		"as it is, partitions left open":  {value(6, "1000"), value(nil, "1000"), value(6, "1000")},
		"more partitions":                 {value(6, "1000"), value(9, "1000"), value(9, "1000")},
		"fewer partitions, which is none": {value(6, "1000"), value(3, "1000"), value(3, "1000")},
		"another configuration":           {value(6, "1000"), value(6, "2000"), value(6, "2000")},
		"a new one":                       {&absent, value(6, ""), value(6, "")},
		"one that goes":                   {value(6, ""), &absent, &absent},
	} {
		req := &tfprotov6.PlanResourceChangeRequest{TypeName: "qanat_topic", PriorState: c.prior, Config: c.config, ProposedNewState: c.proposed}
		want, errWant := framework.PlanResourceChange(ctx, req)
		got, errGot := ours.PlanResourceChange(ctx, req)
		if errWant != nil || errGot != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: planned %+v (%v), and the framework plans %+v (%v)", name, got, errGot, want, errWant)
		}
	}
}

// topicKind is the type of a topic's state, as Terraform is told.
func topicKind(t *testing.T, framework tfprotov6.ProviderServer) tftypes.Type {
	t.Helper()
	schemas, err := framework.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return schemas.ResourceSchemas["qanat_topic"].ValueType()
}

// topicState is a topic's state as Terraform sends it; retention "" is no configs.
func topicState(t *testing.T, kind tftypes.Type, name, id string, partitions, factor any, retention string) *tfprotov6.DynamicValue {
	t.Helper()
	var configs any
	if retention != "" {
		configs = map[string]tftypes.Value{"retention.ms": tftypes.NewValue(tftypes.String, retention)}
	}
	v, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, map[string]tftypes.Value{
		"id": tftypes.NewValue(tftypes.String, name), "name": tftypes.NewValue(tftypes.String, name), "topic_id": tftypes.NewValue(tftypes.String, id),
		"partitions": tftypes.NewValue(tftypes.Number, partitions), "replication_factor": tftypes.NewValue(tftypes.Number, factor),
		"configs": tftypes.NewValue(tftypes.Map{ElementType: tftypes.String}, configs),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return &v
}

// False if it failed: "a topic that is as the state says is read as the framework reads it, and any other one by the framework".
func TestUnchangedTopicsAreReadAsTheFrameworkDoes(t *testing.T) {
	c := one(t)
	ctx := within(t, time.Minute)
	none := func(string) string { return "" }
	ours := NewServer("test", none)()
	framework := ours.(server).ProviderServer
	kind := topicKind(t, framework)
	before := topicState(t, kind, "read-as-is", "00ff", 2, 1, "3600000")
	read := func(s tfprotov6.ProviderServer, state *tfprotov6.DynamicValue) *tfprotov6.ReadResourceResponse {
		resp, err := s.ReadResource(ctx, &tfprotov6.ReadResourceRequest{TypeName: "qanat_topic", CurrentState: state})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if got, want := read(ours, before), read(framework, before); !reflect.DeepEqual(got, want) {
		t.Errorf("without a session: read %+v, and the framework reads %+v", got, want)
	}
	configure(t, ours, c.bootstrap())
	session := ours.(server).provider.session.Load()
	created, err := session.CreateTopic(ctx, cluster.Wish{Name: "read-as-is", Partitions: 2, ReplicationFactor: 1, Configs: map[string]string{"retention.ms": "3600000"}})
	if err != nil || created.Unsure != nil || created.Taken {
		t.Fatal(err, created)
	}
	defer func() { broken(t, session.DeleteTopic(ctx, "read-as-is")) }()
	topic, err := session.Fresh(ctx, "read-as-is")
	if err != nil || topic == nil {
		t.Fatal(topic, err)
	}
	absent, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, nil))
	broken(t, err)
	for name, c := range map[string]struct {
		state *tfprotov6.DynamicValue
		same  bool
	}{
		"as it is":              {topicState(t, kind, "read-as-is", topic.ID, 2, 1, "3600000"), true},
		"another id":            {topicState(t, kind, "read-as-is", "00ff", 2, 1, "3600000"), false},
		"more partitions":       {topicState(t, kind, "read-as-is", topic.ID, 1, 1, "3600000"), false},
		"another factor":        {topicState(t, kind, "read-as-is", topic.ID, 2, 3, "3600000"), false},
		"another configuration": {topicState(t, kind, "read-as-is", topic.ID, 2, 1, "1000"), false},
		"a configuration more":  {topicState(t, kind, "read-as-is", topic.ID, 2, 1, ""), false},
		"no factor known":       {topicState(t, kind, "read-as-is", topic.ID, 2, nil, "3600000"), false},
		"gone":                  {topicState(t, kind, "read-as-was", topic.ID, 2, 1, ""), false},
		"none":                  {&absent, false},
	} {
		if same := ours.(server).unchanged(ctx, c.state); same != c.same {
			t.Errorf("%s: is it unchanged? %v", name, same)
		}
		if got, want := read(ours, c.state), read(framework, c.state); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, and the framework reads %+v", name, got, want)
		}
	}
}

// configure gives a provider its brokers, as Terraform does.
func configure(t *testing.T, s tfprotov6.ProviderServer, brokers string) {
	t.Helper()
	schemas, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	kind := schemas.Provider.ValueType().(tftypes.Object)
	fields := map[string]tftypes.Value{}
	for name, of := range kind.AttributeTypes {
		fields[name] = tftypes.NewValue(of, nil)
	}
	fields["bootstrap_servers"] = tftypes.NewValue(tftypes.String, brokers)
	config, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, fields))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{TerraformVersion: "1.11.4", Config: &config})
	if err != nil || len(resp.Diagnostics) > 0 {
		t.Fatal(resp, err)
	}
}
