package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace/noop"
)

func start(t testing.TB, max int) *Telemetry {
	t.Helper()
	tm, err := New(context.Background(), Config{Version: "1", NodeID: 3, ClusterID: "c", SeriesMax: max}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tm.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tm
}

func scrape(t testing.TB, tm *Telemetry) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	tm.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value is the series of a family whose labels include the given ones.
func value(t testing.TB, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	f := families[name]
	if f == nil {
		t.Fatalf("no metric %s", name)
	}
next:
	for _, m := range f.GetMetric() {
		for i := 0; i < len(labels); i += 2 {
			if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
				continue next
			}
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	t.Fatalf("%s has no series with %v", name, labels)
	return 0
}

func sources() Sources {
	return Sources{
		Server: func() ServerState {
			return ServerState{BytesIn: 1, BytesOut: 2, Connections: 3, Accepted: 4, RefusedByLimit: 5, QueuedBytes: 6, PartitionsOnline: 7, PartitionsOffline: 8}
		},
		TLS: func() TLSState {
			return TLSState{Handshakes: 1, Failed: 2, Reloads: 3, ReloadsFailed: 4, Certificates: []CertificateState{{"SSL", 5}}}
		},
		Log: func() LogState {
			return LogState{HotSegments: 1, ColdSegments: 2, Topics: []TopicSize{{"t", 10, 20, 30, 40, 50, 60, 70}}, DiskFree: 99, Damaged: 1, ScrubBytes: 2, ScrubDamaged: 3, ScrubAge: 4}
		},
		Tier: func() TierState {
			return TierState{Puts: 1, Gets: 2, Heads: 3, Lists: 4, Deletes: 5, BytesUp: 6, BytesDown: 7, BacklogBytes: 8, BacklogSeconds: 9.5, CacheHits: 10, CacheMisses: 11, CacheBytes: 12, Orphans: 13, FailingPartitions: 14, FailingSeconds: 15.5, UnreadablePartitions: 16, LostObjects: 17, Held: true}
		},
		Process: func() ProcessState { return ProcessState{CPU: 1.5, RSS: 2, Files: 3} },
		Quorum: func() QuorumState {
			return QuorumState{Voters: 3, Queued: 4, Term: 1, Applied: 2, Commit: 3, Snapshot: 4, Leading: true, HasLeader: true}
		},
		Cluster: func() ClusterState {
			return ClusterState{
				Brokers: 1, BrokerStates: map[string]int64{"active": 1}, Leaderless: 2, Led: 3, UnderReplicated: 4, Shrinks: 5, Expands: 6,
				GroupKinds: map[GroupKind]int64{{"consumer", "Stable"}: 7}, Transactions: map[string]int64{"Ongoing": 8}, TransactionAge: 1.5,
				Topics: []TopicState{{"t", 2, []PartitionState{{0, 5, 100, 3, 1, 1, true}, {1, 0, 50, 3, 2, 1, false}}}},
				Groups: []GroupState{{"g", 2, []GroupOffset{{"t", 0, 90, 10, 4.5}, {"t", 1, 50, 0, 0}, {"u", 0, 7, -1, -1}}}},
			}
		},
	}
}

// Every declared metric is in a scrape of a broker that has something to tell, under the name that the documentation gives it.
func TestEveryDeclaredMetricIsScraped(t *testing.T) {
	tm := start(t, 100)
	tm.Connect(sources())
	tm.Request(0, time.Millisecond, true)
	tm.Flush(time.Millisecond, 3)
	tm.Uploaded(time.Second)
	tm.Downloaded(time.Second)
	tm.TierFailed(Upload)
	tm.traces.init(noop.NewTracerProvider().Tracer(""), tm.cfg)
	tm.clients.most = 1
	tm.ClientRequest("app", 0, 10, 20)
	tm.ClientRequest("another", 1, 3, 4)
	tm.ClientRequest("a third\xff", 1, 3, 4)
	families := scrape(t, tm)
	known := map[string]bool{}
	for _, d := range Declarations {
		known[d.Prometheus()] = true
		if families[d.Prometheus()] == nil {
			t.Errorf("%s is not there as %s", d.Name, d.Prometheus())
		}
	}
	for name := range families {
		if (strings.HasPrefix(name, "qanat_") || strings.HasPrefix(name, "kafka_")) && !known[name] {
			t.Errorf("%s is not declared", name)
		}
	}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"kafka_request_duration_seconds", []string{"api", "Produce"}, 1},
		{"kafka_request_errors_total", []string{"api", "Produce"}, 1},
		{"kafka_network_io_bytes_total", []string{"direction", "transmit"}, 2},
		{"qanat_partitions", []string{"state", "offline"}, 8},
		{"qanat_log_size_bytes", []string{"topic", "t", "tier", "cold"}, 20},
		{"qanat_tier_puts_total", nil, 1},
		{"qanat_tier_gets_total", nil, 2},
		{"qanat_tier_errors_total", []string{"operation", "upload"}, 1},
		{"qanat_tier_backlog_age_seconds", nil, 9.5},
		{"qanat_raft_leader", nil, 1},
		{"kafka_consumer_group_lag", []string{"group", "g", "topic", "t", "partition", "0"}, 10},
		{"kafka_consumer_group_lag_sum", []string{"group", "g", "topic", "t"}, 10},
		{"kafka_consumergroup_lag", []string{"consumergroup", "g", "topic", "t", "partition", "0"}, 10},
		{"kafka_consumergroup_lag_sum", []string{"consumergroup", "g", "topic", "t"}, 10},
		{"kafka_consumergroup_group_max_lag_seconds", []string{"group", "g"}, 4.5},
		{"qanat_consumer_group_lag_age_seconds", []string{"group", "g", "topic", "t"}, 4.5},
		{"kafka_topic_partition_current_offset", []string{"topic", "t", "partition", "1"}, 50},
		{"kafka_topic_partition_under_replicated_partition", []string{"topic", "t", "partition", "1"}, 1},
		{"kafka_brokers", nil, 1},
		{"kafka_client_io_bytes_total", []string{"client", "app", "direction", "transmit"}, 20},
		{"kafka_client_requests_total", []string{"client", "(other)", "api", "Fetch"}, 2},
		{"qanat_topic_consumed_bytes_total", []string{"topic", "t", "tier", "cold"}, 60},
		{"qanat_groups", []string{"type", "consumer", "state", "Stable"}, 7},
		{"qanat_isr_changes_total", []string{"change", "shrink"}, 5},
		{"process_cpu_time_seconds_total", nil, 1.5},
		{"kafka_topic_partition_leader_is_preferred", []string{"topic", "t", "partition", "0"}, 1},
		{"kafka_topic_partitions", []string{"topic", "t"}, 2},
	} {
		if got := value(t, families, c.name, c.labels...); got != c.want {
			t.Errorf("%s%v = %g, want %g", c.name, c.labels, got, c.want)
		}
	}
}

// Beyond the limit a kind of series is left out whole, which is said, and the others stay.
func TestSeriesAreBounded(t *testing.T) {
	tm := start(t, 3)
	s := sources()
	inner := s.Cluster
	s.Cluster = func() ClusterState {
		c := inner()
		c.Topics[0].Led = append(c.Topics[0].Led, c.Topics[0].Led...)
		for i := range c.Topics[0].Led {
			c.Topics[0].Led[i].Index = int32(i)
		}
		c.Groups[0].Offsets = append(c.Groups[0].Offsets, GroupOffset{"u", 1, 7, -1, -1})
		return c
	}
	tm.Connect(s)
	families := scrape(t, tm)
	for _, d := range Declarations {
		if d.PerPartition && families[d.Prometheus()] != nil {
			t.Errorf("%s is there", d.Prometheus())
		}
	}
	if got := value(t, families, "qanat_metrics_series_left_out"); got != 8 {
		t.Errorf("%g left out", got)
	}
	if got := value(t, families, "kafka_consumergroup_lag_sum", "consumergroup", "g", "topic", "t"); got != 10 {
		t.Errorf("sum %g", got)
	}
}

// An API key that no client should send cannot make a new series.
func TestOddAPIKeys(t *testing.T) {
	tm := start(t, 1)
	for _, key := range []int16{-1, 127, 128, 20000, 32767} {
		tm.Request(key, time.Millisecond, false)
	}
	if got := value(t, scrape(t, tm), "kafka_request_duration_seconds", "api", "other"); got != 4 {
		t.Errorf("%g others", got)
	}
}

// A broker with nothing connected yet is scraped without error, and OpenMetrics is spoken to who asks for it.
func TestEmptyScrape(t *testing.T) {
	tm := start(t, 1)
	scrape(t, tm)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	tm.Handler().ServeHTTP(w, r)
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("%s", w.Header().Get("Content-Type"))
	}
}

// One scrape asks for the cluster's state once, though two collectors use it.
func TestClusterIsAskedOnce(t *testing.T) {
	tm := start(t, 10)
	s := sources()
	n := 0
	inner := s.Cluster
	s.Cluster = func() ClusterState { n++; return inner() }
	tm.Connect(s)
	scrape(t, tm)
	if n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// A signal is pushed when, and only when, the environment asks for it.
func TestPushWanted(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool // for metrics
		both bool // for logs
	}{
		{nil, false, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, true, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, true, false},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp"}, true, false},
		{map[string]string{"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, false, true},
		{map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, false, false},
		{map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"}, false, false},
	} {
		getenv := func(k string) string { return c.env[k] }
		if got := metricsSignal.wanted(getenv); got != c.want {
			t.Errorf("metrics, %v: %t", c.env, got)
		}
		if got := logsSignal.wanted(getenv); got != c.both {
			t.Errorf("logs, %v: %t", c.env, got)
		}
	}
}

// A collector that the environment names receives the metrics, at the latest when the broker stops.
func TestPush(t *testing.T) {
	got := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case got <- r.URL.Path + " " + r.Header.Get("Content-Type"):
		default:
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	tm, err := New(t.Context(), Config{SeriesMax: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tm.Request(0, time.Millisecond, false)
	if err := tm.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if path := <-got; path != "/v1/metrics application/x-protobuf" {
		t.Errorf("received %q", path)
	}
}

// docs/metrics.md is what the declarations say today.
func TestDocumentationIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Markdown() {
		t.Error("docs/metrics.md is not current: run go generate ./broker/telemetry")
	}
}

// Declarations have one name each, in both worlds, and a histogram has bounds.
func TestDeclarations(t *testing.T) {
	seen := map[string]string{}
	for _, d := range Declarations {
		if other, twice := seen[d.Prometheus()]; twice {
			t.Errorf("%s and %s are both %s", d.Name, other, d.Prometheus())
		}
		seen[d.Prometheus()] = d.Name
		if (d.Kind == histogram) != (len(d.Buckets) > 0) || d.Help == "" || d.Unit == "" {
			t.Errorf("%+v", d)
		}
	}
}

// The log is JSON where nobody reads it on a terminal, and quiet below its level.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLogger(&b, "warn", "auto")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("unheard")
	log.Warn("heard", "n", 1)
	var line struct {
		Msg string
		N   int
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Msg != "heard" || line.N != 1 {
		t.Errorf("%s: %v", b.String(), err)
	}
	b.Reset()
	if log, err = NewLogger(&b, "info", "text"); err != nil {
		t.Fatal(err)
	}
	log.Info("heard")
	if !strings.Contains(b.String(), "msg=heard") {
		t.Errorf("%s", b.String())
	}
	if _, err := NewLogger(&b, "loud", "text"); err == nil {
		t.Error("a level that does not exist is taken")
	}
}

// Durations are read by people, in either format, whoever adds them.
func TestLoggedDurations(t *testing.T) {
	for format, want := range map[string]string{
		"json": `"took":"1.235s","with":{"retry_in":"4.568ms"},"least":"789ns"`,
		"text": "took=1.235s with.retry_in=4.568ms least=789ns",
	} {
		var b bytes.Buffer
		log, err := NewLogger(&b, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		log.With("took", 1234567890*time.Nanosecond).Info("done", slog.Group("with", "retry_in", 4567890*time.Nanosecond), "least", 789*time.Nanosecond)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

// Recording a request costs some hundred nanoseconds and no memory.
func BenchmarkRequest(b *testing.B) {
	tm := start(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		tm.Request(0, 3*time.Millisecond, false)
	}
}

// Recording from several connections at once.
func BenchmarkRequestParallel(b *testing.B) {
	tm := start(b, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tm.Request(1, 3*time.Millisecond, false)
		}
	})
}

// A scrape of a thousand partitions.
func BenchmarkScrape(b *testing.B) {
	tm := start(b, 5000)
	s := sources()
	big := ClusterState{Brokers: 1, Topics: []TopicState{{Name: "t", Partitions: 1000}}}
	for i := range 1000 {
		big.Topics[0].Led = append(big.Topics[0].Led, PartitionState{Index: int32(i)})
	}
	s.Cluster = func() ClusterState { return big }
	tm.Connect(s)
	for b.Loop() {
		tm.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}

// No recording allocates.
func TestRecordingAllocatesNothing(t *testing.T) {
	tm := start(t, 1)
	if n := testing.AllocsPerRun(100, func() { tm.Request(1, time.Millisecond, true) }); n != 0 {
		t.Errorf("%g allocations a request", n)
	}
}

// A histogram counts every value in the bucket that OpenTelemetry would: the first whose bound is not below it.
func TestBuckets(t *testing.T) {
	tm := start(t, 1)
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 100*time.Microsecond + 1, 30 * time.Second, time.Hour} {
		tm.Flush(d, 1)
	}
	h := scrape(t, tm)["qanat_flush_duration_seconds"].GetMetric()[0].Histogram
	first, last := h.GetBucket()[0], h.GetBucket()[len(secondsBuckets)-1]
	if h.GetSampleCount() != 5 || first.GetCumulativeCount() != 2 || last.GetCumulativeCount() != 4 || last.GetUpperBound() != 30 {
		t.Errorf("%v", h)
	}
	if sum := h.GetSampleSum(); sum < 3630 || sum > 3631 {
		t.Errorf("sum %g", sum)
	}
}

// More series than OpenTelemetry's own limit come through whole.
func TestManySeries(t *testing.T) {
	tm := start(t, 10_000)
	s := sources()
	c := ClusterState{Topics: []TopicState{{Name: "t", Partitions: 5000}}}
	for i := range 5000 {
		c.Topics[0].Led = append(c.Topics[0].Led, PartitionState{Index: int32(i)})
	}
	s.Cluster = func() ClusterState { return c }
	tm.Connect(s)
	if n := len(scrape(t, tm)["kafka_partition_current_offset"].GetMetric()); n != 5000 {
		t.Errorf("%d series", n)
	}
}

// A value is counted in the first bucket whose bound is not below it, whatever its size.
func TestBucketOfValue(t *testing.T) {
	for name, d := range map[string]*distribution{
		"seconds": newDistribution(secondsBuckets, float64(time.Second), attribute.NewSet()), "counts": newDistribution(countBuckets, 1, attribute.NewSet()),
	} {
		values := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64}
		for n := range 63 {
			values = append(values, 1<<n-1, 1<<n, 1<<n+1)
		}
		for _, b := range d.bounds {
			values = append(values, b-1, b, b+1)
		}
		for _, v := range values {
			if want, _ := slices.BinarySearch(d.bounds, v); d.bucket(v) != want {
				t.Errorf("%s: %d is in bucket %d, want %d", name, v, d.bucket(v), want)
			}
		}
	}
}
