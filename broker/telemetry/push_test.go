package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/wire"
)

// collector takes OTLP over HTTP and remembers what came.
type collector struct {
	server *httptest.Server

	mu      sync.Mutex
	down    bool
	spans   []*spans.Span
	lines   []*logs.LogRecord
	metrics []string
	clients map[string]string // the broker that pushed for a client id
	values  map[string]float64
	service string
	news    chan struct{}
}

func startCollector(t *testing.T) *collector {
	c := &collector{news: make(chan struct{}, 1), clients: map[string]string{}, values: map[string]float64{}}
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		http.Error(w, "down", http.StatusForbidden) // not tried again
		return
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	raw, _ := io.ReadAll(body)
	switch r.URL.Path {
	case "/v1/traces":
		var m collectortrace.ExportTraceServiceRequest
		if proto.Unmarshal(raw, &m) == nil {
			for _, rs := range m.ResourceSpans {
				for _, a := range rs.Resource.Attributes {
					if a.Key == "service.name" {
						c.service = a.Value.GetStringValue()
					}
				}
				for _, ss := range rs.ScopeSpans {
					c.spans = append(c.spans, ss.Spans...)
				}
			}
		}
	case "/v1/logs":
		var m collectorlogs.ExportLogsServiceRequest
		if proto.Unmarshal(raw, &m) == nil {
			for _, rl := range m.ResourceLogs {
				for _, sl := range rl.ScopeLogs {
					c.lines = append(c.lines, sl.LogRecords...)
				}
			}
		}
	case "/v1/metrics":
		var m collectormetrics.ExportMetricsServiceRequest
		if proto.Unmarshal(raw, &m) == nil {
			for _, rm := range m.ResourceMetrics {
				of := map[string]string{}
				for _, a := range rm.Resource.Attributes {
					of[a.Key] = a.Value.GetStringValue()
				}
				if id, ok := of["client_id"]; ok {
					c.clients[id] = of["broker_id"]
				}
				for _, sm := range rm.ScopeMetrics {
					for _, x := range sm.Metrics {
						c.metrics = append(c.metrics, x.Name)
						for _, p := range append(x.GetSum().GetDataPoints(), x.GetGauge().GetDataPoints()...) {
							c.values[x.Name] = p.GetAsDouble()
						}
					}
				}
			}
		}
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// pushing starts a telemetry that pushes to the collector, and whose lines are in the buffer.
func pushing(t *testing.T, endpoint string, cfg Config) (*Telemetry, *slog.Logger, *safeBuffer) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	if os.Getenv("OTEL_EXPORTER_OTLP_TIMEOUT") == "" {
		t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")
	}
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
	lines := &safeBuffer{}
	log, err := NewLogger(lines, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	cfg.SeriesMax = 1
	tm, err := New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := tm.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tm, log, lines
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// until waits for the collector to have what is asked for.
func (c *collector) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for {
		c.mu.Lock()
		done := ok()
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-c.news:
		case <-time.After(20 * time.Second):
			t.Fatalf("the collector has not received %s", what)
		}
	}
}

// answered is a produce that took the given time in all, with a stage each quarter of it.
func answered(took time.Duration, code int16) RequestTrace {
	t := &wire.Trace{
		Start: time.Now().Add(-took), Topic: "orders", Partitions: 2, Error: code,
		Appended: took / 4, Flushed: took / 2, Answered: took * 3 / 4,
	}
	return RequestTrace{Key: 0, Version: 9, ClientID: "app", Took: took, Trace: t}
}

// Slow and failed requests are kept, a share of the others is, and nothing else is; of each kept one the stages come one after the
// other within it, linked to the trace that its first record names.
func TestKeptTraces(t *testing.T) {
	c := startCollector(t)
	tm, _, _ := pushing(t, c.server.URL, Config{TraceSlow: 100 * time.Millisecond, TraceShare: 0.1})
	if !tm.Tracing() {
		t.Fatal("nothing is traced")
	}
	requests := uint64(0)
	tm.traces.drawn = func(every uint64, _ int64) bool {
		requests++
		return requests%every == 0
	}
	for range 20 {
		tm.Traced(answered(time.Millisecond, 0))
	}
	slow := answered(200*time.Millisecond, 0)
	slow.Linked = copy(slow.Parent[:], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") == wire.TraceparentLen
	tm.Traced(slow)
	tm.Traced(answered(time.Millisecond, 6)) // NOT_LEADER_OR_FOLLOWER
	idle := answered(time.Second, 0)
	idle.Key, idle.Waited = 1, 990*time.Millisecond
	tm.Traced(idle)
	const want = (2 + 1 + 1) * 5
	c.until(t, "the spans", func() bool { return len(c.spans) >= want })
	if len(c.spans) != want || c.service != "qanat" {
		t.Errorf("%d spans of %s, want %d", len(c.spans), c.service, want)
	}
	kept := map[string]int{}
	for _, s := range c.spans {
		if len(s.ParentSpanId) > 0 {
			continue
		}
		why := attributeOf(s, "qanat.kept")
		kept[why]++
		var stages []string
		at := s.StartTimeUnixNano
		for _, name := range []string{"append", "flush", "replicate", "ack"} {
			for _, child := range c.spans {
				if bytes.Equal(child.ParentSpanId, s.SpanId) && child.Name == name && child.StartTimeUnixNano == at {
					at, stages = child.EndTimeUnixNano, append(stages, name)
				}
			}
		}
		if s.Name != "Produce" || at != s.EndTimeUnixNano || len(stages) != 4 || attributeOf(s, "messaging.destination.name") != "orders" {
			t.Errorf("%s (%s): stages %v", s.Name, why, stages)
		}
		if linked := len(s.Links) == 1 && s.Links[0].TraceId[0] == 0x0a; linked != (why == "slow") {
			t.Errorf("%s: links %v", why, s.Links)
		}
		if failed := s.Status.GetCode() == spans.Status_STATUS_CODE_ERROR; failed != (why == "failed") {
			t.Errorf("%s: status %v", why, s.Status)
		}
	}
	if kept["slow"] != 1 || kept["failed"] != 1 || kept["sampled"] != 2 {
		t.Errorf("kept %v", kept)
	}
}

// One request in so many is sampled, in whatever steps the clock goes and however regularly they come.
func TestDrawn(t *testing.T) {
	const every, n = 100, 1_000_000
	for _, step := range []int64{1, 41, 1000, 1_000_000, 999_999_937} {
		got := 0
		for i := range int64(n) {
			if drawn(every, 1_700_000_000_000_000_000+i*step) {
				got++
			}
		}
		if got < n/every*8/10 || got > n/every*12/10 {
			t.Errorf("in steps of %d ns: %d of %d", step, got, n)
		}
	}
	if !drawn(1, 7) {
		t.Error("one in one is not drawn")
	}
}

func attributeOf(s *spans.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// A cold fetch shows what it waited for: memory, the bucket, and the GETs below that.
func TestColdFetchTrace(t *testing.T) {
	c := startCollector(t)
	tm, _, _ := pushing(t, c.server.URL, Config{TraceSlow: time.Millisecond})
	start := time.Now().Add(-time.Second)
	tm.Traced(RequestTrace{Key: 1, Took: time.Second, Trace: &wire.Trace{
		Start: start, Read: time.Millisecond, LoadFrom: 2 * time.Millisecond, Loading: 900 * time.Millisecond, Bytes: 10, ColdBytes: 10,
		Answered:  950 * time.Millisecond,
		Downloads: []wire.Download{{Key: "k", Bytes: 1 << 20, Began: start, Took: 800 * time.Millisecond}},
	}})
	c.until(t, "the spans", func() bool { return len(c.spans) == 5 })
	by := map[string]*spans.Span{}
	for _, s := range c.spans {
		by[s.Name] = s
	}
	for child, parent := range map[string]string{"cache": "Fetch", "bucket": "Fetch", "GET": "bucket", "send": "Fetch"} {
		if by[child] == nil || by[parent] == nil || !bytes.Equal(by[child].ParentSpanId, by[parent].SpanId) {
			t.Errorf("%s is not within %s: %v", child, parent, by)
		}
	}
}

// A request that is not kept allocates nothing.
func TestTracesThatAreNotKeptAreFree(t *testing.T) {
	c := startCollector(t)
	tm, _, _ := pushing(t, c.server.URL, Config{TraceSlow: time.Second, TraceShare: 1e-9})
	r := answered(time.Millisecond, 0)
	if n := testing.AllocsPerRun(1000, func() {
		x := wire.NewTrace(r.Start)
		tm.Traced(r)
		x.Free()
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// When everything fails, the first of each second are kept and the rest is counted.
func TestKeptTracesAreBounded(t *testing.T) {
	c := startCollector(t)
	tm, _, _ := pushing(t, c.server.URL, Config{})
	begun := time.Now()
	const n = 10_000
	for range n {
		tm.Traced(answered(time.Millisecond, 6))
	}
	kept, left := tm.fates[traceFailed].Load(), tm.fates[traceLeftOut].Load()
	seconds := int64(time.Since(begun)/time.Second) + 2
	if kept > keptMost*seconds || kept+left != n {
		t.Errorf("%d kept, %d left out", kept, left)
	}
}

// The trace of a slow request is named beside its bucket of the histogram, for who asks for OpenMetrics.
func TestExemplars(t *testing.T) {
	c := startCollector(t)
	tm, _, _ := pushing(t, c.server.URL, Config{TraceSlow: 100 * time.Millisecond})
	tm.Request(0, 200*time.Millisecond, false)
	tm.Traced(answered(200*time.Millisecond, 0))
	c.until(t, "the spans", func() bool { return len(c.spans) > 0 })
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	tm.Handler().ServeHTTP(w, r)
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, `kafka_request_duration_seconds_bucket{api="Produce",le="0.25"}`) {
			if !strings.Contains(line, `trace_id="`) || !strings.Contains(line, "} 0.2 ") {
				t.Errorf("no exemplar: %s", line)
			}
			return
		}
	}
	t.Error("no such bucket")
}

// What is logged arrives with its attributes, also what was said before anybody knew whose it is.
func TestLogsArePushed(t *testing.T) {
	c := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.server.URL)
	t.Setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")
	var console safeBuffer
	log, err := NewLogger(&console, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	log.With("part", "early").Info("before", "took", 1500*time.Millisecond)
	log.Debug("never")
	tm, err := New(t.Context(), Config{}, log)
	if err != nil {
		t.Fatal(err)
	}
	log.WithGroup("disk").Warn("after", "free", 7)
	c.until(t, "the lines", func() bool { return len(c.lines) >= 2 })
	if err := tm.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Info("late")
	var got []string
	for _, l := range c.lines {
		got = append(got, l.SeverityText+" "+l.Body.GetStringValue()+" "+l.Attributes[0].String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"INFO before", "1.5s", "WARN after", "disk", "early"} {
		if !strings.Contains(text, want) && !strings.Contains(strings.Join(strings.Fields(linesOf(c.lines)), " "), want) {
			t.Errorf("%q is not in %s", want, linesOf(c.lines))
		}
	}
	if len(c.lines) != 2 {
		t.Errorf("%d lines", len(c.lines))
	}
	if s := console.String(); !strings.Contains(s, "msg=before") || !strings.Contains(s, "msg=late") {
		t.Errorf("the console has %s", s)
	}
}

func linesOf(list []*logs.LogRecord) string {
	var b strings.Builder
	for _, l := range list {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// A collector that fails is told of once, whatever fails, and its return once; nothing waits for it.
func TestOutage(t *testing.T) {
	c := startCollector(t)
	c.down = true
	tm, log, lines := pushing(t, c.server.URL, Config{TraceSlow: 1})
	said := func(what string, n int) func() bool {
		return func() bool { return strings.Count(lines.String(), what) == n }
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); {
			if time.Now().After(end) {
				t.Fatalf("%s: %s", what, lines.String())
			}
			log.Info("a line")
			tm.Traced(answered(time.Second, 0))
			<-time.After(10 * time.Millisecond)
		}
	}
	failing := func(n int) func() bool {
		return func() bool {
			tm.outage.mu.Lock()
			defer tm.outage.mu.Unlock()
			return len(tm.outage.failing) == n
		}
	}
	wait("all three signals fail", failing(3))
	if !said("cannot be pushed", 1)() {
		t.Errorf("not said once: %s", lines.String())
	}
	c.mu.Lock()
	c.down = false
	c.mu.Unlock()
	wait("all go through again", failing(0))
	wait("it is said", said("is pushed again", 1))
	if !said("cannot be pushed", 1)() {
		t.Errorf("said again: %s", lines.String())
	}
	if !slices.Contains(c.metrics, "kafka.connections") && !slices.ContainsFunc(c.metrics, func(s string) bool { return strings.HasPrefix(s, "go.") }) {
		t.Errorf("metrics %v", c.metrics)
	}
}

// An endpoint that takes connections and never answers holds up neither requests nor log lines, is no reason to stop badly, and
// what waits for it is bounded.
func TestSilentEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
	tm, log, lines := pushing(t, "http://"+l.Addr().String(), Config{TraceSlow: 1})
	for range 20_000 { // ten times what queues hold; whoever waited for the endpoint would wait for an hour
		tm.Traced(answered(time.Second, 0))
		log.Info("a line")
	}
	if n := strings.Count(lines.String(), "cannot be pushed"); n > 1 {
		t.Errorf("said %d times", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tm.Close(ctx); err != nil {
		t.Error(err)
	}
}

// What a client tells of itself would not reach the collector, or reach it without who the client is.
func TestClientMetricsArePushed(t *testing.T) {
	c := startCollector(t)
	tel, _, _ := pushing(t, c.server.URL, Config{NodeID: 7})
	sink := tel.ClientSink()
	if sink == nil {
		t.Fatal("metrics are pushed, and clients' are not")
	}
	sum := &metricspb.Sum{IsMonotonic: true, DataPoints: []*metricspb.NumberDataPoint{{Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: 12.5}}}}
	gauge := &metricspb.Gauge{DataPoints: []*metricspb.NumberDataPoint{{Value: &metricspb.NumberDataPoint_AsInt{AsInt: 3}}}}
	sink(clientmetrics.Client{ID: "app-1"}, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{
		{Name: "org.apache.kafka.producer.record.send.total", Data: &metricspb.Metric_Sum{Sum: sum}},
		{Name: "org.apache.kafka.producer.connection.count", Data: &metricspb.Metric_Gauge{Gauge: gauge}},
	}}}}}})
	c.until(t, "a client's metrics", func() bool {
		return c.clients["app-1"] == "7" && c.values["org.apache.kafka.producer.record.send.total"] == 12.5 && c.values["org.apache.kafka.producer.connection.count"] == 3
	})
}
