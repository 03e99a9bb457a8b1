package provider

import (
	"fmt"
	"maps"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qanat-io/qanat/broker/console"
)

const (
	allowed = "allow_deletion = true"
	topic1  = "qanat_topic.t"
)

// A topic would not be created, shown, changed in place, imported, or deleted as it is written; or a plan would show a difference after its own apply.
func TestTopic(t *testing.T) {
	c := one(t)
	adm := c.admin(t)
	at := func(lines string) string {
		return c.provider(allowed) + fmt.Sprintf("resource \"qanat_topic\" \"t\" {\n  name = \"life\"\n  %s\n}\n", lines)
	}
	set := func(configs ...kadm.AlterConfig) func() {
		return func() {
			_, err := adm.AlterTopicConfigs(t.Context(), configs, "life")
			broken(t, err)
		}
	}
	value := func(v string) *string { return &v }
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{ // everything by the brokers' defaults
				Config: at(""),
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr(topic1, "id", "life"), resource.TestCheckResourceAttr(topic1, "partitions", "1"),
					resource.TestCheckResourceAttr(topic1, "replication_factor", "1"), resource.TestCheckNoResourceAttr(topic1, "configs.%"),
					resource.TestMatchResourceAttr(topic1, "topic_id", regexp.MustCompile("^[0-9a-f]{32}$"))),
			},
			{ // what the default was may be written down: nothing changes
				Config:           at("partitions = 1\n replication_factor = 1"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			{
				Config:           at("partitions = 5\n configs = { \"retention.ms\" = \"3600000\", \"segment.bytes\" = \"16777216\" }"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(topic1, plancheck.ResourceActionUpdate)}},
				Check: func(*terraform.State) error {
					return topicIs(t, adm, "life", 5, map[string]string{"retention.ms": "3600000", "segment.bytes": "16777216"})
				},
			},
			{ // what others have set is drift, what was changed goes back
				PreConfig: set(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: value("1")}, kadm.AlterConfig{Op: kadm.SetConfig, Name: "flush.mode", Value: value("async")}),
				Config:    at("partitions = 5\n configs = { \"retention.ms\" = \"3600000\", \"cleanup.policy\" = \"delete\" }"),
				Check: func(*terraform.State) error {
					return topicIs(t, adm, "life", 5, map[string]string{"retention.ms": "3600000", "cleanup.policy": "delete"})
				},
			},
			{ // a tool's throttle is not
				PreConfig:        set(kadm.AlterConfig{Op: kadm.SetConfig, Name: "leader.replication.throttled.replicas", Value: value("*")}),
				Config:           at("partitions = 5\n configs = { \"retention.ms\" = \"3600000\", \"cleanup.policy\" = \"delete\" }"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			},
			{ResourceName: topic1, ImportState: true, ImportStateVerify: true},
			{ResourceName: topic1, ImportState: true, ImportStateId: "nobody", ExpectError: regexp.MustCompile("There is no topic nobody")},
			{ // deleted by somebody: made again
				PreConfig: func() {
					_, err := adm.DeleteTopic(t.Context(), "life")
					broken(t, err)
				},
				Config: at("partitions = 5\n configs = {}"),
				Check:  func(*terraform.State) error { return topicIs(t, adm, "life", 5, map[string]string{}) },
			},
			{ // another name is another topic
				Config:           c.provider(allowed) + `resource "qanat_topic" "t" { name = "after" }`,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(topic1, plancheck.ResourceActionDestroyBeforeCreate)}},
				Check: func(*terraform.State) error {
					if left, err := adm.ListTopics(t.Context()); err != nil || left.Has("life") {
						return fmt.Errorf("the topic of the old name is there (%v)", err)
					}
					return nil
				},
			},
		},
		CheckDestroy: func(*terraform.State) error {
			if left, err := adm.ListTopics(t.Context()); err != nil || left.Has("after") {
				return fmt.Errorf("a destroyed topic is there (%v)", err)
			}
			return nil
		},
	})
}

// topicIs compares a topic with what was asked for.
func topicIs(t *testing.T, adm *kadm.Client, name string, partitions int, configs map[string]string) error {
	t.Helper()
	topics, err := adm.ListTopics(t.Context(), name)
	if err != nil {
		return err
	}
	described, err := adm.DescribeTopicConfigs(t.Context(), name)
	if err != nil {
		return err
	}
	set := map[string]string{}
	for _, c := range described[0].Configs {
		if c.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
			set[c.Key] = c.MaybeValue()
		}
	}
	if n := len(topics[name].Partitions); n != partitions || !maps.Equal(set, configs) {
		return fmt.Errorf("topic %s has %d partitions and %v, not %d and %v", name, n, set, partitions, configs)
	}
	return nil
}

// What cannot be done would only be found when half of it is, or the error would not say what to do instead.
func TestTopicRefusals(t *testing.T) {
	c := one(t)
	adm := c.admin(t)
	at := func(provider, lines string) string {
		return c.provider(provider) + fmt.Sprintf("resource \"qanat_topic\" \"t\" {\n  name = \"no\"\n  %s\n}\n", lines)
	}
	refused := func(config, words string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)` + words)}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			refused(at("", `configs = { "retention.msec" = "1" }`), `INVALID_CONFIG\s+\(40\).*retention.msec`),
			refused(at("", `configs = { "retention.ms" = "soon" }`), `INVALID_CONFIG`),
			refused(at("", `configs = { "retention.ms" = null }`), `Leave "retention.ms" out`),
			{Config: at("", `replication_factor = 3`), ExpectError: regexp.MustCompile(`(?s)INVALID_REPLICATION_FACTOR.*start more\s+brokers`)}, // by the apply: it might have started them
			refused(at("", `partitions = 0`), `between 1 and`),
			refused(c.provider()+`resource "qanat_topic" "t" { name = "a b" }`, `INVALID_TOPIC_EXCEPTION.*characters`),
			refused(at("tls = { insecure = true }", ""), `without a check of the certificate is refused.*ca =`),
			refused(at(`timeouts = { request = "soon" }`, ""), `must be a time`),
			refused(at(`tls = { cert = "x" }`, ""), `go together`),
			{Config: at("", "partitions = 3")},
			refused(at("", "partitions = 2"), `has 3 partitions, and cannot have 2.*partitions = 3.*another name`),
			{Config: at("", "partitions = 3\n replication_factor = 2"), ExpectError: regexp.MustCompile(`INVALID_REPLICATION_FACTOR`)},
			refused(at("", "partitions = 3\n configs = { \"segment.bytes\" = \"x\" }"), `INVALID_CONFIG`),
			refused(c.provider(), `deletes topic no, which is not allowed.*allow_deletion = true`),
			refused(c.provider()+`resource "qanat_topic" "t" { name = "other" }`, `replaces topic no`),
			{ // one that exists, and is somebody's, is imported and not taken over
				PreConfig: func() {
					_, err := adm.CreateTopic(t.Context(), 2, 1, nil, "theirs")
					broken(t, err)
				},
				Config: at("", "partitions = 3") + `resource "qanat_topic" "theirs" {
 name = "theirs"
 partitions = 3
 }`,
				ExpectError: regexp.MustCompile(`(?s)TOPIC_ALREADY_EXISTS\s+\(36\).*import`),
			},
			{Config: at("", "partitions = 3") + `resource "qanat_topic" "theirs" {
				name = "theirs"
				partitions = 2
			}`}, // it is empty, and as it is written: what a broken-off apply leaves
			{Config: c.provider(allowed)},
		},
	})
}

// Partitions would not get as many replicas as is written, each in a rack of its own, or a failure in the middle would not be finished by the next apply.
func TestTopicReplication(t *testing.T) {
	c := three(t)
	adm := c.admin(t)
	at := func(factor int) string {
		return c.provider(allowed, `timeouts = { request = "20s" }`) + fmt.Sprintf("resource \"qanat_topic\" \"t\" {\n  name = \"replicas\"\n  partitions = 6\n  replication_factor = %d\n}\n", factor)
	}
	is := func(factor int) resource.TestCheckFunc {
		return func(*terraform.State) error {
			topics, err := adm.ListTopics(t.Context(), "replicas")
			if err != nil {
				return err
			}
			for _, p := range topics["replicas"].Partitions {
				if len(p.Replicas) != factor || len(p.ISR) != factor {
					return fmt.Errorf("partition %d has the replicas %v, in sync are %v: not %d", p.Partition, p.Replicas, p.ISR, factor)
				}
			}
			return nil
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{Config: at(1), Check: is(1)},
			{Config: at(3), Check: is(3)},
			{Config: at(2), Check: is(2)},
			{Config: at(4), ExpectError: regexp.MustCompile(`(?s)INVALID_REPLICATION_FACTOR\s+\(38\).*3 are active`)},
		},
	})
}

// A broker that goes down in the middle of an apply would leave something that the next apply cannot finish, or an error that says nothing.
func TestBrokerDown(t *testing.T) {
	c := three(t)
	adm := c.admin(t)
	config := c.provider(allowed, `timeouts = { request = "5s", wait = "5s" }`) + `
resource "qanat_topic" "wide" {
  count              = 3
  name               = "wide-${count.index}"
  partitions         = 4
  replication_factor = %d
}`
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories("test"),
		Steps: []resource.TestStep{
			{Config: fmt.Sprintf(config, 2)},
			{ // a third replica wants the broker that is down, and Terraform hears of it while it waits
				PreConfig: func() {
					broken(t, c.b[2].Kill())
					broken(t, c.await(within(t, time.Minute), c.b[0], func(h console.Cluster) bool { return h.Active == 2 && h.Controller > 0 }))
				},
				Config:      fmt.Sprintf(config, 3),
				ExpectError: regexp.MustCompile(`(?s)INVALID_REPLICATION_FACTOR.*2 are active`),
			},
			{
				PreConfig: func() {
					ctx := within(t, time.Minute)
					broken(t, c.b[2].Start(ctx))
					broken(t, c.await(ctx, c.b[0], func(h console.Cluster) bool { return h.Healthy && h.Active == 3 }))
				},
				Config: fmt.Sprintf(config, 3),
				Check: func(*terraform.State) error {
					topics, err := adm.ListTopics(t.Context(), "wide-0", "wide-1", "wide-2")
					for _, p := range topics["wide-2"].Partitions {
						if len(p.ISR) != 3 {
							return fmt.Errorf("partition %d is in sync on %v", p.Partition, p.ISR)
						}
					}
					return err
				},
			},
		},
	})
}
