package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qanat.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The file gives way to the environment, which gives way to --set; flat and nested keys say the same; each value knows where it came from.
func TestLayers(t *testing.T) {
	path := write(t, `
# a comment
node.id: 7
log:
  retention: {hours: 12}
  segment.bytes: 1048576
listeners: [PLAINTEXT://:9092, "OUTSIDE://:9093"]
advertised.listeners: OUTSIDE://example.org:9093
auto.create.topics.enable: False
num.partitions: 3
listener.security.protocol.map: OUTSIDE:PLAINTEXT
`)
	b, err := Load(path, []string{"QANAT_NUM_PARTITIONS=4", "QANAT_BROKERS=x", "HOME=/", "QANAT_DATA_DIR=/env"}, []string{"data.dir=/set"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ key, value, from string }{
		{"node.id", "7", path + ":3"},
		{"broker.id", "7", path + ":3"},
		{"log.retention.ms", "43200000", path + ":5"},
		{"log.segment.bytes", "1048576", path + ":6"},
		{"num.partitions", "4", "environment QANAT_NUM_PARTITIONS"},
		{"data.dir", "/set", "--set"},
		{"log.dirs", "/set", "--set"},
		{"default.replication.factor", "1", ""},
		{"auto.create.topics.enable", "false", path + ":9"},
	} {
		if v, from := b.String(want.key), b.From(want.key); v != want.value || from != want.from {
			t.Errorf("%s = %q from %q, want %q from %q", want.key, v, from, want.value, want.from)
		}
	}
	if got := b.Duration("log.retention.ms"); got != 12*time.Hour {
		t.Errorf("log.retention.ms = %s", got)
	}
	if got := b.Duration("offsets.retention.minutes"); got != 7*24*time.Hour {
		t.Errorf("offsets.retention.minutes = %s", got)
	}
	if got := b.Listeners(); len(got) != 2 || got[1].Name != "OUTSIDE" || got[1].Port != 9093 {
		t.Errorf("listeners %v", got)
	}
	if got := b.Advertised("OUTSIDE", 9093).Address(); got != "example.org:9093" {
		t.Errorf("advertised %s", got)
	}
	if b.Bool("auto.create.topics.enable") {
		t.Error("auto.create.topics.enable is true")
	}
}

// Everything that is wrong is told at once, each with its line, and the nearest key where one is meant.
func TestAllErrorsTogether(t *testing.T) {
	path := write(t, `node.id: seven
log.segment.bites: 1
log:
  retention.hours: 99999999999
  cleanup: {policy: "compact,forget"}
node.id: 8
listeners: {deep: {er: 1}}
num.partitions:
admin.listener: &a localhost
raft.listener: *a
retention.ms: 1
`)
	_, err := Load(path, []string{"QANAT_LOG_LEVEL=loud"}, []string{"data.dir", "bucket.url=s3://user:secret@bucket", "log.flush.mode=fsync"})
	if err == nil {
		t.Fatal("loaded")
	}
	for _, want := range []string{
		`:1: node.id: "seven" is not allowed: it must be a whole number of 32 bits`,
		`:2: unknown broker configuration key "log.segment.bites"; did you mean "log.segment.bytes"?`,
		`:4: log.retention.hours: "99999999999" is not allowed`,
		`:5: log.cleanup.policy: "compact,forget" is not allowed: it must be "delete", "compact", "compact,delete", or empty`,
		`:6: node.id is set a second time; first in line 1`,
		`:7: unknown broker configuration key "listeners.deep.er"`,
		`:8: num.partitions has no value`,
		`:9: admin.listener: "localhost" is not allowed: it must be HOST:PORT`,
		`:10: raft.listener: aliases are not understood here`,
		`:11: unknown broker configuration key "retention.ms"; did you mean "log.retention.ms"?`,
		`environment QANAT_LOG_LEVEL: log.level: "loud" is not allowed: it must be debug, info, warn or error`,
		`--set data.dir: must be KEY=VALUE`,
		`--set: bucket.url: "s3://…@bucket" is not allowed`,
		`--set: log.flush.mode: "fsync" is not allowed: it must be group or async`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing: %s", want)
		}
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 14 {
		t.Errorf("%d errors, want 14:\n%v", n, err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the error shows a password")
	}
}

// Keys that are right by themselves and wrong together are refused.
func TestTogether(t *testing.T) {
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{"group.min.session.timeout.ms=5000", "group.max.session.timeout.ms=4000"}, "group.min.session.timeout.ms: 5000 exceeds"},
		{[]string{"log.remote.storage.enable=true"}, "there is no bucket"},
		{[]string{"advertised.listeners=OTHER://a:1"}, "OTHER is no listener"},
		{[]string{"log.local.retention.ms=7200000", "log.retention.hours=1"}, "local.retention.ms: 7200000 is not allowed"},
		{[]string{"log.local.retention.ms=-1"}, "local.retention.ms: -1 is not allowed: it must not exceed retention.ms, which is 604800000"},
		{[]string{"log.cleanup.policy=compact", "log.remote.storage.enable=true", "bucket.url=mem:"}, "not allowed for a compacted topic"},
		{[]string{"tier.fetch.range.bytes=1073741824"}, "tier.fetch.range.bytes"},
		{[]string{"tier.readahead.min.bytes=100", "tier.readahead.max.bytes=10"}, "tier.readahead.min.bytes"},
		{[]string{"log.dirs=/a,/b"}, "one directory"},
		{[]string{"listeners=SASL_SSL://:9093"}, "SASL does not exist in this version"},
		{[]string{"listeners=A://:9093", "listener.security.protocol.map=A:SASL_PLAINTEXT"}, "SASL does not exist in this version"},
		{[]string{"listeners=PUBLIC://:9093"}, "say PUBLIC:SSL or PUBLIC:PLAINTEXT"},
		{[]string{"listeners=CLUSTER://:9093"}, "choose another name"},
		{[]string{"listener.security.protocol.map=A:TLS"}, "no security protocol"},
		{[]string{"listener.name.public.ssl.client.auth=required"}, "there is no listener PUBLIC"},
		{[]string{"listener.name.PLAINTEXT.ssl.client.auth=required"}, "unknown broker configuration key"},
		{[]string{"listener.name.plaintext.num.partitions=3"}, "unknown broker configuration key"},
		{[]string{"listener.name.plaintext.ssl.client.auth=yes"}, "none, requested or required"},
		{[]string{"ssl.keystore.type=JKS"}, "keytool"},
		{[]string{"ssl.enabled.protocols=TLSv1.1"}, "TLSv1.2 or TLSv1.3"},
		{[]string{"advertised.listeners=PLAINTEXT://0.0.0.0:9092"}, "hosts that clients can reach"},
		{[]string{"group.streams.heartbeat.interval.ms=100"}, "group.streams.min.heartbeat.interval.ms"},
		{[]string{"group.streams.session.timeout.ms=60001"}, "group.streams.max.session.timeout.ms"},
		{[]string{"group.streams.assignment.interval.ms=15001"}, "group.streams.max.assignment.interval.ms"},
		{[]string{"group.streams.max.heartbeat.interval.ms=50000", "group.streams.heartbeat.interval.ms=50000"}, "leaves no time for a heartbeat in group.streams.session.timeout.ms"},
		{[]string{"group.streams.num.standby.replicas=3"}, "group.streams.max.standby.replicas"},
	} {
		_, err := Load("", nil, c.sets)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.sets, err, c.want)
		}
	}
}

// Bad syntax is an error with its line, and no file at all is one too.
func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"node.id: 1\n\tx: [":        "qanat.yaml:2: ",
		"a: 1\n---\nb: 2\n":         "one document",
		"- a\n- b\n":                "a configuration is a list of KEY: VALUE lines",
		"just words":                "a configuration is a list of KEY: VALUE lines",
		"? [a, b]\n: 1\n":           "a key must be a plain name",
		"listeners: [[a]]\n":        "a list's items must be plain values",
		"<<: {node.id: 1}\n":        "a key must be a plain name",
		"node: {id: 1}\nnode.id: 2": "node.id is set a second time; first in line 1",
	} {
		_, err := Load(write(t, text), nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), nil, nil); err == nil {
		t.Error("a missing file was loaded")
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		if _, err := Load(write(t, empty), nil, nil); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

// A later layer's value by one name replaces an earlier layer's by a synonym; within one layer the finer key wins.
func TestSynonymsAcrossLayers(t *testing.T) {
	path := write(t, "log.retention.ms: 1000\nbroker.id: 3\ndata.dir: /file\n")
	b, err := Load(path, nil, []string{"log.retention.hours=2", "node.id=4", "log.dirs=/set"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Duration("log.retention.ms"); got != 2*time.Hour {
		t.Errorf("log.retention.ms = %s", got)
	}
	if b.Int("broker.id") != 4 || b.DataDir() != "/set" {
		t.Errorf("broker.id %d, data dir %s", b.Int("broker.id"), b.DataDir())
	}
	b, err = Load(write(t, "log.retention.hours: 2\nlog.retention.ms: 1000\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Duration("log.retention.ms"); got != time.Second {
		t.Errorf("log.retention.ms = %s", got)
	}
}

// Any allowed assignments give the same configuration as file (flat), file (nested), environment and --set.
func TestAnyAssignmentEveryWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := map[string]string{}
		for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(Keys(BrokerScope)), 1, 8, func(k Key) string { return k.Name }).Draw(t, "keys") {
			v := rapid.OneOf(rapid.Just(k.Default), rapid.StringMatching(`-?[0-9]{1,7}`), rapid.SampledFrom([]string{"true", "false", "group", "async", "gzip", "dir:/x", "a b", "x"})).Draw(t, k.Name)
			if Validate(BrokerScope, k.Name, v) == nil {
				values[k.Name] = v
			}
		}
		var environ, sets []string
		var flat, nested strings.Builder
		for _, k := range slices.Sorted(maps.Keys(values)) {
			sets = append(sets, k+"="+values[k])
			environ = append(environ, "QANAT_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))+"="+values[k])
			fmt.Fprintf(&flat, "%s: %q\n", k, values[k])
			parts := strings.Split(k, ".")
			fmt.Fprintf(&nested, "%s: {%s: %q}\n", parts[0], strings.Join(parts[1:], "."), values[k])
		}
		dir, err := os.MkdirTemp("", "config")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		file := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return path
		}
		load := map[string]func() (*Broker, error){
			"flat": func() (*Broker, error) { return Load(file("flat", flat.String()), nil, nil) },
			"env":  func() (*Broker, error) { return Load("", environ, nil) },
			"set":  func() (*Broker, error) { return Load("", nil, sets) },
		}
		if !strings.Contains(nested.String(), "{: ") {
			load["nested"] = func() (*Broker, error) { return Load(file("nested", nested.String()), nil, nil) }
		}
		first, firstErr := load["set"]()
		for name, l := range load {
			b, err := l()
			if (err == nil) != (firstErr == nil) {
				t.Fatalf("%s: %v; set: %v", name, err, firstErr)
			}
			if err != nil {
				continue
			}
			for _, k := range Keys(BrokerScope) {
				if b.String(k.Name) != first.String(k.Name) {
					t.Fatalf("%s: %s = %q, by --set %q", name, k.Name, b.String(k.Name), first.String(k.Name))
				}
			}
		}
	})
}

// No file, however odd, makes the loader panic, and what it accepts is valid in every key.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"node.id: 1\n", "log: {retention: {hours: 1}}\n", "listeners: [A://:1, B://:2]\n", "a: &x [*x]\n", "? {a: b}\n: c\n",
		"node.id: !!int \"1\"\n", "log.retention.hours: -1\nlog.retention.ms: ~\n", "\xff\xfe", "{{{{", "---\n---\n", "bucket.url: dir:/x\nlog.remote.storage.enable: true\n",
		"admin.listener: '[::1]:1'\n", "%YAML 9.9\n---\n", strings.Repeat("a: {", 200),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := loader{values: map[string]origin{}}
		l.yaml("f.yaml", text)
		b := &Broker{values: l.values}
		if len(l.errs) == 0 {
			l.errs = b.check()
		}
		for _, err := range l.errs {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
		}
		if len(l.errs) > 0 {
			return
		}
		for _, e := range b.DescribeBroker(nil, nil) {
			if e.Source == StaticBroker {
				if err := Validate(BrokerScope, e.Key.Name, e.Value); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.Resolve(nil, nil, nil)
		b.Listeners()
	})
}

// Credentials that someone wrote into a URL are in no message.
func TestWithoutUser(t *testing.T) {
	for in, want := range map[string]string{
		"s3://user:pass@b/p": "s3://…@b/p", "s3://b/p@q": "s3://b/p@q", "x": "x", "minio://a@b": "minio://…@b",
	} {
		if got := withoutUser(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
