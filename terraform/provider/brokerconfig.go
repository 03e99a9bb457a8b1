package provider

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// brokerConfig is qanat_broker_config, and without a broker qanat_cluster_config. Both manage the keys that they name, and no others: tools and
// people set some too.
type brokerConfig struct {
	configured
	perBroker bool
}

func newBrokerConfig() resource.Resource  { return &brokerConfig{perBroker: true} }
func newClusterConfig() resource.Resource { return &brokerConfig{} }

func (r *brokerConfig) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_cluster_config"
	if r.perBroker {
		resp.TypeName = req.ProviderTypeName + "_broker_config"
	}
}

func (r *brokerConfig) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	const common = " Only keys that may change while brokers run; names and values are checked by the cluster when it is planned.\n\n" +
		"The resource manages the keys that it names. What others set beside them, and what the brokers' files say, is left alone. Destroying it gives its keys back to file and default."
	resp.Schema = schema.Schema{
		MarkdownDescription: "Dynamic configurations of all brokers together, as `kafka-configs.sh --entity-default` sets them." + common,
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "`cluster`.", PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
			"configs": schema.MapAttribute{
				Required: true, ElementType: types.StringType, MarkdownDescription: "Configurations, under Kafka's names.",
				Validators: []validator.Map{mapvalidator.SizeAtLeast(1)},
			},
		},
	}
	if r.perBroker {
		resp.Schema.MarkdownDescription = "Dynamic configurations of one broker; they go before those of `qanat_cluster_config`. The broker must be there when they are changed." + common
		resp.Schema.Attributes["id"] = schema.StringAttribute{Computed: true, MarkdownDescription: "The broker's id.", PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
		resp.Schema.Attributes["broker_id"] = schema.Int64Attribute{
			Required: true, MarkdownDescription: "The broker's `node.id`.",
			PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplace()}, Validators: []validator.Int64{int64validator.AtLeast(0)},
		}
	}
}

// attributes is a plan, a state or a configuration.
type attributes interface {
	GetAttribute(ctx context.Context, at path.Path, target any) diag.Diagnostics
}

// on is what the configurations are set on.
func (r *brokerConfig) on(broker types.Int64) cluster.Resource {
	if r.perBroker {
		return cluster.BrokerResource(broker.ValueInt64())
	}
	return cluster.AllBrokers
}

func (r *brokerConfig) read(ctx context.Context, from attributes, d *diag.Diagnostics) (on cluster.Resource, broker types.Int64, configs types.Map) {
	if r.perBroker {
		d.Append(from.GetAttribute(ctx, path.Root("broker_id"), &broker)...)
	}
	d.Append(from.GetAttribute(ctx, path.Root("configs"), &configs)...)
	return r.on(broker), broker, configs
}

func (r *brokerConfig) write(ctx context.Context, to *tfsdk.State, on cluster.Resource, broker types.Int64, configs types.Map, d *diag.Diagnostics) {
	id := "cluster"
	if r.perBroker {
		id = on.Name
		d.Append(to.SetAttribute(ctx, path.Root("broker_id"), broker)...)
	}
	d.Append(to.SetAttribute(ctx, path.Root("id"), id)...)
	d.Append(to.SetAttribute(ctx, path.Root("configs"), configs)...)
}

// ModifyPlan has the cluster check what would be changed.
func (r *brokerConfig) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	on, broker, planned := r.read(ctx, req.Plan, &resp.Diagnostics)
	next, ok := mapOf(planned, path.Root("configs"), &resp.Diagnostics)
	before := map[string]string{}
	if !req.State.Raw.IsNull() {
		was, _, configs := r.read(ctx, req.State, &resp.Diagnostics)
		if was == on {
			before, _ = mapOf(configs, path.Root("configs"), &resp.Diagnostics)
		}
	}
	difference := cluster.Difference(before, next)
	if !ok || broker.IsUnknown() || difference.Empty() || resp.Diagnostics.HasError() || !r.askable(ctx, &resp.Diagnostics) {
		return
	}
	reportAt(&resp.Diagnostics, path.Root("configs"), r.Alter(ctx, on, difference, true))
}

func (r *brokerConfig) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	on, broker, planned := r.read(ctx, req.Plan, &resp.Diagnostics)
	next, ok := mapOf(planned, path.Root("configs"), &resp.Diagnostics)
	if !ok || resp.Diagnostics.HasError() || !r.must(&resp.Diagnostics) {
		return
	}
	if err := r.Alter(ctx, on, cluster.Change{Set: next}, false); err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	r.write(ctx, &resp.State, on, broker, planned, &resp.Diagnostics)
}

func (r *brokerConfig) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	on, broker, configs := r.read(ctx, req.State, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.known() {
		return
	}
	set, err := r.BrokerConfigs(ctx, on)
	if err != nil {
		var k *kerr.Error
		if r.perBroker && !errors.As(err, &k) && !cluster.Unreachable(err) { // others answer: that one is down
			resp.Diagnostics.AddWarning(fmt.Sprintf("The configuration of broker %s was not looked at", on.Name), "The broker does not answer; what the state says of it is kept.")
			return
		}
		report(&resp.Diagnostics, err)
		return
	}
	if !configs.IsNull() { // after an import it is null, and all of them are taken over
		managed := configs.Elements()
		for k := range set {
			if _, ok := managed[k]; !ok {
				delete(set, k)
			}
		}
	}
	if len(set) == 0 {
		resp.State.RemoveResource(ctx)
		return
	}
	r.write(ctx, &resp.State, on, broker, mapFrom(set, configs), &resp.Diagnostics)
}

func (r *brokerConfig) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	on, broker, planned := r.read(ctx, req.Plan, &resp.Diagnostics)
	_, _, was := r.read(ctx, req.State, &resp.Diagnostics)
	next, ok := mapOf(planned, path.Root("configs"), &resp.Diagnostics)
	before, _ := mapOf(was, path.Root("configs"), &resp.Diagnostics)
	if !ok || resp.Diagnostics.HasError() || !r.must(&resp.Diagnostics) {
		return
	}
	if err := r.Alter(ctx, on, cluster.Difference(before, next), false); err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	r.write(ctx, &resp.State, on, broker, planned, &resp.Diagnostics)
}

func (r *brokerConfig) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	on, _, configs := r.read(ctx, req.State, &resp.Diagnostics)
	managed, _ := mapOf(configs, path.Root("configs"), &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.must(&resp.Diagnostics) {
		return
	}
	report(&resp.Diagnostics, r.Alter(ctx, on, cluster.Difference(managed, nil), false))
}

func (r *brokerConfig) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if !r.must(&resp.Diagnostics) {
		return
	}
	broker := types.Int64Null()
	if r.perBroker {
		id, err := strconv.ParseInt(req.ID, 10, 32)
		if err != nil {
			resp.Diagnostics.AddError(fmt.Sprintf("%q is no broker", req.ID), "The id of an import is the broker's node.id; `qanat broker list` lists them.")
			return
		}
		broker = types.Int64Value(id)
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("broker_id"), broker)...)
	} else if req.ID != "cluster" {
		resp.Diagnostics.AddError(fmt.Sprintf("%q is not the cluster", req.ID), `The id of an import is the word "cluster".`)
		return
	}
	set, err := r.BrokerConfigs(ctx, r.on(broker))
	if err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	if len(set) == 0 {
		resp.Diagnostics.AddError("There is nothing to import", fmt.Sprintf("No configuration was set on %v while it ran.", r.on(broker)))
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), req.ID)...)
}
