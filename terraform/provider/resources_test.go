package provider

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/integration/harness"
)

// A group would not begin where it is written, would be moved again though it has gone on by itself, or would be moved under its members.
func TestGroupOffsets(t *testing.T) {
	c := one(t)
	adm := c.admin(t)
	ctx := within(t, 3*time.Minute)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.b[0].Listen), kgo.DefaultProduceTopic("read"))
	broken(t, err)
	defer cl.Close()
	produce := func(n int) {
		for i := range n {
			broken(t, cl.ProduceSync(ctx, &kgo.Record{Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1000)}).FirstErr())
		}
	}
	at := func(lines string) string {
		return c.provider(allowed) + `
resource "qanat_topic" "read" {
  name       = "read"
  partitions = 1
}
` + fmt.Sprintf("resource \"qanat_group_offsets\" \"g\" {\n  group = \"readers\"\n  topic = qanat_topic.read.name\n  %s\n}\n", lines)
	}
	is := func(want int64) resource.TestCheckFunc {
		return func(*terraform.State) error {
			offsets, err := adm.FetchOffsets(ctx, "readers")
			if o, _ := offsets.Lookup("read", 0); err != nil || o.At != want {
				return fmt.Errorf("the group is at %d, not %d (%v)", o.At, want, err)
			}
			return nil
		}
	}
	const group = "qanat_group_offsets.g"
	var member *kgo.Client
	joined := func() {
		member, err = kgo.NewClient(kgo.SeedBrokers(c.b[0].Listen), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("read"), kgo.DisableAutoCommit())
		broken(t, err)
		broken(t, harness.Until(ctx, func() (bool, error) {
			member.PollFetches(within(t, time.Second))
			groups, err := adm.DescribeGroups(ctx, "readers")
			return len(groups["readers"].Members) == 1, err
		}))
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{Config: at(`to = "soon"`), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)must be "earliest",\s+"latest"`)},
			{Config: at("to = \"latest\"\n offsets = { \"0\" = 1 }"), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)one \(and only one\)`)},
			{Config: at(`to = "latest"`), Check: is(0)},
			{PreConfig: func() { produce(10) }, Config: at(`to = "latest"`), Check: is(0), // nothing has changed: nothing is moved
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
			{Config: at(`to = "2023-11-14T22:13:24Z"`), Check: is(4)},
			{Config: at(`offsets = { "0" = 7 }`), Check: resource.ComposeAggregateTestCheckFunc(is(7), resource.TestCheckResourceAttr(group, "committed.0", "7"))},
			{ResourceName: group, ImportState: true, ImportStateVerify: true, ImportStateId: "readers/read"},
			{ResourceName: group, ImportState: true, ImportStateId: "nobody/read", ExpectError: regexp.MustCompile(`has no offsets`)},
			{ // the group goes on by itself
				PreConfig: func() {
					var o kadm.Offsets
					o.AddOffset("read", 0, 9, -1)
					broken(t, adm.CommitAllOffsets(ctx, "readers", o))
				},
				Config: at(`offsets = { "0" = 7 }`), Check: is(9),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			{Config: at(`offsets = { "0" = 70 }`), ExpectError: regexp.MustCompile(`(?s)OFFSET_OUT_OF_RANGE.*ends at 10`)},
			{Config: at(`offsets = { "3" = 1 }`), ExpectError: regexp.MustCompile(`(?s)no partition 3`)},
			{PreConfig: joined, Config: at(`to = "earliest"`), ExpectError: regexp.MustCompile(`(?s)NON_EMPTY_GROUP\s+\(68\).*1 members.*Stop the group's\s+consumers`)},
			{
				Config: at(`offsets = { "0" = 7 }`) + `data "qanat_group" "g" { group = "readers" }`,
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr("data.qanat_group.g", "members.#", "1"), resource.TestCheckResourceAttr("data.qanat_group.g", "state", "Stable"),
					resource.TestCheckResourceAttr("data.qanat_group.g", "lag", "1"), resource.TestCheckResourceAttr("data.qanat_group.g", "partitions.0.end", "10")),
			},
			{PreConfig: func() { member.Close() }, Config: at(`to = "earliest"`), Check: is(0)},
		},
	})
}

// A configuration of all brokers, or of one, would not be set, given back, seen when it is changed by others, or it would take with it what others have set.
func TestBrokerConfigs(t *testing.T) {
	c := three(t)
	adm := c.admin(t)
	at := func(all, third string) string {
		text := c.provider()
		if all != "" {
			text += fmt.Sprintf("resource \"qanat_cluster_config\" \"all\" {\n  configs = %s\n}\n", all)
		}
		if third != "" {
			text += fmt.Sprintf("resource \"qanat_broker_config\" \"third\" {\n  broker_id = 3\n  configs = %s\n}\n", third)
		}
		return text
	}
	value := func(v string) *string { return &v }
	is := func(want map[string]string, brokers ...int32) resource.TestCheckFunc {
		return func(*terraform.State) error {
			described, err := adm.DescribeBrokerConfigs(t.Context(), brokers...)
			if err != nil {
				return err
			}
			for _, d := range described {
				for _, e := range d.Configs {
					if v, named := want[e.Key]; named && v != e.MaybeValue() {
						return fmt.Errorf("%s is %s on %q, not %s", e.Key, e.MaybeValue(), d.Name, v)
					}
				}
			}
			return nil
		}
	}
	const all, third = "qanat_cluster_config.all", "qanat_broker_config.third"
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{Config: at(`{ "cluster.moves.most" = "3" }`, ""), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)INVALID_CONFIG\s+\(40\).*cluster.moves.most`)},
			{Config: at(`{ "cluster.moves.max" = "none" }`, ""), PlanOnly: true, ExpectError: regexp.MustCompile(`INVALID_REQUEST\s+\(42\)`)},
			{Config: at("", `{ "node.id" = "4" }`), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)configure broker 3.*\(\d+\)`)},
			{
				PreConfig: func() { // somebody else's
					_, err := adm.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.retention.ms", Value: value("90000000")}})
					broken(t, err)
				},
				Config: at(`{ "cluster.moves.max" = "3" }`, `{ "follower.replication.throttled.rate" = "50000000" }`),
				Check:  resource.ComposeAggregateTestCheckFunc(is(map[string]string{"cluster.moves.max": "3"}, 1, 2, 3), is(map[string]string{"follower.replication.throttled.rate": "50000000"}, 3)),
			},
			{ // changed by somebody: goes back
				PreConfig: func() {
					_, err := adm.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cluster.moves.max", Value: value("9")}})
					broken(t, err)
				},
				Config:           at(`{ "cluster.moves.max" = "3" }`, `{ "follower.replication.throttled.rate" = "50000000" }`),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(all, plancheck.ResourceActionUpdate), plancheck.ExpectResourceAction(third, plancheck.ResourceActionNoop)}},
				Check:            is(map[string]string{"cluster.moves.max": "3"}, 1),
			},
			{Config: at(`{ "cluster.moves.max" = "4" }`, `{ "leader.replication.throttled.rate" = "40000000" }`), Check: is(map[string]string{"leader.replication.throttled.rate": "40000000", "cluster.moves.max": "4"}, 3)},
			{ResourceName: third, ImportState: true, ImportStateId: "3", ImportStateVerify: true},
			{ResourceName: third, ImportState: true, ImportStateId: "2", ExpectError: regexp.MustCompile("There is nothing to import")},
			{ResourceName: all, ImportState: true, ImportStateId: "cluster", ImportStateCheck: func(states []*terraform.InstanceState) error {
				if a := states[0].Attributes; a["configs.cluster.moves.max"] != "4" || a["configs.log.retention.ms"] != "90000000" {
					return fmt.Errorf("imported: %v", a)
				}
				return nil
			}},
			{ // what is destroyed goes back to its default, what others have set stays
				Config: c.provider() + `data "qanat_cluster" "this" {}`,
				Check: resource.ComposeAggregateTestCheckFunc(
					is(map[string]string{"cluster.moves.max": "8", "log.retention.ms": "90000000"}, 1),
					resource.TestCheckResourceAttr("data.qanat_cluster.this", "brokers.#", "3"), resource.TestCheckResourceAttr("data.qanat_cluster.this", "racks.2", "r3"),
					resource.TestCheckResourceAttr("data.qanat_cluster.this", "healthy", "true"), resource.TestCheckResourceAttr("data.qanat_cluster.this", "brokers.0.endpoint", c.b[0].Listen),
					resource.TestMatchResourceAttr("data.qanat_cluster.this", "metadata_level", regexp.MustCompile(`^[1-9]`)), resource.TestMatchResourceAttr("data.qanat_cluster.this", "id", regexp.MustCompile(`.`))),
			},
		},
	})
}

// The data sources of topics would show something else than there is.
func TestTopicData(t *testing.T) {
	c := one(t)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{Config: c.provider() + `data "qanat_topic" "t" { name = "nobody" }`, ExpectError: regexp.MustCompile(`(?s)UNKNOWN_TOPIC_OR_PARTITION \(3\).*qanat topic\s+list`)},
			{
				Config: c.provider(allowed) + `
resource "qanat_topic" "t" {
  count      = 3
  name       = "seen.${count.index}"
  partitions = 2
  configs    = { "retention.ms" = "3600000" }
}
data "qanat_topic" "t" { name = qanat_topic.t[1].name }
data "qanat_topics" "all" {
  prefix     = "seen."
  depends_on = [qanat_topic.t]
}`,
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr("data.qanat_topic.t", "partitions", "2"), resource.TestCheckResourceAttr("data.qanat_topic.t", "configs.%", "1"),
					resource.TestCheckResourceAttrPair("data.qanat_topic.t", "topic_id", "qanat_topic.t.1", "topic_id"),
					resource.TestCheckResourceAttr("data.qanat_topics.all", "names.#", "3"), resource.TestCheckResourceAttr("data.qanat_topics.all", "names.2", "seen.2")),
			},
		},
	})
}
