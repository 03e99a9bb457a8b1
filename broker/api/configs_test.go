package api

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
)

// describe asks for one resource's configurations.
func describe(s *harness, kind command.ResourceType, name string, keys ...string) kmsg.DescribeConfigsResponseResource {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceType(kind), name, keys
	req.Resources = append(req.Resources, r)
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	return ask[*kmsg.DescribeConfigsResponse](s, req, 4).Resources[0]
}

// change is one operation of IncrementalAlterConfigs.
type change struct {
	op    kmsg.IncrementalAlterConfigOp
	name  string
	value string
}

// alterOne sends operations on one resource.
func alterOne(s *harness, kind command.ResourceType, name string, validateOnly bool, changes ...change) kmsg.IncrementalAlterConfigsResponseResource {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(kind), name
	for _, c := range changes {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Op, rc.Name = c.op, c.name
		if c.op != kmsg.IncrementalAlterConfigOpDelete && c.value != "<null>" {
			rc.Value = &c.value
		}
		r.Configs = append(r.Configs, rc)
	}
	req.Resources, req.ValidateOnly = append(req.Resources, r), validateOnly
	return ask[*kmsg.IncrementalAlterConfigsResponse](s, req, 1).Resources[0]
}

const (
	set      = kmsg.IncrementalAlterConfigOpSet
	del      = kmsg.IncrementalAlterConfigOpDelete
	extend   = kmsg.IncrementalAlterConfigOpAppend
	subtract = kmsg.IncrementalAlterConfigOpSubtract
)

// Every registered key is described, with value, source, type and documentation; an override and its synonyms show where a
// value comes from.
func TestDescribeConfigs(t *testing.T) {
	s := newHarness(t)
	s.topic("t", 1)
	for kind, sc := range map[command.ResourceType]config.Scope{resourceTopic: config.TopicScope, resourceBroker: config.BrokerScope, resourceGroup: config.GroupScope} {
		name := map[command.ResourceType]string{resourceTopic: "t", resourceBroker: "1", resourceGroup: "not yet there"}[kind]
		r := describe(s, kind, name)
		keys := config.Keys(sc)
		if r.ErrorCode != 0 || len(r.Configs) != len(keys) {
			t.Fatalf("%v: error %d, %d of %d keys", sc, r.ErrorCode, len(r.Configs), len(keys))
		}
		for i, c := range r.Configs {
			k := keys[i]
			if c.Name != k.Name || c.ReadOnly != k.ReadOnly || c.Documentation == nil || c.ConfigType != kmsg.ConfigType(k.Type) || c.Value == nil != k.Sensitive {
				t.Errorf("%s: %+v", k.Name, c)
			}
		}
	}
	alterOne(s, resourceTopic, "t", false, change{set, "segment.bytes", "1048576"})
	c := describe(s, resourceTopic, "t", "segment.bytes").Configs
	if len(c) != 1 || deref(c[0].Value) != "1048576" || c[0].Source != kmsg.ConfigSourceDynamicTopicConfig || len(c[0].ConfigSynonyms) < 2 || c[0].ConfigSynonyms[0].Name != "segment.bytes" {
		t.Errorf("%+v", c)
	}
	for _, r := range []kmsg.DescribeConfigsResponseResource{
		describe(s, resourceTopic, "none"), describe(s, resourceTopic, ".."), describe(s, resourceBroker, "2"), describe(s, resourceLogger, "1"),
		describe(s, resourceClient, ""), describe(s, resourceGroup, ""), describe(s, 77, "x"),
	} {
		if r.ErrorCode == 0 || r.ErrorMessage == nil || r.ErrorCode == kerr.UnknownServerError.Code {
			t.Errorf("%v %q: error %d", r.ResourceType, r.ResourceName, r.ErrorCode)
		}
	}
}

// Brokers' dynamic configurations: one broker's, and the default of all, each described where it belongs and refused where
// only the file may speak.
func TestBrokerConfigs(t *testing.T) {
	s := newHarness(t)
	if r := alterOne(s, resourceBroker, "", false, change{set, "log.retention.ms", "7000"}); r.ErrorCode != 0 {
		t.Fatalf("%v", deref(r.ErrorMessage))
	}
	if c := describe(s, resourceBroker, "").Configs; len(c) != 1 || c[0].Name != "log.retention.ms" || deref(c[0].Value) != "7000" || c[0].Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig {
		t.Errorf("%+v", c)
	}
	if c := describe(s, resourceBroker, "1", "log.retention.ms").Configs; deref(c[0].Value) != "7000" {
		t.Errorf("%+v", c)
	}
	s.topic("t", 1)
	if c := describe(s, resourceTopic, "t", "retention.ms").Configs; deref(c[0].Value) != "7000" {
		t.Errorf("%+v", c)
	}
	if r := alterOne(s, resourceBroker, "1", false, change{set, "num.partitions", "7"}); r.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("read-only: %d %v", r.ErrorCode, deref(r.ErrorMessage))
	}
}

// SET, DELETE, APPEND and SUBTRACT do what KIP-339 says; what is invalid changes nothing.
func TestIncrementalAlterConfigs(t *testing.T) {
	s := newHarness(t, "bucket.url=mem:")
	s.topic("t", 1)
	const list = "leader.replication.throttled.replicas"
	want := map[string]string{}
	for _, c := range []struct {
		changes []change
		err     *kerr.Error
		after   map[string]string
	}{
		{[]change{{set, "retention.ms", "1000"}, {set, "segment.bytes", "1048576"}}, nil, map[string]string{"retention.ms": "1000", "segment.bytes": "1048576"}},
		{[]change{{del, "segment.bytes", ""}}, nil, map[string]string{"retention.ms": "1000"}},
		{[]change{{del, "segment.bytes", ""}}, nil, map[string]string{"retention.ms": "1000"}},
		{[]change{{extend, list, "0:1,1:1"}}, nil, map[string]string{"retention.ms": "1000", list: "0:1,1:1"}},
		{[]change{{extend, list, "1:1,2:1"}}, nil, map[string]string{"retention.ms": "1000", list: "0:1,1:1,2:1"}},
		{[]change{{subtract, list, "1:1,9:9"}}, nil, map[string]string{"retention.ms": "1000", list: "0:1,2:1"}},
		{[]change{{del, list, ""}}, nil, map[string]string{"retention.ms": "1000"}},
		{[]change{{set, "retention.ms", "soon"}}, kerr.InvalidConfig, nil},
		{[]change{{set, "retention.mss", "1"}}, kerr.InvalidConfig, nil},
		{[]change{{del, "retention.mss", ""}}, kerr.InvalidConfig, nil},
		{[]change{{extend, "retention.ms", "1"}}, kerr.InvalidConfig, nil},
		{[]change{{extend, "nothing", "1"}}, kerr.InvalidConfig, nil},
		{[]change{{set, "retention.ms", "<null>"}}, kerr.InvalidRequest, nil},
		{[]change{{9, "retention.ms", "1"}}, kerr.InvalidRequest, nil},
		{[]change{{set, "retention.ms", "1"}, {del, "retention.ms", ""}}, kerr.InvalidRequest, nil},
		{[]change{{set, "local.retention.ms", "2000"}}, kerr.InvalidConfig, nil}, // above retention.ms
		{[]change{{set, "cleanup.policy", "forget"}}, kerr.InvalidConfig, nil},
	} {
		before := s.meta.index
		if r := alterOne(s, resourceTopic, "t", true, c.changes...); (r.ErrorCode == 0) != (c.err == nil) || s.meta.index != before {
			t.Errorf("%v: a rehearsal answered %d, or acted", c.changes, r.ErrorCode)
		}
		r := alterOne(s, resourceTopic, "t", false, c.changes...)
		if c.err == nil {
			want = c.after
		}
		if code := r.ErrorCode; c.err == nil && code != 0 || c.err != nil && code != c.err.Code {
			t.Errorf("%v: error %v (%v), want %v", c.changes, kerr.ErrorForCode(code), deref(r.ErrorMessage), c.err)
		}
		if got := s.meta.Image().Configs(resourceTopic, "t"); !maps.Equal(got, want) {
			t.Errorf("%v: %v, want %v", c.changes, got, want)
		}
	}
	if r := alterOne(s, resourceTopic, "none", false, change{set, "retention.ms", "1"}); r.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("unknown topic: %d", r.ErrorCode)
	}
	if r := alterOne(s, resourceLogger, "1", false, change{set, "root", "DEBUG"}); r.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("logger: %d", r.ErrorCode)
	}
}

// A topic is not told to keep in a bucket what a broker has no bucket for, nor more on disk than this broker's retention keeps of it at
// all; by whatever request, in earnest or as a rehearsal. What it was told elsewhere is in nobody's way.
func TestTopicsAgreeWithTheirBroker(t *testing.T) {
	bare, tiered := newHarness(t, "log.retention.hours=1"), newHarness(t, "log.retention.hours=1", "bucket.url=mem:")
	for _, s := range []*harness{bare, tiered} {
		s.topic("t", 1)
	}
	for _, c := range []struct {
		s                *harness
		name, value, say string // "" for taken
	}{
		{bare, "remote.storage.enable", "true", "bucket.url"},
		{bare, "local.retention.ms", "7200000", ""},
		{tiered, "remote.storage.enable", "true", ""},
		{tiered, "local.retention.ms", "7200000", "which is 3600000"},
		{tiered, "local.retention.ms", "3600000", ""},
	} {
		check := func(what string, code int16, said *string) {
			t.Helper()
			if c.say == "" && code != 0 || c.say != "" && (code != kerr.InvalidConfig.Code || !strings.Contains(deref(said), c.say)) {
				t.Errorf("%s %s=%s: %d %s, want %q", what, c.name, c.value, code, deref(said), c.say)
			}
		}
		for _, rehearsal := range []bool{true, false} {
			r := alterOne(c.s, resourceTopic, "t", rehearsal, change{set, c.name, c.value})
			check("incremental", r.ErrorCode, r.ErrorMessage)
			req := kmsg.NewPtrAlterConfigsRequest()
			one := kmsg.NewAlterConfigsRequestResource()
			one.ResourceType, one.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
			one.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: c.name, Value: &c.value}}
			req.Resources, req.ValidateOnly = append(req.Resources, one), rehearsal
			if rehearsal { // in earnest it would take back what the others have set, and find nothing new the next time
				a := ask[*kmsg.AlterConfigsResponse](c.s, req, 2).Resources[0]
				check("alter", a.ErrorCode, a.ErrorMessage)
			}
			create := kmsg.NewPtrCreateTopicsRequest()
			create.Topics, create.ValidateOnly = append(create.Topics, newTopic("new-"+c.name+c.value, 1, 1, c.name, c.value)), rehearsal
			n := ask[*kmsg.CreateTopicsResponse](c.s, create, 7).Topics[0]
			check("create", n.ErrorCode, n.ErrorMessage)
		}
	}
	// All brokers' defaults: seen from here.
	for _, s := range []*harness{bare, tiered} {
		r := alterOne(s, resourceBroker, "", false, change{set, "log.remote.storage.enable", "true"})
		if refused := r.ErrorCode == kerr.InvalidRequest.Code; refused != (s == bare) || !refused && r.ErrorCode != 0 {
			t.Errorf("tiering as the default of topics: %d %s", r.ErrorCode, deref(r.ErrorMessage))
		}
		if r := alterOne(s, resourceBroker, "1", true, change{set, "log.local.retention.ms", "7200000"}); r.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("more on disk than there is as the default of topics: %d %s", r.ErrorCode, deref(r.ErrorMessage))
		}
	}
	// In a rolling cluster another broker has a bucket, and has been asked.
	topic, _ := bare.meta.Image().TopicByName("t")
	bare.propose1(command.SetConfigs{Type: resourceTopic, Name: topic.Name, Set: map[string]string{"remote.storage.enable": "true"}})
	if r := alterOne(bare, resourceTopic, "t", false, change{set, "max.message.bytes", "1000"}); r.ErrorCode != 0 {
		t.Errorf("a topic that is tiered elsewhere cannot be changed here: %s", deref(r.ErrorMessage))
	}
}

// A group's configurations may be set before the group exists.
func TestGroupConfigs(t *testing.T) {
	s := newHarness(t)
	k := config.Keys(config.GroupScope)[0]
	if r := alterOne(s, resourceGroup, "g", false, change{set, k.Name, k.Default}); r.ErrorCode != 0 {
		t.Fatalf("%v", deref(r.ErrorMessage))
	}
	if c := describe(s, resourceGroup, "g", k.Name).Configs; len(c) != 1 || c[0].Source != 8 {
		t.Errorf("%+v", c)
	}
}

// A group would be given timeouts that the broker's bounds do not admit, and told nothing; or a heartbeat that its session has no time for.
func TestGroupConfigsStayWithinBounds(t *testing.T) {
	const session, beat = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
	s := newHarness(t)
	for _, c := range []struct {
		changes []change
		refused string // what the message names
	}{
		{[]change{{set, session, "44999"}}, "group.consumer.min.session.timeout.ms"},
		{[]change{{set, session, "60001"}}, "group.consumer.max.session.timeout.ms"},
		{[]change{{set, beat, "4999"}}, "group.consumer.min.heartbeat.interval.ms"},
		{[]change{{set, beat, "15001"}}, "group.consumer.max.heartbeat.interval.ms"},
		{[]change{{set, session, "60000"}, {set, beat, "15000"}}, ""},
		{[]change{{del, session, ""}, {del, beat, ""}}, ""},
	} {
		r := alterOne(s, resourceGroup, "g", false, c.changes...)
		if said := deref(r.ErrorMessage); c.refused == "" && r.ErrorCode != 0 || c.refused != "" && (r.ErrorCode != kerr.InvalidConfig.Code || !strings.Contains(said, c.refused)) {
			t.Errorf("%v: %d %s", c.changes, r.ErrorCode, said)
		}
	}
	// What older bounds admitted stays, and is in nobody's way.
	s.propose1(command.SetConfigs{Type: resourceGroup, Name: "g", Set: map[string]string{session: "1000"}})
	if r := alterOne(s, resourceGroup, "g", false, change{set, beat, "15000"}); r.ErrorCode != 0 {
		t.Errorf("%d %s", r.ErrorCode, deref(r.ErrorMessage))
	}
}

// AlterConfigs replaces everything; a resource named twice in one request is not changed at all.
func TestAlterConfigs(t *testing.T) {
	s := newHarness(t)
	s.topic("t", 1)
	alter := func(times int, configs ...string) []kmsg.AlterConfigsResponseResource {
		req := kmsg.NewPtrAlterConfigsRequest()
		for range times {
			r := kmsg.NewAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
			for i := 0; i < len(configs); i += 2 {
				c := kmsg.NewAlterConfigsRequestResourceConfig()
				c.Name, c.Value = configs[i], &configs[i+1]
				r.Configs = append(r.Configs, c)
			}
			req.Resources = append(req.Resources, r)
		}
		return ask[*kmsg.AlterConfigsResponse](s, req, 2).Resources
	}
	expect := func(want map[string]string) {
		t.Helper()
		if got := s.meta.Image().Configs(resourceTopic, "t"); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if r := alter(1, "retention.ms", "1", "segment.bytes", "1048576"); r[0].ErrorCode != 0 {
		t.Errorf("%v", deref(r[0].ErrorMessage))
	}
	expect(map[string]string{"retention.ms": "1", "segment.bytes": "1048576"})
	alter(1, "retention.ms", "2")
	expect(map[string]string{"retention.ms": "2"})
	for _, r := range alter(2, "retention.ms", "3") {
		if r.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("named twice: %d", r.ErrorCode)
		}
	}
	if r := alter(1, "retention.ms", "3", "retention.ms", "4"); r[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("key given twice: %d", r[0].ErrorCode)
	}
	expect(map[string]string{"retention.ms": "2"})
	alter(1)
	expect(nil)
}

// A key that is unknown and like no other is refused without naming another, which would be no help.
func TestUnknownConfigNamesNearestOnly(t *testing.T) {
	if got := unknownConfig(config.TopicScope, "retention.m").Error(); !strings.Contains(got, `the nearest is "retention.ms"`) {
		t.Errorf("%q does not name what was meant", got)
	}
	if got := unknownConfig(config.TopicScope, "sasl.kerberos.min.time.before.relogin").Error(); strings.Contains(got, "nearest") {
		t.Errorf("%q", got)
	}
}

// silentQuorum has lost its majority: it answers no proposal.
type silentQuorum struct{ *memoryQuorum }

func (silentQuorum) ProposeAsync(command.Command, func(any, error)) {}

// While the quorum does not answer, each change of configurations would wait for all those before it in turn, also when its client
// has long gone.
func TestConfigsDoNotQueueUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t)
		s.topic("t", 1)
		s.Handler.quorum = silentQuorum{s.meta}
		began := time.Now()
		var asking sync.WaitGroup
		for range 4 {
			asking.Go(func() {
				req := kmsg.NewPtrAlterConfigsRequest()
				r := kmsg.NewAlterConfigsRequestResource()
				r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
				c := kmsg.NewAlterConfigsRequestResourceConfig()
				c.Name, c.Value = "retention.ms", kmsg.StringPtr("1")
				r.Configs = append(r.Configs, c)
				req.Resources = append(req.Resources, r)
				if r := ask[*kmsg.AlterConfigsResponse](s, req, 2).Resources[0]; r.ErrorCode != kerr.RequestTimedOut.Code {
					t.Errorf("%+v", r)
				}
			})
		}
		asking.Wait()
		if took := time.Since(began); took != maxConfigWaitMs*time.Millisecond {
			t.Errorf("all were answered after %v", took)
		}
	})
}

// A resource would be missing from the list, or one be in it that there is not.
func TestListConfigResources(t *testing.T) {
	s := newHarness(t)
	s.topic("t", 1)
	if r := alterOne(s, resourceGroup, "g", false, change{set, "consumer.session.timeout.ms", "50000"}); r.ErrorCode != 0 {
		t.Fatalf("%s", *r.ErrorMessage)
	}
	if r := alterOne(s, resourceClient, "sub", false, change{set, "metrics", "*"}, change{set, "match", "client_id=a.*"}); r.ErrorCode != 0 {
		t.Fatalf("%s", *r.ErrorMessage)
	}
	if r := alterOne(s, resourceClient, "sub", false, change{set, "match", "client_id=(a"}); r.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a pattern that is none: code %d", r.ErrorCode)
	}
	s.alterQuota([]string{"user", "u"}, quotaOp{"producer_byte_rate", 1})
	for _, c := range []struct {
		version int16
		types   []int8
		want    string
		code    int16
	}{
		{0, nil, "16 sub, ", 0},
		{1, nil, "2 t, 4 1, 16 sub, 32 g, ", 0},
		{1, []int8{32, 32}, "32 g, ", 0},
		{1, []int8{16}, "16 sub, ", 0},
		{1, []int8{4, 64}, "", kerr.UnsupportedVersion.Code},
		{1, []int8{8}, "", kerr.UnsupportedVersion.Code},
	} {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = c.types
		r := ask[*kmsg.ListConfigResourcesResponse](s, req, c.version)
		got := ""
		for _, x := range r.ConfigResources {
			got += fmt.Sprintf("%d %s, ", x.Type, x.Name)
		}
		if got != c.want || r.ErrorCode != c.code {
			t.Errorf("v%d %v: %q, code %d; want %q, %d", c.version, c.types, got, r.ErrorCode, c.want, c.code)
		}
	}
}
