package api

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire"
)

// ApiVersions tells exactly the table, remembers the client's software, and finalizes only what is served.
func TestApiVersions(t *testing.T) {
	s := newHarness(t)
	s.atNewestLevel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "apache-kafka-java", "4.2.0"
	s.ClientMetrics = clientmetrics.New(time.Now, 1<<20, nil)
	without := ask[*kmsg.ApiVersionsResponse](s, req, 4)
	if len(without.ApiKeys) != len(wire.Table())-2 || slices.ContainsFunc(without.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == 71 || k.ApiKey == 72 }) {
		t.Errorf("without a subscription: %d keys", len(without.ApiKeys))
	}
	s.propose1(command.SetConfigs{Type: command.ClientMetrics, Name: "all", Set: map[string]string{"metrics": "*"}})
	s.ClientMetrics.Follow(s.meta.Image())
	r := ask[*kmsg.ApiVersionsResponse](s, req, 4)
	if len(r.ApiKeys) != len(wire.Table()) || s.peer.Software != "apache-kafka-java" || s.peer.SoftwareVersion != "4.2.0" {
		t.Errorf("%d keys, client %q %q", len(r.ApiKeys), s.peer.Software, s.peer.SoftwareVersion)
	}
	for i, a := range wire.Table() {
		if k := r.ApiKeys[i]; k.ApiKey != a.Key || k.MinVersion != a.Min || k.MaxVersion != a.Max {
			t.Errorf("%s: %+v", a.Name, k)
		}
	}
	if len(r.FinalizedFeatures) != 7 || r.FinalizedFeatures[0].Name != "metadata.version" {
		t.Errorf("features %+v", r.FinalizedFeatures)
	}
	if n := len(r.SupportedFeatures); n != 8 || r.SupportedFeatures[7].Name != "qanat.metadata" || r.SupportedFeatures[7].MaxVersion != int16(command.NewestLevel) {
		t.Errorf("supported %+v", r.SupportedFeatures)
	}
	for _, f := range r.SupportedFeatures {
		if f.MinVersion == 0 {
			t.Errorf("%s has minimum 0, which v3 may not say", f.Name)
		}
	}
}

// A name or version that could not be a label is refused; before v3 there was none to refuse.
func TestApiVersionsSoftwareName(t *testing.T) {
	s := newHarness(t)
	for name, ok := range map[string]bool{
		"a": true, "a-b.c": true, "librdkafka": true, "1.2": true,
		"": false, "-a": false, "a-": false, "a b": false, "a\n": false, "ä": false, ".": false, "a/b": false,
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = name, "1"
		r := ask[*kmsg.ApiVersionsResponse](s, req, 3)
		if (r.ErrorCode == 0) != ok || !ok && r.ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("%q: error %d", name, r.ErrorCode)
		}
		if r := ask[*kmsg.ApiVersionsResponse](s, req, 2); r.ErrorCode != 0 {
			t.Errorf("v2: error %d", r.ErrorCode)
		}
	}
}

// A request newer than ours is answered in v0, with the range to choose from.
func TestApiVersionsTooNew(t *testing.T) {
	s := newHarness(t)
	c := &call{replies: make(chan wire.Reply, 1)}
	c.x = wire.NewExchange(func(_ *wire.Exchange, r wire.Reply) { c.replies <- r })
	c.x.Client, c.x.Key, c.x.Version = s.peer, 18, 99
	s.Handle(c.x)
	r := c.now(t).Message.(*kmsg.ApiVersionsResponse)
	if r.Version != 0 || r.ErrorCode != kerr.UnsupportedVersion.Code || len(r.ApiKeys) != 1 || r.ApiKeys[0].ApiKey != 18 || r.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("%+v", r)
	}
}

// docs/wire.md lists exactly the APIs and versions that are served.
func TestWireTableIsDocumented(t *testing.T) {
	f, err := os.Open("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	row := regexp.MustCompile(`^\| (\d+) \| ([A-Za-z]+) \| (\d+)-(\d+) \|`)
	var documented []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m := row.FindStringSubmatch(lines.Text()); m != nil {
			documented = append(documented, strings.Join(m[1:], " "))
		}
	}
	var served []string
	for _, a := range wire.Table() {
		served = append(served, fmt.Sprintf("%d %s %d %d", a.Key, a.Name, a.Min, a.Max))
	}
	if d, s := strings.Join(documented, "\n"), strings.Join(served, "\n"); d != s {
		t.Errorf("documented:\n%s\nserved:\n%s", d, s)
	}
}

// A feature would be set to what the cluster does not work at, or what it does work at be refused.
func TestUpdateFeatures(t *testing.T) {
	s := newHarness(t)
	s.atNewestLevel()
	update := func(version int16, features ...kmsg.UpdateFeaturesRequestFeatureUpdate) *kmsg.UpdateFeaturesResponse {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.FeatureUpdates, req.TimeoutMillis = features, 1000
		return ask[*kmsg.UpdateFeaturesResponse](s, req, version)
	}
	to := func(name string, level int16) kmsg.UpdateFeaturesRequestFeatureUpdate {
		return kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: name, MaxVersionLevel: level, UpgradeType: 1}
	}
	granted := []kmsg.UpdateFeaturesRequestFeatureUpdate{to("metadata.version", metadataVersion), to("group.version", 1), to("kraft.version", 1), to(levelFeature, int16(command.NewestLevel))}
	if r := update(2, granted...); r.ErrorCode != 0 || len(r.Results) != 0 {
		t.Errorf("what holds: %+v", r)
	}
	if r := update(1, granted...); r.ErrorCode != 0 || len(r.Results) != len(granted) || r.Results[1].Feature != "group.version" || r.Results[1].ErrorCode != 0 {
		t.Errorf("what holds, v1: %+v", r)
	}
	for _, version := range []int16{0, 1, 2} {
		for _, f := range []kmsg.UpdateFeaturesRequestFeatureUpdate{to("metadata.version", 7), to("group.version", 2), to("group.version", 0), to("none", 1), to(levelFeature, 1)} {
			if r := update(version, to("group.version", 1), f); f.Feature != "group.version" && (r.ErrorCode != kerr.InvalidUpdateVersion.Code || r.ErrorMessage == nil || len(r.Results) != 0) {
				t.Errorf("v%d, %s to %d after one that is granted: %+v", version, f.Feature, f.MaxVersionLevel, r)
			}
			if r := update(version, f); r.ErrorCode != kerr.InvalidUpdateVersion.Code || r.ErrorMessage == nil || len(r.Results) != 0 {
				t.Errorf("v%d, %s to %d: %+v", version, f.Feature, f.MaxVersionLevel, r)
			}
		}
		odd := to("group.version", 1)
		odd.UpgradeType = 9
		if r := update(version, odd); (r.ErrorCode == kerr.InvalidUpdateVersion.Code) != (version > 0) { // v0 has no types
			t.Errorf("v%d, an upgrade of no type: %+v", version, r)
		}
		if r := update(version, to("group.version", 1), to("group.version", 1)); r.ErrorCode != kerr.InvalidRequest.Code || len(r.Results) != 0 {
			t.Errorf("v%d, named twice: %+v", version, r)
		}
	}
}
