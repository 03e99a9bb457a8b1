package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

type topicResource struct{ configured }

func newTopic() resource.Resource { return &topicResource{} }

type topicModel struct {
	ID                types.String `tfsdk:"id"`
	Name              types.String `tfsdk:"name"`
	Partitions        types.Int64  `tfsdk:"partitions"`
	ReplicationFactor types.Int64  `tfsdk:"replication_factor"`
	Configs           types.Map    `tfsdk:"configs"`
	TopicID           types.String `tfsdk:"topic_id"`
}

func (m topicModel) equal(o topicModel) bool {
	return m.ID.Equal(o.ID) && m.Name.Equal(o.Name) && m.Partitions.Equal(o.Partitions) && m.ReplicationFactor.Equal(o.ReplicationFactor) &&
		m.Configs.Equal(o.Configs) && m.TopicID.Equal(o.TopicID)
}

// transient are set on topics by tools while they move replicas, and taken back: they are no drift.
var transient = []string{"leader.replication.throttled.replicas", "follower.replication.throttled.replicas"}

func (t *topicResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_topic"
}

func (t *topicResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A topic. Created, grown and changed in place; every change returns when all active brokers show it.\n\n" +
			"- Partitions can be added, never taken away: a plan with fewer is refused, and says what to do instead.\n" +
			"- Another replication factor is a reassignment: new replicas go to racks that have fewest of the partition's, replicas that go are " +
			"never the leader. It is waited for; `TF_LOG_PROVIDER=INFO` shows how far it is.\n" +
			"- `configs` are all that is set on the topic. What the brokers or the defaults say is not in it, and no drift; what somebody else has set on the topic is.\n" +
			"- Deleting or replacing a topic is refused unless the provider has `allow_deletion = true`.\n\n" +
			"A topic that exists is not taken over but imported; except one that is exactly as written and has never had a record: that is what a broken-off apply leaves, and the next one goes on with it.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{Computed: true, MarkdownDescription: "The name.", PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "The name. Another name is another topic: the old one is deleted, its records with it.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:          []validator.String{stringvalidator.LengthBetween(1, 249)},
			},
			"partitions": schema.Int64Attribute{
				Optional: true, Computed: true,
				MarkdownDescription: "How many partitions. Without it: the brokers' `num.partitions`, and whatever it has later.",
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
				Validators:          []validator.Int64{int64validator.Between(1, 100_000)},
			},
			"replication_factor": schema.Int64Attribute{
				Optional: true, Computed: true,
				MarkdownDescription: "How many replicas each partition has. Without it: the brokers' `default.replication.factor`, and whatever it has later.",
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
				Validators:          []validator.Int64{int64validator.Between(1, 1000)},
			},
			"configs": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Configurations, under Kafka's names, such as `\"retention.ms\" = \"604800000\"`. Names and values are checked by the cluster when it is planned.",
			},
			"topic_id": schema.StringAttribute{Computed: true, MarkdownDescription: "The topic's id, hexadecimal: another one is another topic of the same name.", PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}},
		},
	}
}

// ModifyPlan refuses what cannot be done, while nothing has been done.
func (t *topicResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		t.refuseDeletion(ctx, req, "deletes", &resp.Diagnostics)
		return
	}
	var plan topicModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() {
		t.checkNew(ctx, plan, &resp.Diagnostics)
		return
	}
	var state topicModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !plan.Name.Equal(state.Name) {
		t.refuseDeletion(ctx, req, "replaces", &resp.Diagnostics)
		return
	}
	t.checkChange(ctx, plan, state, &resp.Diagnostics)
}

func (t *topicResource) refuseDeletion(ctx context.Context, req resource.ModifyPlanRequest, verb string, d *diag.Diagnostics) {
	if t.session == nil || t.allowDeletion {
		return
	}
	var state topicModel
	d.Append(req.State.Get(ctx, &state)...)
	d.AddError(deletionRefused(verb, state.Name.ValueString()))
}

func deletionRefused(verb, name string) (summary, detail string) {
	return fmt.Sprintf("The plan %s topic %s, which is not allowed", verb, name),
		"All its records would be lost, those in the bucket too. If that is meant, write allow_deletion = true in the provider's configuration. " +
			"To keep the topic and only have Terraform forget it: terraform state rm ADDRESS, or a removed block with destroy = false."
}

// wish is what a plan asks for; ok is false while some of it is not known.
func (m topicModel) wish(d *diag.Diagnostics) (w cluster.Wish, ok bool) {
	configs, ok := mapOf(m.Configs, path.Root("configs"), d)
	w = cluster.Wish{Name: m.Name.ValueString(), Partitions: -1, ReplicationFactor: -1, Configs: configs}
	if n := m.Partitions.ValueInt64(); n > 0 {
		w.Partitions = int32(n)
	}
	if n := m.ReplicationFactor.ValueInt64(); n > 0 {
		w.ReplicationFactor = int16(n)
	}
	return w, ok && !m.Name.IsUnknown()
}

func (t *topicResource) checkNew(ctx context.Context, plan topicModel, d *diag.Diagnostics) {
	if w, ok := plan.wish(d); ok && t.askable(ctx, d) {
		foresee(d, path.Root("name"), t.CheckTopic(ctx, w))
	}
}

// foresee reports what an apply would be refused for. Too few brokers are no error yet: the same apply may start more.
func foresee(d *diag.Diagnostics, at path.Path, err error) {
	if !cluster.Is(err, kerr.InvalidReplicationFactor) {
		reportAt(d, at, err)
		return
	}
	summary, detail := words(err)
	d.AddAttributeWarning(path.Root("replication_factor"), summary, detail+"\n\nUnless this apply starts more brokers, it fails.")
}

func (t *topicResource) checkChange(ctx context.Context, plan, state topicModel, d *diag.Diagnostics) {
	name := state.Name.ValueString()
	now, wanted := state.Partitions.ValueInt64(), plan.Partitions.ValueInt64()
	if !plan.Partitions.IsUnknown() && wanted < now {
		d.AddAttributeError(path.Root("partitions"), fmt.Sprintf("Topic %s has %d partitions, and cannot have %d", name, now, wanted),
			fmt.Sprintf("Partitions can be added, never taken away: their records would go with them, and keys would change places. Write partitions = %d. "+
				"If it must be fewer, create a topic of another name with %d partitions, have producers write there, let consumers finish this one, and then delete it.", now, wanted))
		return
	}
	before, _ := mapOf(state.Configs, path.Root("configs"), d)
	after, ok := mapOf(plan.Configs, path.Root("configs"), d)
	difference := cluster.Difference(before, after)
	grows, factor := !plan.Partitions.IsUnknown() && wanted > now, !plan.ReplicationFactor.IsUnknown() && !plan.ReplicationFactor.Equal(state.ReplicationFactor)
	changes := ok && !difference.Empty()
	if d.HasError() || !grows && !factor && !changes || !t.askable(ctx, d) {
		return
	}
	if grows {
		foresee(d, path.Root("partitions"), t.CheckGrow(ctx, name, int(wanted)))
	}
	if factor {
		foresee(d, path.Root("replication_factor"), t.CheckReplicate(ctx, name, int(plan.ReplicationFactor.ValueInt64())))
	}
	if changes {
		reportAt(d, path.Root("configs"), t.Alter(ctx, cluster.TopicResource(name), difference, true))
	}
}

func (t *topicResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan topicModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || !t.must(&resp.Diagnostics) {
		return
	}
	w, ok := plan.wish(&resp.Diagnostics)
	if !ok {
		return
	}
	created, err := t.CreateTopic(ctx, w)
	if err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	// From here on the topic is there: an error would have Terraform delete it, and make it anew.
	if created.Taken {
		resp.Diagnostics.AddWarning("Topic "+w.Name+" was there already", "It is exactly as it is written, and has never had a record: an apply that was broken off has left it. It is managed from now on.")
	}
	if created.Unsure != nil {
		summary, detail := words(created.Unsure)
		resp.Diagnostics.AddWarning("Topic "+w.Name+" is created, but: "+summary, detail)
	}
	state := plan
	state.ID = plan.Name
	if created.Topic != nil {
		state.show(created.Topic)
		state.Configs = plan.Configs
	} else {
		state.TopicID = types.StringNull()
		if state.Partitions.IsUnknown() {
			state.Partitions = types.Int64Null()
		}
		if state.ReplicationFactor.IsUnknown() {
			state.ReplicationFactor = types.Int64Null()
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// show makes a state of a topic as it is. m is what was there before.
func (m *topicModel) show(t *cluster.Topic) {
	factor := int64(t.ReplicationFactor)
	if t.Uneven { // whichever is not as it was
		for _, p := range t.Partitions {
			if n := int64(len(p.Target)); n != m.ReplicationFactor.ValueInt64() {
				factor = n
				break
			}
		}
	}
	before := m.Configs.Elements()
	configs := map[string]string{}
	for k, v := range t.Configs {
		configs[k] = v
	}
	for _, k := range transient {
		if _, managed := before[k]; !managed {
			delete(configs, k)
		}
	}
	m.ID, m.Name, m.TopicID = types.StringValue(t.Name), types.StringValue(t.Name), types.StringValue(t.ID)
	m.Partitions, m.ReplicationFactor = types.Int64Value(int64(len(t.Partitions))), types.Int64Value(factor)
	m.Configs = mapFrom(configs, m.Configs)
}

func (t *topicResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state topicModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !t.known() {
		return
	}
	topic, err := t.Topic(ctx, state.Name.ValueString())
	switch {
	case err != nil:
		report(&resp.Diagnostics, err)
	case topic == nil:
		resp.State.RemoveResource(ctx)
	default:
		state.show(topic)
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
	}
}

func (t *topicResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state topicModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !t.must(&resp.Diagnostics) {
		return
	}
	name := state.Name.ValueString()
	if err := t.change(ctx, name, plan, state, &resp.Diagnostics); err != nil {
		report(&resp.Diagnostics, err)
	}
	if resp.Diagnostics.HasError() { // some of it may have been done: the state is what there is now
		if topic, err := t.Fresh(ctx, name); err == nil && topic != nil {
			state.show(topic)
			resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
		}
		return
	}
	topic, err := t.Fresh(ctx, name)
	if err != nil || topic == nil {
		resp.Diagnostics.Append(resp.State.Set(ctx, known(plan, state))...)
		return
	}
	configs := plan.Configs
	plan.show(topic)
	plan.Configs = configs
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// known is a plan without what it leaves open.
func known(plan, state topicModel) topicModel {
	if plan.Partitions.IsUnknown() {
		plan.Partitions = state.Partitions
	}
	if plan.ReplicationFactor.IsUnknown() {
		plan.ReplicationFactor = state.ReplicationFactor
	}
	plan.ID, plan.TopicID = state.ID, state.TopicID
	return plan
}

// change does what differs, one after the other: a failure leaves the rest for the next apply.
func (t *topicResource) change(ctx context.Context, name string, plan, state topicModel, d *diag.Diagnostics) error {
	before, _ := mapOf(state.Configs, path.Root("configs"), d)
	after, ok := mapOf(plan.Configs, path.Root("configs"), d)
	if !ok {
		return nil
	}
	if err := t.Alter(ctx, cluster.TopicResource(name), cluster.Difference(before, after), false); err != nil {
		return err
	}
	if n := plan.Partitions.ValueInt64(); n > state.Partitions.ValueInt64() {
		if err := t.Grow(ctx, name, int(n)); err != nil {
			return err
		}
	}
	if plan.ReplicationFactor.IsUnknown() || plan.ReplicationFactor.Equal(state.ReplicationFactor) {
		return nil
	}
	return t.Replicate(ctx, name, int(plan.ReplicationFactor.ValueInt64()), func(left, all int) {
		tflog.Info(ctx, "replicas are being moved", map[string]any{"topic": name, "partitions_left": left, "partitions": all})
	})
}

func (t *topicResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state topicModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() || !t.must(&resp.Diagnostics) {
		return
	}
	if !t.allowDeletion { // a -replace is not planned by the provider
		resp.Diagnostics.AddError(deletionRefused("deletes", state.Name.ValueString()))
		return
	}
	report(&resp.Diagnostics, t.DeleteTopic(ctx, state.Name.ValueString()))
}

func (t *topicResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if !t.must(&resp.Diagnostics) {
		return
	}
	topic, err := t.Topic(ctx, req.ID)
	if err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	if topic == nil {
		resp.Diagnostics.AddError("There is no topic "+req.ID, "The id of an import is the topic's name; `qanat topic list` lists them.")
		return
	}
	resource.ImportStatePassthroughID(ctx, path.Root("name"), req, resp)
}
