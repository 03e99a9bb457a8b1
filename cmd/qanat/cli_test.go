package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "rewrite golden files")

// cli runs command lines against a fake cluster, and keeps what they print.
type cli struct {
	t       *testing.T
	fake    *kfake.Cluster // nil: there is none
	brokers string
	admin   string
	tty     bool
	log     bytes.Buffer
}

func fakeCluster(t *testing.T, options ...kfake.Opt) *cli {
	t.Helper()
	options = append([]kfake.Opt{kfake.NumBrokers(1), kfake.SleepOutOfOrder()}, options...)
	c, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &cli{t: t, fake: c, brokers: strings.Join(c.ListenAddrs(), ",")}
}

// result is one run.
type result struct {
	code        int
	out, errors string
}

func (c *cli) runWith(ctx context.Context, stdin string, args ...string) result {
	c.t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"QANAT_BROKERS": c.brokers, "QANAT_ADMIN": c.admin}
	a := &app{
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, stdinTTY: c.tty,
		getenv: func(k string) string { return env[k] }, environ: func() []string { return nil },
	}
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

func (c *cli) run(args ...string) result {
	c.t.Helper()
	return c.runWith(c.t.Context(), "", args...)
}

// story runs a command line and writes it, with all it prints, to the golden file.
func (c *cli) story(stdin string, args ...string) result {
	c.t.Helper()
	r := c.runWith(c.t.Context(), stdin, args...)
	fmt.Fprintf(&c.log, "$ qanat %s\n%s", strings.Join(args, " "), r.out)
	for line := range strings.Lines(r.errors) {
		c.log.WriteString("! " + line)
	}
	fmt.Fprintf(&c.log, "→ %d\n\n", r.code)
	return r
}

// unstable are parts of the output that differ from run to run, or with every key that is added somewhere.
var unstable = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`/\S*/TestDump\d*/\d+`), "/TMP"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`(\bid |"id": "|  )[A-Za-z0-9_-]{22}\b`), "${1}ID--------------------"},
	{regexp.MustCompile(`"timestamp":( ?)1\d{12}`), `"timestamp":${1}NOW`},
	{regexp.MustCompile(`\b\d+\.\d+s\b`), "TIMEs"},
	{regexp.MustCompile(`"(lag|age|idle)_seconds": [0-9.e-]+`), `"${1}_seconds": S`},
	{regexp.MustCompile(`\b\d{16,19}\b`), "PRODUCER-ID"},
	{regexp.MustCompile(`\d+( keys at their defaults)`), "N$1"},
}

// matches compares the story with its golden file.
func (c *cli) matches(name string) {
	c.t.Helper()
	text := c.log.String()
	for _, u := range unstable {
		text = u.re.ReplaceAllString(text, u.with)
	}
	compare(c.t, name, text)
}

func compare(t *testing.T, name, text string) {
	t.Helper()
	golden := filepath.Join(testdata, name+".golden")
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", golden, firstDifference(string(want), text))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %q\ngot  %q", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(w), len(g))
}

// Topics are created, listed, described, altered, trimmed and deleted, and every format and refusal looks as it did.
func TestTopics(t *testing.T) {
	c := fakeCluster(t)
	c.story("", "topic", "create", "events", "orders", "-p", "2", "-r", "1", "-c", "retention.ms=1000")
	c.story("", "topic", "create", "events")
	c.story("", "topic", "create", "events", "--if-not-exists")
	c.story("", "topic", "create", "x", "-c", "retention")
	c.story("", "topic", "create", "dry", "-r", "1", "-p", "1", "--dry-run")
	c.story("", "topic", "list")
	c.story("", "topic", "list", "-o", "wide")
	c.story("", "topic", "list", "-o", "json", "^ord")
	c.story("", "topic", "list", "-o", "yaml", "nothing")
	c.story("", "topic", "list", "(")
	c.story("", "topic", "list", "-o", "xml")
	c.story("", "topic", "describe", "events")
	c.story("", "topic", "describe", "nothing")
	c.story("", "topic", "alter", "events", "--set", "retention.ms=5000", "--set", "segment.bytes=1048576", "--dry-run")
	c.story("", "topic", "alter", "events", "--set", "retention.ms=5000")
	c.story("", "topic", "alter", "events", "--delete", "retention.ms")
	c.story("", "topic", "alter", "events")
	c.story("", "topic", "add-partitions", "events", "-n", "1")
	c.story("", "topic", "add-partitions", "events")
	c.story("a\nb\nc\n", "produce", "events", "-p", "0")
	c.story("", "topic", "trim", "events", "--before", "2", "-p", "0")
	c.story("", "topic", "trim", "events", "--before", "2", "-p", "0", "--yes")
	c.story("", "topic", "trim", "events", "--before", "yesterday", "--yes")
	c.fake.ControlKey(int16(kmsg.DeleteRecords), func(req kmsg.Request) (kmsg.Response, error, bool) { // as of a compacted topic
		resp, rt, rp := req.ResponseKind().(*kmsg.DeleteRecordsResponse), kmsg.NewDeleteRecordsResponseTopic(), kmsg.NewDeleteRecordsResponseTopicPartition()
		rp.LowWatermark, rp.ErrorCode = -1, kerr.PolicyViolation.Code
		rt.Topic, rt.Partitions = "events", append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	c.story("", "topic", "trim", "events", "--before", "2", "-p", "0", "--yes")
	c.story("", "topic", "describe", "events", "-o", "json")
	c.story("", "topic", "delete", "orders")
	c.story("", "topic", "delete", "orders", "-y")
	c.story("", "topic", "delete", "orders", "-y")
	c.story("", "topic", "lst")
	c.story("", "tipoc")
	c.story("", "topic", "list", "--wide")
	c.matches("topics")
}

// Records go in by any layout and come out by any layout, range and filter.
func TestProduceConsume(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "one"), kfake.SeedTopics(2, "two"))
	c.story("a\nb\nc\nd\ne\n", "produce", "one", "--output-format", `%t %p %o %v\n`)
	c.story("k1=v1\nk2=\n", "produce", "one", "-f", `%k=%v\n`, "-H", "h:x", "-Z", "-z", "zstd")
	c.story("", "consume", "one", "-o", "start", "-n", "2", "-f", `%o %v\n`)
	c.story("", "consume", "one", "-o", ":end", "-f", `%o %k %v\n`)
	c.story("", "consume", "one", "-o", ":2", "-f", `%o %v\n`)
	c.story("", "consume", "one", "-o", "1:3", "-f", `%o %v\n`)
	c.story("", "consume", "one", "-o", "1:+2", "-f", `%o %v\n`)
	c.story("", "consume", "one", "-o", "-2:end", "-f", `%o %k\n`)
	c.story("", "consume", "one", "-o", "+3:end", "-f", `%o\n`)
	c.story("", "consume", "one", "-o", "@-1h:end", "-f", `%o\n`)
	c.story("", "consume", "one", "-o", "@2020-01-01:2020-01-02", "-f", `%o\n`)
	c.story("", "consume", "one", "-o", "end:end", "-f", `%o\n`)
	c.story("", "consume", "one", "-o", ":end", "--grep", "^[bd]$|k2", "-f", `%o\n`)
	c.story("", "consume", "one", "-o", "5:7")
	c.story("", "consume", "one", "-o", "5:7", "--meta-only")
	c.story("", "consume", "one", "-o", "6:7", "--pretty")
	c.story("", "consume", "one", "-o", "sometimes")
	c.story("", "consume", "one", "-f", "%q")
	c.story("", "consume", "one", "--grep", "(")
	c.story("", "consume", "none", "-o", ":end")
	c.story("", "consume", "one", "-p", "7", "-o", ":end")
	c.story("x\n", "produce", "two", "-p", "1")
	c.story("", "consume", "-r", "^tw", "-o", ":end", "-f", `%t %p %v\n`)
	c.story("t-in-line two\n", "produce", "-f", `%v %t\n`)
	c.story("x\n", "produce")
	c.story("x\n", "produce", "two", "-z", "lzma")
	c.story("x\n", "produce", "two", "--acks", "2")
	c.story("x\n", "produce", "nowhere", "--create=false")
	c.story("x\n", "produce", "two", "--file", "/does/not/exist")
	c.story("", "topic", "create", "latest", "-p", "1", "-r", "1", "-c", "cleanup.policy=compact")
	refuse := func(req kmsg.Request) (kmsg.Response, error, bool) { // as Kafka does what has no key
		produce := req.(*kmsg.ProduceRequest)
		resp := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range produce.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, kerr.InvalidRecord.Code, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	}
	for _, topic := range []string{"latest", "one"} { // of the other something else must be wrong
		c.fake.ControlKey(int16(kmsg.Produce), refuse)
		c.story("x\n", "produce", topic)
	}
	c.matches("records")
}

// Groups are listed, described with their lag, moved and deleted; what cannot be is refused.
func TestGroups(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "one"))
	c.story("a\nb\nc\nd\n", "produce", "one")
	c.story("", "consume", "one", "-g", "readers", "-o", "start", "-n", "3", "-f", `%v\n`)
	c.story("", "group", "list")
	c.story("", "group", "list", "-o", "wide")
	c.story("", "group", "list", "--type", "Classic", "--state", "empty")
	c.story("", "group", "list", "--type", "queue")
	c.story("", "group", "seek", "readers", "--to", "", "-y")
	c.story("", "group", "seek", "readers", "--to", "1", "--dry-run")
	c.story("", "group", "seek", "readers", "--to", "1")
	c.story("", "group", "seek", "readers", "--to", "1", "-y")
	c.story("", "group", "describe", "readers")
	c.story("", "group", "describe", "readers", "-s", "-o", "json")
	c.story("", "group", "seek", "copy", "--to-group", "readers", "-y", "-o", "json")
	c.story("", "group", "seek", "copy", "--to", "end", "--topics", "one", "-y")
	c.story("", "group", "describe", "copy", "readers")
	c.story("", "group", "seek", "new", "--to", "end", "-y")
	c.story("", "group", "seek", "readers", "--to", "end", "--to-group", "copy")
	c.story("", "group", "seek", "readers")
	c.story("", "group", "describe", "nobody")
	c.story("", "group", "describe", "nobody", "readers", "none", "-s")
	c.story("", "group", "delete", "copy", "-y")
	c.story("", "group", "delete", "nobody", "-y")
	c.matches("groups")
}

// Share groups are listed, moved and made to forget; what cannot be is refused, and no other group is taken for one.
func TestShares(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "jobs"))
	c.story("a\nb\nc\nd\n", "produce", "jobs")
	c.story("", "consume", "jobs", "-g", "readers", "-o", "start", "-n", "1", "-f", `%v\n`)
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.brokers, ",")...), kgo.ShareGroup("workers"), kgo.ConsumeTopics("jobs"))
	if err != nil {
		t.Fatal(err)
	}
	earliest, config := "earliest", kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "share.auto.offset.reset", &earliest
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, "workers"
	resource.Configs = append(resource.Configs, config)
	set := kmsg.NewPtrIncrementalAlterConfigsRequest()
	set.Resources = append(set.Resources, resource)
	if _, err := set.RequestWith(t.Context(), cl); err != nil {
		t.Fatal(err)
	}
	if n := cl.PollRecords(t.Context(), 10).NumRecords(); n != 4 {
		t.Fatalf("%d records are given out", n)
	}
	cl.MarkAcks(kgo.AckAccept)
	if err := cl.FlushAcks(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.story("", "share", "seek", "workers", "--to", "start", "-y")
	cl.Close()
	other, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c.story("", "share", "list")
	c.story("", "share", "seek", "workers", "--to", "1", "--dry-run")
	c.story("", "share", "seek", "workers", "--to", "1", "-y")
	c.story("", "group", "seek", "workers", "--to", "+2", "-y")
	far := kadm.Offsets{}
	far.AddOffset("jobs", 0, 1_000_000, -1)
	if _, err := kadm.NewClient(other).AlterShareGroupOffsets(t.Context(), "workers", far); err != nil {
		t.Fatal(err)
	}
	c.story("", "share", "describe", "workers")
	c.story("", "share", "seek", "workers", "--to-group", "readers", "-y")
	c.story("", "share", "seek", "readers", "--to", "1", "-y")
	c.story("", "share", "forget", "readers", "jobs", "-y")
	c.story("", "share", "forget", "workers", "other", "-y")
	c.story("", "share", "forget", "workers", "jobs")
	c.story("", "share", "forget", "workers", "jobs", "-y")
	c.story("", "share", "forget", "workers", "jobs", "-y")
	c.matches("shares")
}

// With nobody there every command says who could not be reached and what to do, with its own exit code, and soon.
func TestNothingRunning(t *testing.T) {
	c := &cli{t: t, brokers: "127.0.0.1:1", admin: "127.0.0.1:1"}
	for _, line := range []string{
		"topic list", "topic create x", "topic describe x", "topic alter x --set a=b", "topic delete x", "topic add-partitions x -n 1", "topic trim x --before 1",
		"topic storage", "produce x", "consume x", "group list", "group describe g", "group seek g --to end", "group delete g",
		"txn list", "txn describe t", "txn find-hanging", "txn abort t",
		"tier status", "tier sweep --yes", "tier scrub", "bench produce", "bench consume", "bench e2e",
	} {
		r := c.story("", strings.Fields(line)...)
		if r.code != exitUnreachable || r.out != "" || !strings.Contains(r.errors, "is the broker running?") {
			t.Errorf("%s: %d %q %q", line, r.code, r.out, r.errors)
		}
	}
	c.matches("unreachable")
}

// A question that is answered with anything but yes changes nothing.
func TestConfirm(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "one"))
	c.tty = true
	for answer, want := range map[string]int{"n\n": exitDeclined, "\n": exitDeclined, "": exitDeclined, "whatever\n": exitDeclined, "y\n": exitOK} {
		r := c.runWith(t.Context(), answer, "topic", "delete", "one")
		if r.code != want {
			t.Errorf("%q: %d %s", answer, r.code, r.errors)
		}
		if want == exitOK {
			c.run("topic", "create", "one", "-p", "1", "-r", "1")
		}
	}
}

// A person who stops a broker is told that it was heard, and that the stop was clean; a broker without a terminal prints its one line alone.
func TestStopIsAnswered(t *testing.T) {
	for _, tty := range []bool{true, false} {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		var out, errs bytes.Buffer
		a := &app{
			stdin: strings.NewReader(""), stderr: &errs, stderrTTY: tty, getenv: func(string) string { return "" }, environ: func() []string { return nil },
			stdout: writerFunc(func(p []byte) (int, error) { interrupt(); return out.Write(p) }),
		}
		code := a.run(ctx, []string{"dev", "--dir", t.TempDir(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "log.level=error"})
		if code != exitOK || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("code %d, output %q, errors %q", code, out.String(), errs.String())
		}
		if got := strings.Contains(errs.String(), "stopping: ") && strings.Contains(errs.String(), "stopped cleanly"); got != tty {
			t.Errorf("with a terminal: %t; told: %q", tty, errs.String())
		}
	}
}

// writerFunc is a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Ctrl-C ends a consumer without an error, after it has printed what it had, and other commands with the code of an interruption.
func TestInterrupted(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "one"))
	if r := c.runWith(t.Context(), "a\n", "produce", "one"); r.code != 0 {
		t.Fatal(r.errors)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	a := &app{
		stdin: strings.NewReader(""), stderr: &errs, environ: func() []string { return nil },
		getenv: func(k string) string { return map[string]string{"QANAT_BROKERS": c.brokers}[k] },
		stdout: writerFunc(func(p []byte) (int, error) {
			cancel() // the user has seen enough
			return out.Write(p)
		}),
	}
	if code := a.run(ctx, []string{"consume", "one", "-o", "start", "-f", `%v\n`}); code != exitOK || out.String() != "a\n" || errs.Len() > 0 {
		t.Errorf("%d %q %q", code, out.String(), errs.String())
	}
	if r := c.runWith(ctx, "", "topic", "list"); r.code != exitInterrupted || r.errors != "" {
		t.Errorf("%d %q", r.code, r.errors)
	}
}

// TAB offers topics and groups that exist, keys of the configuration, and nothing when nobody is there.
func TestCompletion(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(1, "events", "orders", "extra"))
	for line, want := range map[string]string{
		"topic describe e":            "events\nextra\n:4\n",
		"topic delete events e":       "extra\n:4\n",
		"consume o":                   "orders\n:4\n",
		"topic list -o y":             "table\nwide\njson\nyaml\n:4\n",
		"dev --set bucket.":           "bucket.url=\n:6\n",
		"topic create -c local.reten": "local.retention.bytes=\nlocal.retention.ms=\n:6\n",
	} {
		if r := c.run(append([]string{"__complete"}, strings.Fields(line)...)...); r.out != want {
			t.Errorf("%s: %q, want %q", line, r.out, want)
		}
	}
	gone := &cli{t: t, brokers: "127.0.0.1:1"}
	if r := gone.run("__complete", "topic", "describe", ""); r.out != ":4\n" {
		t.Errorf("%q", r.out)
	}
}

// config check tells all that is wrong with its line, or what the configuration amounts to.
func TestConfigCheck(t *testing.T) {
	c := &cli{t: t}
	c.story("", "config", "check", "testdata/good.yaml")
	c.story("", "config", "check", "testdata/good.yaml", "--explain", "--set", "num.partitions=4")
	c.story("", "config", "check", "testdata/good.yaml", "-o", "json")
	c.story("", "config", "check", "testdata/bad.yaml", "--set", "node.id")
	c.story("", "config", "check", "testdata/none.yaml")
	c.story("", "config", "check", "--set", "bucket.url=S3://b") // what only tier/object knows is told here too, before a broker starts
	c.story("", "config", "check", "--set", "bucket.url=minio://b")
	c.story("", "serve", "--set", "bucket.url=s3://b?endpoint=127.0.0.1:9000")
	c.story("", "serve", "--config", "testdata/bad.yaml")
	c.story("", "dev", "--listen", "nowhere", "--bucket", "ftp://x", "--set", "log.segment.byts=1")
	c.matches("config")
}

// Help, exit codes and the version are there.
func TestHelp(t *testing.T) {
	c := &cli{t: t}
	if r := c.run("help", "exit-codes"); r.code != 0 || !strings.Contains(r.out, "130  interrupted") {
		t.Errorf("%+v", r)
	}
	if r := c.run("version", "-o", "json"); r.code != 0 || !strings.Contains(r.out, `"version"`) {
		t.Errorf("%+v", r)
	}
	for _, words := range []string{"", "topic", "group", "tier", "bench", "log", "config"} {
		if r := c.run(strings.Fields(words)...); r.code != 0 || !strings.Contains(r.out, "Usage:") {
			t.Errorf("%q: %+v", words, r)
		}
	}
}

// An exit code is found through wrapping, and an error is never silent.
func TestExitCodes(t *testing.T) {
	if got := exitCode(fmt.Errorf("outer: %w", failf(exitConfig, "", "inner"))); got != exitConfig {
		t.Errorf("%d", got)
	}
	if got := exitCode(errors.New("any")); got != exitFailed {
		t.Errorf("%d", got)
	}
	var b bytes.Buffer
	report(&b, failf(exitFailed, "do this\nor that", "one\ntwo"))
	if b.String() != "error: one\n       two\n hint: do this\n       or that\n" {
		t.Errorf("%q", b.String())
	}
}

// A flag that is missing or malformed is wrong usage: told in words, without Go's own, and with the way to the help.
func TestFlagErrorsNameTheirHelp(t *testing.T) {
	for _, args := range [][]string{
		{"topic", "add-partitions", "demo"},
		{"topic", "create", "demo", "-p", "abc"},
		{"group", "seek", "readers"},
	} {
		var out, errs strings.Builder
		a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, environ: func() []string { return nil }}
		code := a.run(t.Context(), args)
		if code != exitUsage || !strings.Contains(errs.String(), "hint: see qanat "+args[0]+" "+args[1]+" --help") || strings.Contains(errs.String(), "strconv") {
			t.Errorf("%v: exit code %d, %s", args, code, errs.String())
		}
	}
}

// A client that waits would not say for what, say it again and again, never end, or not say what to do about it.
func TestWhatIsWaitedForIsSaid(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "one"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	c := &cli{t: t, brokers: strings.Join(cluster.ListenAddrs(), ",")}
	if r := c.runWith(t.Context(), "a\n", "produce", "one"); r.code != 0 {
		t.Fatal(r.errors)
	}
	failing := 3
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if failing == 0 {
			return nil, nil, false
		}
		failing--
		f := req.(*kmsg.FetchRequest)
		res := f.ResponseKind().(*kmsg.FetchResponse)
		for _, asked := range f.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
			part := kmsg.NewFetchResponseTopicPartition()
			part.ErrorCode = kerr.KafkaStorageError.Code
			topic.Partitions = append(topic.Partitions, part)
			res.Topics = append(res.Topics, topic)
		}
		return res, nil, true
	})
	r := c.run("consume", "one", "-o", ":end", "-f", `%v\n`)
	if r.code != 0 || r.out != "a\n" || strings.Count(r.errors, "waiting: one/0: KAFKA_STORAGE_ERROR") != 1 || !strings.Contains(r.errors, "the broker's log") {
		t.Errorf("consume: %+v", r)
	}

	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		p := req.(*kmsg.ProduceRequest)
		res := p.ResponseKind().(*kmsg.ProduceResponse)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = p.Topics[0].Topic, p.Topics[0].TopicID
		part := kmsg.NewProduceResponseTopicPartition()
		part.ErrorCode = kerr.KafkaStorageError.Code
		topic.Partitions = append(topic.Partitions, part)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	r = c.runWith(t.Context(), "b\n", "produce", "one", "--delivery-timeout", "1s")
	if r.code != exitFailed || !strings.Contains(r.errors, "1 record not acknowledged") || !strings.Contains(r.errors, "cluster health") {
		t.Errorf("produce: %+v", r)
	}
	if r = c.runWith(t.Context(), "b\n", "produce", "one", "--delivery-timeout", "1ms"); r.code != exitUsage {
		t.Errorf("a timeout too small: %+v", r)
	}
}

// Who moves or deletes a group that has members would be told a code alone.
func TestGroupWithMembers(t *testing.T) {
	for _, code := range []error{kerr.UnknownMemberID, kerr.NonEmptyGroup} {
		err := withMembers(fmt.Errorf("readers: %w", code))
		var f *failure
		if exitCode(err) != exitRefused || !errors.As(err, &f) || !strings.Contains(f.remedy, "stop its consumers") || !errors.Is(err, code) {
			t.Errorf("%v: %v", code, err)
		}
	}
	if withMembers(nil) != nil || withMembers(kerr.GroupIDNotFound) != error(kerr.GroupIDNotFound) {
		t.Error("other outcomes are changed")
	}
}

// A group of the consumer protocol would be said not to exist, or be shown without where its members are.
func TestGroupOfTheConsumerProtocol(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(4, "one"))
	if r := c.runWith(t.Context(), "a\nb\n", "produce", "one"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers), kgo.ServerSideBalancer(), kgo.ConsumerGroup("modern"), kgo.ConsumeTopics("one"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ClientID("reader"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for n := 0; n < 2; {
		fs := cl.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		n += fs.NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string][]string{
		"group list":                    {"modern", "consumer"},
		"group describe modern":         {"consumer", "Stable", "reader", "the same"},
		"group describe modern -o json": {`"type": "consumer"`, `"assignment_epoch": `, `"assigned": `, `"lag": 0`},
	} {
		r := c.run(strings.Fields(args)...)
		for _, w := range want {
			if r.code != 0 || !strings.Contains(r.out, w) {
				t.Errorf("%s does not say %q: %+v", args, w, r)
			}
		}
	}
	if got := assignmentText(kadm.TopicsSet{"a": {0: {}, 1: {}, 3: {}, 4: {}, 5: {}}, "b": {7: {}}}); got != "a:0-1,3-5 b:7" {
		t.Errorf("%q", got)
	}
}
