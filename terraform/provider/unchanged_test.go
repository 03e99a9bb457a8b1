package provider

import (
	"reflect"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// False if it failed: "a topic that stays as it is is planned as the framework plans it, and any other one by the framework".
func TestUnchangedTopicsArePlannedAsTheFrameworkDoes(t *testing.T) {
	ctx := t.Context()
	none := func(string) string { return "" }
	framework := providerserver.NewProtocol6(New("test", none)())()
	ours := NewServer("test", none)()
	schemas, err := framework.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	kind := schemas.ResourceSchemas["qanat_topic"].ValueType()
	value := func(partitions any, retention string) *tfprotov6.DynamicValue {
		var configs any
		if retention != "" {
			configs = map[string]tftypes.Value{"retention.ms": tftypes.NewValue(tftypes.String, retention)}
		}
		v, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, map[string]tftypes.Value{
			"id": tftypes.NewValue(tftypes.String, "orders"), "name": tftypes.NewValue(tftypes.String, "orders"), "topic_id": tftypes.NewValue(tftypes.String, "00ff"),
			"partitions": tftypes.NewValue(tftypes.Number, partitions), "replication_factor": tftypes.NewValue(tftypes.Number, 3),
			"configs": tftypes.NewValue(tftypes.Map{ElementType: tftypes.String}, configs),
		}))
		if err != nil {
			t.Fatal(err)
		}
		return &v
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
