package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/integration/harness"
)

// arrived is what a Collector has handed on of what brokers push to it, by broker: the resource's service.instance.id.
type arrived struct {
	mu        sync.Mutex
	resources map[string]map[string]string                     // attributes
	metrics   map[string]map[string]map[string]*metrics.Metric // scope, name: the last one
	spans     map[string][]*spans.Span
	logs      map[string][]*logs.LogRecord
}

func (a *arrived) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = a.take(r.URL.Path, raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (a *arrived) take(path string, raw []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch path {
	case "/v1/metrics":
		var m collectormetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		for _, r := range m.ResourceMetrics {
			of := a.resource(r.Resource.GetAttributes())
			if a.metrics[of] == nil {
				a.metrics[of] = map[string]map[string]*metrics.Metric{}
			}
			for _, s := range r.ScopeMetrics {
				by := a.metrics[of][s.Scope.GetName()]
				if by == nil {
					by = map[string]*metrics.Metric{}
					a.metrics[of][s.Scope.GetName()] = by
				}
				for _, x := range s.Metrics {
					by[x.Name] = x
				}
			}
		}
	case "/v1/traces":
		var m collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		for _, r := range m.ResourceSpans {
			of := a.resource(r.Resource.GetAttributes())
			for _, s := range r.ScopeSpans {
				a.spans[of] = append(a.spans[of], s.Spans...)
			}
		}
	case "/v1/logs":
		var m collectorlogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(raw, &m); err != nil {
			return err
		}
		for _, r := range m.ResourceLogs {
			of := a.resource(r.Resource.GetAttributes())
			for _, s := range r.ScopeLogs {
				a.logs[of] = append(a.logs[of], s.LogRecords...)
			}
		}
	default:
		return fmt.Errorf("nothing is known of %s", path)
	}
	return nil
}

func (a *arrived) resource(list []*common.KeyValue) string {
	all := map[string]string{}
	for _, kv := range list {
		all[kv.Key] = kv.Value.GetStringValue()
	}
	of := all["service.instance.id"]
	a.resources[of] = all
	return of
}

// collector is a real OpenTelemetry Collector with the configuration that `qanat generate otelcol` writes: but for its ports, and that it hands on what comes besides
// printing it.
type collector struct {
	*arrived
	grpc, http string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	program := filepath.Join("..", "bin", "clients", "otelcol", "otelcol")
	if installed := os.Getenv("INTEROP_CLIENTS"); installed != "" {
		program = filepath.Join(installed, "otelcol", "otelcol")
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("QANAT_TEST_CLIENTS") == "all" {
			t.Fatalf("%v, and QANAT_TEST_CLIENTS=all: integration/scripts/clients-install otelcol", err)
		}
		t.Skip("NOT TRIED: the OpenTelemetry Collector is not installed (integration/scripts/clients-install otelcol)")
	}
	generated, err := exec.Command(qanat, "generate", "otelcol").Output()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	if err := os.WriteFile(config, generated, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "validate", "--config", config).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("the generated configuration: %v\n%s", err, out)
	}
	c := &collector{&arrived{
		resources: map[string]map[string]string{}, metrics: map[string]map[string]map[string]*metrics.Metric{}, spans: map[string][]*spans.Span{}, logs: map[string][]*logs.LogRecord{},
	}, address(t), address(t)}
	sink := httptest.NewServer(c.arrived)
	t.Cleanup(sink.Close)
	args := []string{"--config", config}
	for _, set := range []string{
		"receivers::otlp::protocols::grpc::endpoint: " + c.grpc, "receivers::otlp::protocols::http::endpoint: " + c.http,
		"exporters::otlp_http: {endpoint: " + sink.URL + ", compression: none}", "service::telemetry::metrics::level: none",
		"service::pipelines::metrics::exporters: [debug, otlp_http]", "service::pipelines::traces::exporters: [debug, otlp_http]", "service::pipelines::logs::exporters: [debug, otlp_http]",
	} {
		args = append(args, "--config", "yaml:"+set)
	}
	var said bytes.Buffer
	run := exec.Command(program, args...)
	run.Stdout, run.Stderr = &said, &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := run.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, run.Wait())
		if err != nil || t.Failed() {
			t.Logf("the Collector ended with %v and said:\n%s", err, said.String())
		}
	})
	until(t, "the Collector listens", func() bool {
		r, err := http.Post("http://"+c.http+"/v1/traces", "application/json", strings.NewReader("{}"))
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return c
}

// sees waits until what has arrived is as it should be.
func (a *arrived) sees(t *testing.T, what string, ok func() bool) {
	t.Helper()
	until(t, what, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return ok()
	})
}

// False if it failed: "metrics, traces and logs of three loaded brokers arrive at a real OpenTelemetry Collector, over gRPC and over HTTP: every metric under the name, unit and kind
// that docs/metrics.md has, with counts that are the clients'; a slow produce as a trace whose stages say what it waited for; a replay as one that names what it read from the bucket; every line of the logs".
func TestCollector(t *testing.T) {
	c := startCollector(t)
	ctx := within(t, 4*time.Minute)
	k := newClusterWith(ctx, t, qanat, 3, func(b *harness.Broker, id int) {
		b.Env = append(b.Env, "OTEL_METRIC_EXPORT_INTERVAL=500", "OTEL_BSP_SCHEDULE_DELAY=200", "OTEL_BLRP_SCHEDULE_DELAY=200", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test")
		if id == 1 {
			b.Env = append(b.Env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+c.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
		} else {
			b.Env = append(b.Env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+c.http)
		}
	}, "log.retention.check.interval.ms=200", "tier.cache.bytes=0", "trace.sample.ratio=1", "trace.slow.ms=1000", "log.format=json", "metrics.clients.max=10")
	records := loadForCollector(ctx, t, k)
	slow := slowProduce(ctx, t, k)

	c.resourcesAre(t)
	c.metricsAre(t, records)
	c.producesAre(t, slow)
	c.replayIs(t)
	c.logsAre(t, k)
}

// loadForCollector has records produced by acks=all, read by a group, and read from the bucket; it is how many there are of topic work.
func loadForCollector(ctx context.Context, t *testing.T, k *cluster) int {
	t.Helper()
	tiny := "65536"
	adm := k.admin()
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, "work"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"segment.bytes": &tiny, "local.retention.bytes": &tiny}, "history"); err != nil {
		t.Fatal(err)
	}
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.seeds()...), kgo.ClientID("app")}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	const work, history = 20_000, 100
	producer := client()
	var failed error
	var mu sync.Mutex
	for i := range work {
		producer.Produce(ctx, &kgo.Record{Topic: "work", Value: fmt.Appendf(nil, "record %d", i)}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	if err := errors.Join(producer.Flush(ctx), failed); err != nil {
		t.Fatal(err)
	}
	past := client(kgo.DefaultProduceTopic("history"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range history {
		if err := past.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 10_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range k.b {
		archived(t, b)
	}
	reader := client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("work"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	replay := client(kgo.ConsumeTopics("history"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for _, each := range []struct {
		from *kgo.Client
		n    int
	}{{reader, work}, {replay, history}} {
		for n := 0; n < each.n; {
			n += each.from.PollFetches(ctx).NumRecords()
			if ctx.Err() != nil {
				t.Fatal("what was produced is not read")
			}
		}
	}
	if err := reader.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return work
}

// parentOfSlow is the trace that the slow produce's record belongs to, as its producer says.
const parentOfSlow = "0af7651916cd43dd8448eb211c80319c"

// slowProduce is a produce to a partition one of whose followers hangs: it is answered when that one has left the ISR. It is who led.
func slowProduce(ctx context.Context, t *testing.T, k *cluster) (leader string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.seeds()...), kgo.ClientID("slow"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	produce := func(partition int32, headers ...kgo.RecordHeader) {
		t.Helper()
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "work", Partition: partition, Value: []byte("slow"), Headers: headers}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	topics, err := k.admin().ListTopics(ctx, "work")
	if err != nil {
		t.Fatal(err)
	}
	partition, node := int32(-1), int32(-1)
	for _, p := range topics["work"].Partitions {
		if p.Leader != 3 {
			partition, node = p.Partition, p.Leader
		}
	}
	if partition < 0 {
		t.Fatalf("broker 3 leads all of it: %v", topics["work"].Partitions)
	}
	produce(partition)
	if err := k.b[2].Pause(); err != nil {
		t.Fatal(err)
	}
	produce(partition, kgo.RecordHeader{Key: "traceparent", Value: []byte("00-" + parentOfSlow + "-b7ad6b7169203331-01")})
	if err := k.b[2].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(node)
}

func (c *collector) resourcesAre(t *testing.T) {
	t.Helper()
	c.sees(t, "three brokers have pushed all three signals", func() bool {
		return len(c.metrics) == 3 && len(c.spans) == 3 && len(c.logs) == 3
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range []string{"1", "2", "3"} {
		r := c.resources[id]
		for key, want := range map[string]string{
			"service.name": "qanat", "service.version": c.resources["1"]["service.version"], "kafka.cluster.id": c.resources["1"]["kafka.cluster.id"],
			"telemetry.sdk.language": "go", "deployment.environment.name": "test",
		} {
			if r[key] != want || want == "" {
				t.Errorf("broker %s: %s is %q, want %q", id, key, r[key], want)
			}
		}
	}
}

func (c *collector) metricsAre(t *testing.T, records int) {
	t.Helper()
	const scope = "github.com/qanat-io/qanat"
	c.sees(t, "the brokers count as many records as were produced", func() bool {
		n := int64(0)
		for _, by := range c.metrics {
			for _, p := range by[scope]["qanat.topic.records"].GetSum().GetDataPoints() {
				if value(p.Attributes, "topic") == "work" {
					n += p.GetAsInt() + int64(p.GetAsDouble())
				}
			}
		}
		return n == int64(records)+2 // and slowProduce's
	})
	declared := map[string]telemetry.Declaration{}
	for _, d := range telemetry.Declarations {
		if !d.PrometheusOnly {
			declared[d.Name] = d
		}
	}
	// Some come late: a cluster's state is not asked for at each push, and the group's coordinator may be who hung.
	var missing []string
	if err := harness.Until(within(t, 90*time.Second), func() (bool, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		missing = nil
		for name := range declared {
			seen := unasked[name]
			for _, by := range c.metrics {
				seen = seen || by[scope][name] != nil
			}
			if !seen {
				missing = append(missing, name)
			}
		}
		return len(missing) == 0, nil
	}); err != nil {
		slices.Sort(missing)
		t.Errorf("no broker has pushed %v", missing)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, by := range c.metrics {
		if by["go.opentelemetry.io/contrib/instrumentation/runtime"]["go.goroutine.count"] == nil {
			t.Errorf("broker %s tells nothing of its runtime", id)
		}
		for name, m := range by[scope] {
			d, ok := declared[name]
			if !ok {
				t.Errorf("broker %s: %s is in no documentation", id, name)
				continue
			}
			kind := "gauge"
			switch {
			case m.GetHistogram() != nil && m.GetHistogram().AggregationTemporality == metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE:
				kind = "histogram"
				for _, p := range m.GetHistogram().DataPoints {
					if !slices.Equal(p.ExplicitBounds, d.Buckets) {
						t.Errorf("broker %s: %s has buckets %v, want %v", id, name, p.ExplicitBounds, d.Buckets)
					}
				}
			case m.GetSum().GetIsMonotonic():
				kind = "counter"
			}
			if kind != d.Kind.String() || m.Unit != d.Unit || m.Description != d.Help {
				t.Errorf("broker %s: %s is a %s in %q, %q; want %s, %q, %q", id, name, kind, m.Unit, m.Description, d.Kind, d.Unit, d.Help)
			}
		}
	}
}

// unasked are metrics that there is nothing to tell of here: no listener has TLS.
var unasked = map[string]bool{"qanat.tls.certificate.remaining": true}

func (c *collector) producesAre(t *testing.T, leader string) {
	t.Helper()
	var root *spans.Span
	stages := map[string]*spans.Span{}
	c.sees(t, "the slow produce has a trace", func() bool {
		for _, s := range c.spans[leader] {
			if s.Name == "Produce" && value(s.Attributes, "messaging.client.id") == "slow" && value(s.Attributes, "qanat.kept") == "slow" {
				root = s
			}
		}
		for _, s := range c.spans[leader] {
			if root != nil && bytes.Equal(s.ParentSpanId, root.SpanId) {
				stages[s.Name] = s
			}
		}
		return len(stages) == 4
	})
	at := root.StartTimeUnixNano
	for _, name := range []string{"append", "flush", "replicate", "ack"} {
		s := stages[name]
		if s == nil || s.StartTimeUnixNano != at || !bytes.Equal(s.TraceId, root.TraceId) {
			t.Fatalf("stage %s is %v, within %v", name, s, root)
		}
		at = s.EndTimeUnixNano
		t.Logf("%s %v", name, time.Duration(s.EndTimeUnixNano-s.StartTimeUnixNano))
	}
	if at != root.EndTimeUnixNano || root.Kind != spans.Span_SPAN_KIND_SERVER || value(root.Attributes, "messaging.destination.name") != "work" {
		t.Errorf("the stages end at %d; the request is %v", at, root)
	}
	took := func(s *spans.Span) uint64 { return s.EndTimeUnixNano - s.StartTimeUnixNano }
	if took(stages["replicate"]) < took(root)/2 {
		t.Errorf("of %v that it took it waited %v for who had left", time.Duration(took(root)), time.Duration(took(stages["replicate"])))
	}
	if len(root.Links) != 1 || hex.EncodeToString(root.Links[0].TraceId) != parentOfSlow {
		t.Errorf("it is linked to %v", root.Links)
	}
}

func (c *collector) replayIs(t *testing.T) {
	t.Helper()
	c.sees(t, "a fetch from the bucket has a trace", func() bool {
		for _, list := range c.spans {
			by := map[string]*spans.Span{}
			for _, s := range list {
				by[string(s.SpanId)] = s
			}
			for _, get := range list {
				if get.Name != "GET" || !strings.Contains(value(get.Attributes, "aws.s3.key"), "/0/") {
					continue
				}
				bucket := by[string(get.ParentSpanId)]
				fetch := by[string(bucket.GetParentSpanId())]
				if bucket.GetName() == "bucket" && fetch.GetName() == "Fetch" && value(fetch.Attributes, "messaging.destination.name") == "history" {
					return true
				}
			}
		}
		return false
	})
}

// logsAre compares with what the brokers have written to their consoles by now: every line's message as often.
func (c *collector) logsAre(t *testing.T, k *cluster) {
	t.Helper()
	for i, b := range k.b {
		id := fmt.Sprint(i + 1)
		f, err := os.Open(b.Log())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		console := map[string]int{}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var line struct{ Level, Msg string }
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				console[line.Level+" "+line.Msg]++
			}
		}
		if err := lines.Err(); err != nil {
			t.Errorf("broker %s: %v", id, err)
		}
		if len(console) < 3 {
			t.Errorf("broker %s has logged %v", id, console)
		}
		var missing []string
		last := func() bool {
			pushed := map[string]int{}
			for _, l := range c.logs[id] {
				pushed[l.SeverityText+" "+l.Body.GetStringValue()]++
			}
			missing = nil
			for line, n := range console {
				if pushed[line] < n {
					missing = append(missing, line)
				}
			}
			return len(missing) == 0
		}
		if err := harness.Until(within(t, 20*time.Second), func() (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return last(), nil
		}); err != nil {
			t.Errorf("broker %s: lines on its console that have not arrived: %q", id, missing)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, list := range c.logs {
		for _, l := range list {
			if l.TimeUnixNano == 0 || l.SeverityNumber == 0 {
				t.Errorf("broker %s: a line without time or severity: %v", id, l)
			}
		}
	}
}

func value(list []*common.KeyValue, key string) string {
	for _, kv := range list {
		if kv.Key == key {
			return kv.Value.GetStringValue()
		}
	}
	return ""
}
