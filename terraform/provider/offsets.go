package provider

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type offsetsResource struct{ configured }

func newOffsets() resource.Resource { return &offsetsResource{} }

type offsetsModel struct {
	ID        types.String `tfsdk:"id"`
	Group     types.String `tfsdk:"group"`
	Topic     types.String `tfsdk:"topic"`
	Offsets   types.Map    `tfsdk:"offsets"`
	To        types.String `tfsdk:"to"`
	Committed types.Map    `tfsdk:"committed"`
}

func (r *offsetsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_group_offsets"
}

func (r *offsetsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Where a consumer group begins in a topic.\n\n" +
			"Offsets are set when this is created, and again when `offsets` or `to` changes; what the group commits afterwards is its own affair, and no drift. " +
			"They are set again, too, when the group has lost all of its offsets of the topic. It is refused while the group has members: they would commit over it. " +
			"Destroying the resource leaves the offsets as they are.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "`GROUP/TOPIC`.", PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
			"group": schema.StringAttribute{
				Required: true, MarkdownDescription: "The group's name.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"topic": schema.StringAttribute{
				Required: true, MarkdownDescription: "The topic's name, best as `qanat_topic.NAME.name`.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}, Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"offsets": schema.MapAttribute{
				Optional: true, ElementType: types.Int64Type,
				MarkdownDescription: "Partition → offset of the record that is read next. Partitions that are not named stay as they are. Either this or `to`.",
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.ExactlyOneOf(path.MatchRoot("to"))},
			},
			"to": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "`earliest`, `latest`, or a time such as `2026-11-26T09:00:00Z`: the first record of that time or later, in every partition.",
				Validators:          []validator.String{placeValidator{}},
			},
			"committed": schema.MapAttribute{Computed: true, ElementType: types.Int64Type, MarkdownDescription: "Partition → offset as it was set last."},
		},
	}
}

// placeValidator holds `to` to what it may say.
type placeValidator struct{}

func (placeValidator) Description(context.Context) string {
	return `"earliest", "latest", or a time`
}
func (v placeValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (placeValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	switch text := req.ConfigValue.ValueString(); text {
	case "earliest", "latest":
	default:
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			resp.Diagnostics.AddAttributeError(req.Path, "Not a place in a topic", fmt.Sprintf("%q must be \"earliest\", \"latest\", or a time with its zone, such as \"2026-11-26T09:00:00Z\".", text))
		}
	}
}

// ModifyPlan says beforehand what an apply would be refused for.
func (r *offsetsResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || req.Plan.Raw.Equal(req.State.Raw) {
		return
	}
	var plan offsetsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || plan.Group.IsUnknown() || !r.askable(ctx, &resp.Diagnostics) {
		return
	}
	g, err := r.Group(ctx, plan.Group.ValueString())
	if err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	if n := len(g.Members); n > 0 {
		resp.Diagnostics.AddWarning(fmt.Sprintf("Group %s has %d members", g.Name, n), "Its offsets cannot be set as long as it has: stop its consumers before this is applied.")
	}
}

// set commits what a plan asks for.
func (r *offsetsResource) set(ctx context.Context, plan offsetsModel, d *diag.Diagnostics) (offsetsModel, bool) {
	if !r.must(d) {
		return plan, false
	}
	group, topic := plan.Group.ValueString(), plan.Topic.ValueString()
	offsets := map[int32]int64{}
	if plan.To.IsNull() {
		for k, v := range plan.Offsets.Elements() {
			p, err := strconv.ParseInt(k, 10, 32)
			at, _ := v.(types.Int64)
			if err != nil || p < 0 || at.IsNull() || at.ValueInt64() < 0 {
				d.AddAttributeError(path.Root("offsets").AtMapKey(k), "Not a partition's offset", fmt.Sprintf("Write partition = offset, such as { \"0\" = 1500 }; this is %q = %v.", k, v))
				return plan, false
			}
			offsets[int32(p)] = at.ValueInt64()
		}
	} else {
		var err error
		if offsets, err = r.Places(ctx, topic, plan.To.ValueString()); err != nil {
			report(d, err)
			return plan, false
		}
	}
	if err := r.Commit(ctx, group, topic, offsets); err != nil {
		report(d, err)
		return plan, false
	}
	plan.ID = types.StringValue(group + "/" + topic)
	plan.Committed = offsetsMap(offsets)
	return plan, true
}

func offsetsMap(m map[int32]int64) types.Map {
	values := make(map[string]attr.Value, len(m))
	for p, at := range m {
		values[strconv.Itoa(int(p))] = types.Int64Value(at)
	}
	return types.MapValueMust(types.Int64Type, values)
}

func (r *offsetsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	r.put(ctx, req.Plan, &resp.State, &resp.Diagnostics)
}

func (r *offsetsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	r.put(ctx, req.Plan, &resp.State, &resp.Diagnostics)
}

// put is Create and Update: a commit of the planned offsets, whatever was committed before.
func (r *offsetsResource) put(ctx context.Context, planned tfsdk.Plan, state *tfsdk.State, d *diag.Diagnostics) {
	var plan offsetsModel
	d.Append(planned.Get(ctx, &plan)...)
	if d.HasError() {
		return
	}
	if set, ok := r.set(ctx, plan, d); ok {
		d.Append(state.Set(ctx, set)...)
	}
}

func (r *offsetsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state offsetsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !r.known() {
		return
	}
	committed, err := r.Committed(ctx, state.Group.ValueString(), state.Topic.ValueString())
	switch {
	case err != nil:
		report(&resp.Diagnostics, err)
		return
	case committed == nil:
		resp.State.RemoveResource(ctx)
		return
	}
	if state.Offsets.IsNull() && state.To.IsNull() { // it was imported
		state.ID = types.StringValue(state.Group.ValueString() + "/" + state.Topic.ValueString())
		state.Offsets = offsetsMap(committed)
		state.Committed = state.Offsets
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Delete leaves the offsets: the group's position has long been its own.
func (r *offsetsResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

func (r *offsetsResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	i := strings.LastIndexByte(req.ID, '/') // a topic's name has none
	if i < 1 || i == len(req.ID)-1 {
		resp.Diagnostics.AddError(fmt.Sprintf("%q names no group and topic", req.ID), "The id of an import is GROUP/TOPIC.")
		return
	}
	if !r.must(&resp.Diagnostics) {
		return
	}
	group, topic := req.ID[:i], req.ID[i+1:]
	committed, err := r.Committed(ctx, group, topic)
	if err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	if committed == nil {
		resp.Diagnostics.AddError(fmt.Sprintf("Group %s has no offsets in topic %s", group, topic), "`qanat group describe "+group+"` shows those that it has.")
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("group"), group)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("topic"), topic)...)
}
