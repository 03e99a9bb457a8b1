package config

import (
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Every default is allowed by its own key, every synonym exists, and every key says what it means.
func TestRegistryAgreesWithItself(t *testing.T) {
	for _, s := range []Scope{TopicScope, BrokerScope, GroupScope} {
		for _, k := range Keys(s) {
			if k.Default != "" || k.Type == Boolean {
				if err := k.validate(k.Default); err != nil {
					t.Errorf("default: %v", err)
				}
			}
			if k.Doc == "" || !strings.HasSuffix(strings.TrimSpace(k.Doc), ".") {
				t.Errorf("%s %s: doc %q", s, k.Name, k.Doc)
			}
			for _, a := range k.Synonyms {
				if _, ok := Lookup(BrokerScope, a.Name); !ok {
					t.Errorf("%s: no broker key %s", k.Name, a.Name)
				}
			}
			if k.Valid != "" != (k.Check != nil) {
				t.Errorf("%s: check and description do not go together", k.Name)
			}
		}
	}
}

// Every topic key that clients of Kafka know is here.
func TestKafkasTopicKeys(t *testing.T) {
	const list = `segment.bytes segment.ms segment.jitter.ms segment.index.bytes retention.bytes retention.ms file.delete.delay.ms
preallocate index.interval.bytes flush.messages flush.ms cleanup.policy delete.retention.ms min.compaction.lag.ms max.compaction.lag.ms
min.cleanable.dirty.ratio max.message.bytes compression.type compression.gzip.level compression.lz4.level compression.zstd.level
message.timestamp.type message.timestamp.before.max.ms message.timestamp.after.max.ms min.insync.replicas
unclean.leader.election.enable leader.replication.throttled.replicas follower.replication.throttled.replicas
remote.storage.enable local.retention.ms local.retention.bytes remote.log.copy.disable remote.log.delete.on.disable flush.mode`
	want := strings.Fields(list)
	slices.Sort(want)
	var got []string
	for _, k := range Keys(TopicScope) {
		got = append(got, k.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// docs/configuration.md is what the registry says today.
func TestDocumentationIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Markdown() {
		t.Error("docs/configuration.md is not current: run go generate ./metadata/config")
	}
}

// What people mistype is found; what is nothing like a key gets no suggestion.
func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"log.retention.houres": "log.retention.hours", "LOG_SEGMENT_BYTES": "log.segment.bytes", "bucket": "bucket.url",
		"nodeid": "node.id", "lisetners": "listeners", "segment.bytes": "log.segment.bytes", "zebra.crossing.light": "",
		"upload.stall.timeout": "tier.upload.stall.timeout.ms",
	} {
		if got := Nearest(BrokerScope, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The distance is a metric, and swapped neighbours cost one.
func TestDistance(t *testing.T) {
	if d := distance("ab", "ba", 9); d != 1 {
		t.Errorf("swap costs %d", d)
	}
	word := rapid.StringMatching(`[ab.]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b, 99)
		if d != distance(b, a, 99) || (d == 0) != (a == b) {
			t.Fatalf("distance(%q, %q) = %d, back %d", a, b, d, distance(b, a, 99))
		}
		if limited := distance(a, b, 3); limited != min(d, 3) {
			t.Fatalf("limited to 3: %d, without: %d", limited, d)
		}
	})
}

func load(t testing.TB, sets ...string) *Broker {
	t.Helper()
	b, err := Load("", nil, sets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A topic's own setting wins over the broker's dynamic one, that over the cluster's, that over the file's, that over the default.
func TestResolveOrder(t *testing.T) {
	b := load(t, "log.retention.hours=5")
	ms := func(h int) string { return number(int64(h) * hour) }
	override := map[string]string{"retention.ms": ms(1)}
	dynamic := map[string]string{"log.retention.ms": ms(2)}
	cluster := map[string]string{"log.retention.minutes": "180"}
	for _, c := range []struct {
		got  *Topic
		want time.Duration
	}{
		{b.Resolve(override, dynamic, cluster), 1 * time.Hour},
		{b.Resolve(nil, dynamic, cluster), 2 * time.Hour},
		{b.Resolve(nil, nil, cluster), 3 * time.Hour},
		{b.Resolve(nil, nil, nil), 5 * time.Hour},
		{load(t).Resolve(nil, nil, nil), 7 * 24 * time.Hour},
		{load(t, "log.retention.hours=-1").Resolve(nil, nil, nil), -time.Millisecond},
	} {
		if c.got.RetentionAge != c.want {
			t.Errorf("retention %s, want %s", c.got.RetentionAge, c.want)
		}
	}
	// A stored value that is not allowed (any more) is passed over.
	if got := b.Resolve(map[string]string{"retention.ms": "soon", "max.message.bytes": "-5"}, nil, nil); got.RetentionAge != 5*time.Hour || got.MaxMessageBytes != 1048588 {
		t.Errorf("retention %s, max message %d", got.RetentionAge, got.MaxMessageBytes)
	}
}

// The disk is bounded by default once there is a bucket, never holds more than the total, and is not released early without one.
func TestLocalRetention(t *testing.T) {
	with, without := load(t, "bucket.url=mem:"), load(t)
	for _, c := range []struct {
		b        *Broker
		topic    map[string]string
		bytes    int64
		age      time.Duration
		isRemote bool
	}{
		{with, nil, 1 << 30, 7 * 24 * time.Hour, true},
		{with, map[string]string{"local.retention.bytes": "-2"}, -1, 7 * 24 * time.Hour, true},
		{with, map[string]string{"retention.bytes": "1000"}, 1000, 7 * 24 * time.Hour, true},
		{with, map[string]string{"local.retention.bytes": "-1", "retention.bytes": "-1"}, -1, 7 * 24 * time.Hour, true},
		{with, map[string]string{"local.retention.ms": "1000"}, 1 << 30, time.Second, true},
		{with, map[string]string{"local.retention.ms": "1000", "retention.ms": "-1"}, 1 << 30, time.Second, true},
		{with, map[string]string{"cleanup.policy": "", "local.retention.ms": "1000", "retention.bytes": "5"}, 1 << 30, time.Second, true}, // KIP-1161: nothing is discarded
		{with, map[string]string{"cleanup.policy": "", "remote.storage.enable": "false", "retention.ms": "5"}, -1, -1, false},
		{with, map[string]string{"remote.storage.enable": "false"}, -1, 7 * 24 * time.Hour, false},
		{without, map[string]string{"remote.storage.enable": "true"}, -1, 7 * 24 * time.Hour, false},
	} {
		got := c.b.Resolve(c.topic, nil, nil)
		if got.LocalRetentionBytes != c.bytes || got.LocalRetentionAge != c.age || got.RemoteStorage != c.isRemote {
			t.Errorf("%v: %d bytes, %s, remote %t", c.topic, got.LocalRetentionBytes, got.LocalRetentionAge, got.RemoteStorage)
		}
	}
}

// Kafka's "never" is the longest duration, not a negative one.
func TestNeverIsLongest(t *testing.T) {
	got := load(t).Resolve(nil, nil, nil)
	if got.TimestampBefore != math.MaxInt64 || got.FlushInterval != math.MaxInt64 || got.TimestampAfter != time.Hour {
		t.Errorf("before %d, flush %d, after %s", got.TimestampBefore, got.FlushInterval, got.TimestampAfter)
	}
}

// What a topic may not be set to is refused, with the reason, all of it at once; held against what the broker gives to the rest.
func TestValidateTopic(t *testing.T) {
	with, without := load(t, "log.retention.hours=1", "bucket.url=mem:"), load(t, "log.retention.hours=1")
	compacting, patient := load(t, "log.cleanup.policy=compact", "bucket.url=mem:"), load(t, "log.cleaner.min.compaction.lag.ms=6")
	for _, c := range []struct {
		b     *Broker
		topic map[string]string
		want  string // "" for allowed
	}{
		{with, map[string]string{"cleanup.policy": "delete"}, ""},
		{with, map[string]string{"cleanup.policy": "compact"}, ""},
		{with, map[string]string{"cleanup.policy": "compact,forget"}, "cleanup.policy"},
		{with, map[string]string{"cleanup.policy": "delete,compact", "remote.storage.enable": "true"}, "remote.storage.enable"},
		{compacting, map[string]string{"remote.storage.enable": "true"}, "not allowed for a compacted topic"},
		{compacting, map[string]string{"remote.storage.enable": "true", "cleanup.policy": "delete"}, ""},
		{with, map[string]string{"cleanup.policy": ""}, ""},
		{with, map[string]string{"local.retention.ms": "7200000"}, "must not exceed retention.ms, which is 3600000"},
		{with, map[string]string{"local.retention.ms": "-1"}, "must not exceed retention.ms, which is 3600000"},
		{with, map[string]string{"local.retention.ms": "7200000", "retention.ms": "-1"}, ""},
		{with, map[string]string{"local.retention.ms": "7200000", "remote.storage.enable": "false"}, ""},
		{with, map[string]string{"local.retention.ms": "7200000", "cleanup.policy": "compact"}, ""},
		{without, map[string]string{"local.retention.ms": "7200000"}, ""},
		{with, map[string]string{"local.retention.bytes": "-1", "retention.bytes": "5"}, "local.retention.bytes"},
		{with, map[string]string{"retention.bytes": "5"}, ""}, // the default of what stays local gives way
		{with, map[string]string{"remote.storage.enable": "true"}, ""},
		{without, map[string]string{"remote.storage.enable": "true"}, "bucket.url"},
		{without, map[string]string{"remote.storage.enable": "false"}, ""},
		{with, map[string]string{"segment.bites": "5"}, `did you mean "segment.bytes"?`},
		{with, map[string]string{"compression.type": "lzma", "preallocate": "yes"}, "preallocate"},
		{with, map[string]string{"compression.gzip.level": "0"}, "between 1 and 9, or -1"},
		{with, map[string]string{"leader.replication.throttled.replicas": "0:1,x"}, "partition:broker"},
		{with, map[string]string{"min.cleanable.dirty.ratio": "NaN"}, "a number"},
		{with, map[string]string{"max.compaction.lag.ms": "5", "min.compaction.lag.ms": "6"}, "max.compaction.lag.ms"},
		{patient, map[string]string{"max.compaction.lag.ms": "5"}, "min.compaction.lag.ms: 6 is not allowed"},
	} {
		err := c.b.ValidateTopic(slices.Collect(maps.Keys(c.topic)), c.topic, nil, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.topic, err, c.want)
		}
	}
}

// What a topic was given by a broker with a bucket, or before this broker's own values changed, is in the way of no other change; what
// is changed, or what it hangs on, is checked.
func TestValidateTopicThatWas(t *testing.T) {
	without, with := load(t), load(t, "bucket.url=mem:", "log.retention.hours=1")
	was := map[string]string{"remote.storage.enable": "true", "local.retention.ms": "7200000", "segment.bytes": "a version without a check"}
	for _, c := range []struct {
		b       *Broker
		changed string
		dynamic map[string]string
		fine    bool
	}{
		{without, "max.message.bytes", nil, true},
		{without, "retention.ms", nil, true},
		{without, "remote.storage.enable", nil, false},
		{with, "max.message.bytes", nil, true},
		{with, "local.retention.ms", nil, false},
		{with, "retention.ms", nil, false}, // taken away: the broker's hour is less than what may stay local
		{with, "remote.storage.enable", nil, false},
		{with, "retention.ms", map[string]string{"log.retention.ms": "7200000"}, true},
		{with, "segment.bytes", nil, false},
	} {
		if err := c.b.ValidateTopic([]string{c.changed}, was, nil, c.dynamic); (err == nil) != c.fine {
			t.Errorf("%s, brokers' %v: %v", c.changed, c.dynamic, err)
		}
	}
}

// Brokers do not get defaults for topics that contradict each other or want a bucket that is not there.
func TestValidateDefaults(t *testing.T) {
	without, with := load(t, "log.retention.hours=1"), load(t, "bucket.url=mem:", "log.retention.hours=1")
	for _, c := range []struct {
		b       *Broker
		of, all map[string]string // one broker's, all brokers'
		changed string
		want    string
	}{
		{without, nil, map[string]string{"log.remote.storage.enable": "true"}, "log.remote.storage.enable", "bucket.url"},
		{without, map[string]string{"log.remote.storage.enable": "true"}, nil, "log.remote.storage.enable", "bucket.url"},
		{without, nil, map[string]string{"log.remote.storage.enable": "true"}, "log.segment.bytes", ""},
		{with, nil, map[string]string{"log.remote.storage.enable": "true"}, "log.remote.storage.enable", ""},
		{with, nil, map[string]string{"log.remote.storage.enable": "true", "log.cleanup.policy": "compact"}, "log.cleanup.policy", "compacted"},
		{with, nil, map[string]string{"log.local.retention.ms": "7200000"}, "log.local.retention.ms", "which is 3600000"},
		{with, map[string]string{"log.retention.ms": "7200000"}, map[string]string{"log.local.retention.ms": "7200000"}, "log.local.retention.ms", ""},
		{with, nil, map[string]string{"log.local.retention.ms": "7200000"}, "log.retention.ms", "which is 3600000"},
		{with, nil, map[string]string{"log.retention.bytes": "5"}, "log.retention.bytes", ""}, // the default gives way
		{with, nil, map[string]string{"log.cleaner.max.compaction.lag.ms": "5", "log.cleaner.min.compaction.lag.ms": "6"}, "log.cleaner.max.compaction.lag.ms", "min.compaction.lag.ms"},
	} {
		err := c.b.ValidateDefaults([]string{c.changed}, c.of, c.all)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of %v, %v: %v, want %q", c.changed, c.of, c.all, err, c.want)
		}
	}
}

// False if it failed: "nothing that decides who leads is said to be without effect".
func TestDurabilityActs(t *testing.T) {
	b := load(t)
	for key, value := range map[string]string{"min.insync.replicas": "2", "unclean.leader.election.enable": "true", "flush.mode": "async"} {
		k, ok := Lookup(TopicScope, key)
		minISR, unclean, async := b.Durability(map[string]string{key: value}, nil)
		if !ok || k.Accepted != "" || minISR == 1 && !unclean && !async {
			t.Errorf("%s=%s: %d, %v, %v; %q", key, value, minISR, unclean, async, k.Accepted)
		}
	}
}

// DescribeConfigs lists every key; the first synonym is the value, the last the default; sources are Kafka's numbers.
func TestDescribe(t *testing.T) {
	b := load(t, "log.retention.hours=5")
	entries := b.DescribeTopic(map[string]string{"retention.ms": "1"}, map[string]string{"log.retention.ms": "2"}, nil)
	if len(entries) != len(Keys(TopicScope)) {
		t.Fatalf("%d entries", len(entries))
	}
	for _, e := range entries {
		if e.Key.Name != "retention.ms" {
			continue
		}
		want := []Synonym{{"retention.ms", "1", DynamicTopic}, {"log.retention.ms", "2", DynamicBroker}, {"log.retention.hours", "18000000", StaticBroker}, {"log.retention.ms", "604800000", Default}}
		if e.Value != "1" || e.Source != DynamicTopic || !slices.Equal(e.Synonyms, want) {
			t.Errorf("%+v", e)
		}
	}
	for _, e := range b.DescribeGroup(map[string]string{"share.auto.offset.reset": "earliest"}) {
		if e.Key.Name == "share.auto.offset.reset" && (e.Source != DynamicGroup || e.Value != "earliest") {
			t.Errorf("%+v", e)
		}
	}
	if DynamicTopic != 1 || StaticBroker != 4 || Default != 5 || DynamicGroup != 8 {
		t.Error("sources are not Kafka's")
	}
}

// A sensitive value is in no entry and in no error.
func TestSensitive(t *testing.T) {
	k := Key{Name: "secret", Scope: BrokerScope, Type: Password, Sensitive: true, Check: notEmpty("something").check}
	registry[BrokerScope].byName["secret"] = &k
	saved := registry[BrokerScope].sorted
	registry[BrokerScope].sorted = append(slices.Clone(saved), k)
	defer func() {
		delete(registry[BrokerScope].byName, "secret")
		registry[BrokerScope].sorted = saved
	}()
	b := load(t, "secret=hunter2")
	if b.String("secret") != "hunter2" {
		t.Error("the broker does not get the value")
	}
	for _, e := range b.DescribeBroker(map[string]string{"secret": "hunter3"}, nil) {
		for _, s := range append(e.Synonyms, Synonym{Value: e.Value}) {
			if strings.Contains(s.Value, "hunter") {
				t.Errorf("%s shows %q", e.Key.Name, s.Value)
			}
		}
	}
	if err := Validate(BrokerScope, "secret", "  "); err == nil || strings.Contains(err.Error(), `"`) {
		t.Errorf("error %v", err)
	}
}

// What is set while the broker runs would not come before its file, or one broker's own not before that of all.
func TestRunning(t *testing.T) {
	const rate, backoff, keys = "log.cleaner.io.max.bytes.per.second", "log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size"
	b := load(t, rate+"=5", keys+"=2000000")
	for _, k := range []string{rate, backoff, keys, "remote.log.manager.copy.max.bytes.per.second"} {
		if key, _ := Lookup(BrokerScope, k); key.ReadOnly {
			t.Errorf("%s cannot be set while the broker runs", k)
		}
	}
	r := b.Running(map[string]string{rate: "1.5"}, map[string]string{rate: "7", backoff: "9223372036854775807"})
	if r.Float(rate) != 1.5 || r.Duration(backoff) != math.MaxInt64 || r.Int(keys) != 2000000 {
		t.Errorf("%v, %v, %v", r.Float(rate), r.Duration(backoff), r.Int(keys))
	}
	if r := b.Running(nil, nil); r.Float(rate) != 5 || r.Duration(backoff) != 15*time.Second {
		t.Errorf("%v, %v", r.Float(rate), r.Duration(backoff))
	}
}
