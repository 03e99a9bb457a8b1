package provider

import (
	"bytes"
	"context"
	"math/big"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// NewServer returns what serves the provider to Terraform.
func NewServer(version string, getenv func(string) string) func() tfprotov6.ProviderServer {
	p := &qanatProvider{version: version, getenv: getenv}
	framework := providerserver.NewProtocol6(p)
	var schema resource.SchemaResponse
	(&topicResource{}).Schema(context.Background(), resource.SchemaRequest{}, &schema)
	kind := schema.Schema.Type().TerraformType(context.Background())
	return func() tfprotov6.ProviderServer { return server{framework(), p, kind} }
}

// server is the framework's, but for topics that are as they were, which in a plan over a thousand are nearly all: the framework takes each apart several times over,
// walks its schema, and puts together what it was given.
type server struct {
	tfprotov6.ProviderServer
	provider *qanatProvider
	topic    tftypes.Type // of a topic's state
}

// null is how Terraform writes that there is no resource.
var null = []byte{0xc0}

// PlanResourceChange answers by itself for a topic that is to stay as it is. topicResource.ModifyPlan has nothing to say of those either.
//
// Invariant: the answer is the framework's (TestUnchangedTopicsArePlannedAsTheFrameworkDoes).
func (s server) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	if prior, next := req.PriorState, req.ProposedNewState; req.TypeName == "qanat_topic" && prior != nil && next != nil &&
		len(prior.MsgPack) > 0 && !bytes.Equal(prior.MsgPack, null) && bytes.Equal(prior.MsgPack, next.MsgPack) {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: next, PlannedPrivate: req.PriorPrivate}, nil
	}
	return s.ProviderServer.PlanResourceChange(ctx, req)
}

// ReadResource answers by itself for a topic that the cluster has just as the state says. Whatever else there is to say of it, errors too, the framework says.
//
// Invariant: the answer is the framework's (TestUnchangedTopicsAreReadAsTheFrameworkDoes).
func (s server) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	if req.TypeName == "qanat_topic" && len(req.Private) == 0 && s.unchanged(ctx, req.CurrentState) {
		return &tfprotov6.ReadResourceResponse{NewState: req.CurrentState}, nil
	}
	return s.ProviderServer.ReadResource(ctx, req)
}

// unchanged tells whether the cluster has the topic of a state as the state says; false when that is not known.
func (s server) unchanged(ctx context.Context, state *tfprotov6.DynamicValue) bool {
	session := s.provider.session.Load()
	if session == nil || session.Cluster == nil || state == nil {
		return false
	}
	was, ok := s.model(state)
	if !ok {
		return false
	}
	topic, err := session.Topic(ctx, was.Name.ValueString())
	if err != nil || topic == nil {
		return false
	}
	is := was
	is.show(topic)
	return is.equal(was)
}

// model reads a state as the framework would; ok is false for one that is not whole.
func (s server) model(state *tfprotov6.DynamicValue) (m topicModel, ok bool) {
	v, err := state.Unmarshal(s.topic)
	if err != nil || v.IsNull() || !v.IsFullyKnown() {
		return m, false
	}
	var fields map[string]tftypes.Value
	if v.As(&fields) != nil {
		return m, false
	}
	for name, to := range map[string]*types.String{"id": &m.ID, "name": &m.Name, "topic_id": &m.TopicID} {
		var text string
		if fields[name].IsNull() || fields[name].As(&text) != nil {
			return m, false
		}
		*to = types.StringValue(text)
	}
	for name, to := range map[string]*types.Int64{"partitions": &m.Partitions, "replication_factor": &m.ReplicationFactor} {
		var n big.Float
		if fields[name].IsNull() || fields[name].As(&n) != nil {
			return m, false
		}
		whole, _ := n.Int64()
		*to = types.Int64Value(whole)
	}
	m.Configs, ok = configsOf(fields["configs"])
	return m, ok
}

func configsOf(v tftypes.Value) (types.Map, bool) {
	if v.IsNull() {
		return types.MapNull(types.StringType), true
	}
	var values map[string]tftypes.Value
	if v.As(&values) != nil {
		return types.Map{}, false
	}
	out := make(map[string]attr.Value, len(values))
	for k, v := range values {
		var text string
		if v.IsNull() || v.As(&text) != nil {
			return types.Map{}, false
		}
		out[k] = types.StringValue(text)
	}
	return types.MapValueMust(types.StringType, out), true
}
