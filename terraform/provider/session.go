package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// configured is embedded by whatever Terraform gives the session to.
type configured struct{ *session }

func (c *configured) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if s, ok := req.ProviderData.(*session); ok {
		c.session = s
	}
}

// known tells whether there is a cluster to ask. There is none while the provider's configuration hangs on what an apply is still to make.
func (c *configured) known() bool { return c.session != nil && c.Cluster != nil }

// must is known, or an error: for what is only called with a configuration that is complete.
func (c *configured) must(d *diag.Diagnostics) bool {
	if !c.known() {
		d.AddError("The provider is not configured", "Its configuration hangs on what is not known yet: apply that first, with -target.")
	}
	return c.known()
}

// askable tells whether a plan can be checked by the cluster. When nobody answers it says so: the cluster may not be there yet.
func (c *configured) askable(ctx context.Context, d *diag.Diagnostics) bool {
	if !c.known() {
		return false
	}
	err := c.Reach(ctx)
	if cluster.Unreachable(err) {
		d.AddWarning("The plan was not checked by the cluster", fmt.Sprintf("%v\n\nNames and values are checked when it is applied.", err))
		return false
	}
	report(d, err)
	return err == nil
}

// report adds an error as the cluster has said it; nil is nothing.
func report(d *diag.Diagnostics, err error) {
	if err == nil {
		return
	}
	d.AddError(words(err))
}

// reportAt is report for what one attribute has caused.
func reportAt(d *diag.Diagnostics, at path.Path, err error) {
	if err == nil {
		return
	}
	summary, detail := words(err)
	d.AddAttributeError(at, summary, detail)
}

func words(err error) (summary, detail string) {
	var e *cluster.Error
	switch {
	case errors.As(err, &e):
		return e.Summary(), e.Detail()
	case errors.Is(err, context.Canceled):
		return "Interrupted", "What was not done is done by the next terraform apply."
	}
	return "Cannot do it", err.Error()
}

// mapOf are a map's values; ok is false as long as one is not known, and when one is null, which is an error.
func mapOf(m types.Map, at path.Path, d *diag.Diagnostics) (out map[string]string, ok bool) {
	if m.IsUnknown() {
		return nil, false
	}
	out, ok = map[string]string{}, true
	for k, v := range m.Elements() {
		if v.IsNull() {
			d.AddAttributeError(at.AtMapKey(k), "A configuration has no value", fmt.Sprintf("Leave %q out to have its default.", k))
		}
		s, _ := v.(types.String)
		ok = ok && !v.IsUnknown() && !v.IsNull()
		out[k] = s.ValueString()
	}
	return out, ok
}

// mapFrom is a map of strings; empty is null where before was.
func mapFrom(m map[string]string, before types.Map) types.Map {
	if len(m) == 0 && before.IsNull() {
		return types.MapNull(types.StringType)
	}
	values := make(map[string]attr.Value, len(m))
	for k, v := range m {
		values[k] = types.StringValue(v)
	}
	return types.MapValueMust(types.StringType, values)
}
