package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// backend is a broker that answers always the same, but for what a test changes.
type backend struct {
	live, ready, tier error
	grace             time.Duration
	dry, force        bool
	sweeps            int
	changed           []string
	explode           bool
}

func (b *backend) Live() error  { return b.live }
func (b *backend) Ready() error { return b.ready }
func (b *backend) Status() Status {
	if b.explode {
		panic("broken")
	}
	return Status{Version: "1", ClusterID: "c", NodeID: 3, Started: time.Unix(0, 0).UTC(), Listeners: []Listener{{"PLAINTEXT", "0.0.0.0:9092", "h:9092"}},
		DataDir: "/d", Bucket: "dir:/b", Topics: 1, Partitions: 2, Offline: []OfflinePartition{}}
}
func (b *backend) Brokers() []Broker {
	return []Broker{{ID: 3, State: "active", Epoch: 9, Rack: "r", Listeners: []Listener{{"PLAINTEXT", "", "h:9092"}}, Cluster: "h:9645", Version: "1",
		Controller: true, Voter: true, Replicas: 4, Leaders: 2, Preferred: 2, OutOfSync: 1, Groups: 64}}
}
func (b *backend) Cluster() Cluster {
	return Cluster{ClusterID: "c", AskedOf: 3, Problems: []string{"1 partition: nobody leads"}, Controller: 3, Brokers: 1, Active: 1, Topics: 1, Partitions: 4, Leaderless: 1,
		Worst: []PartitionHealth{{"t", 2, "nobody leads", -1, []int32{3, 4}, []int32{4}, []int32{}}}}
}
func (b *backend) Balance() Balance {
	return Balance{Mode: "off", Moves: []BalanceMove{{"t", 1, []int32{3}, []int32{4}, 100}}, Bytes: 100}
}
func (b *backend) change(what string, args ...any) error {
	if slices.Contains(args, any(int32(9))) {
		return fmt.Errorf("%w: broker 9", ErrNotFound)
	}
	if slices.Contains(args, any(int32(8))) {
		return fmt.Errorf("%w: broker 8 is not in sync", ErrRefused)
	}
	b.changed = append(b.changed, what+fmt.Sprint(args...))
	return nil
}
func (b *backend) SetBalance(_ context.Context, mode string, throttle int64) error {
	return b.change("balance ", mode, " ", throttle)
}
func (b *backend) Drain(_ context.Context, id int32, on bool, throttle int64) error {
	return b.change("drain ", id, on, throttle)
}
func (b *backend) SetThrottle(_ context.Context, throttle int64) error {
	return b.change("throttle ", throttle)
}
func (b *backend) Transfer(_ context.Context, topic string, p, to int32) error {
	return b.change("transfer ", topic, p, to)
}
func (b *backend) Quorum() Quorum {
	return Quorum{Leader: 3, Term: 2, Last: 10, Commit: 10, Applied: 9, Snapshot: 5, Members: []Member{{3, "h:1", true}}}
}
func (b *backend) Storage(_ context.Context, topic string) ([]TopicStorage, error) {
	if topic == "none" {
		return nil, fmt.Errorf("topic none: %w", ErrNotFound)
	}
	at := time.Unix(100, 0).UTC()
	return []TopicStorage{{Topic: "t", TopicID: "id", Partitions: []PartitionStorage{{
		Partition: 0, Leader: 3, LeaderEpoch: 1, LogStart: 5, HighWatermark: 90, LogEnd: 100, Hot: Extent{50, 100, 5000, 2, 0}, Cold: Extent{5, 60, 6000, 4, 1},
		Upload: Upload{Enabled: true, PendingBytes: 10, PendingSeconds: 1.5, LastError: "503", LastErrorAt: &at}}}}}, nil
}
func (b *backend) Tier(context.Context) (Tier, error) {
	return Tier{Bucket: "dir:/b", Puts: 1, Failing: []TierFailure{}}, b.tier
}
func (b *backend) Sweep(_ context.Context, how HowToSweep) (Sweep, error) {
	b.sweeps++
	b.grace, b.dry, b.force = how.Grace, how.DryRun, how.Force
	return Sweep{DryRun: how.DryRun, Objects: 3, Orphans: 1, OrphanBytes: 7, Keys: []string{"k"}}, b.tier
}

func (b *backend) Scrub() Scrub {
	return Scrub{Running: true, Segments: 2, Bytes: 9, Latest: []DamagedRecord{}}
}
func (b *backend) ScrubNow(_ context.Context, topic string) (Scrub, error) {
	if topic == "none" {
		return Scrub{}, fmt.Errorf("topic none: %w", ErrNotFound)
	}
	return Scrub{Segments: 1, Damaged: 1, Latest: []DamagedRecord{{Topic: topic, Segment: 7, Error: "bad"}}}, nil
}

func serve(t *testing.T, b *backend, cfg Config) http.Handler {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metric 1\n") })
	return New(cfg, b, metrics, slog.New(slog.DiscardHandler)).Handler()
}

func ask(h http.Handler, method, target string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:9644"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The answers of the API are what they were when programs were written against them.
func TestAnswersAreStable(t *testing.T) {
	h := serve(t, &backend{}, Config{Listen: "127.0.0.1:9644"})
	var all bytes.Buffer
	for _, q := range []string{"GET /", "GET /livez", "GET /readyz", "GET /metrics", "GET /v1/status", "GET /v1/brokers", "GET /v1/quorum",
		"GET /v1/cluster", "GET /v1/balance", "POST /v1/balance?mode=once", "POST /v1/brokers/3/drain", "POST /v1/partitions/transfer?topic=t&partition=1&to=3",
		"GET /v1/storage", "GET /v1/storage?topic=none", "GET /v1/tier", "POST /v1/tier/sweep?dry_run=true&grace=2h",
		"GET /v1/scrub", "POST /v1/scrub?topic=t", "POST /v1/scrub?topic=none", "GET /v1/nothing", "GET /debug/pprof/"} {
		method, target, _ := strings.Cut(q, " ")
		w := ask(h, method, target, nil)
		fmt.Fprintf(&all, "== %s → %d %s\n", q, w.Code, w.Header().Get("Content-Type"))
		var indented bytes.Buffer
		if json.Indent(&indented, w.Body.Bytes(), "", "  ") == nil {
			all.Write(indented.Bytes())
		} else {
			all.Write(w.Body.Bytes())
		}
	}
	golden := filepath.Join("testdata", "answers.golden")
	if *update {
		if err := os.WriteFile(golden, all.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all.Bytes(), want) {
		t.Errorf("answers changed:\n%s", all.String())
	}
}

// A page that was rebound to this machine's address is refused by its Host; what names the machine is served.
func TestHosts(t *testing.T) {
	h := serve(t, &backend{}, Config{Listen: "admin.internal:9644", AllowedHosts: []string{"qanat.example.org"}})
	for host, want := range map[string]int{
		"localhost:9644": 200, "127.0.0.1:9644": 200, "[::1]:9644": 200, "10.0.0.7": 200, "admin.internal:9644": 200, "Qanat.Example.org": 200,
		"evil.example.com": 403, "localhost.evil.com:9644": 403, "": 403,
	} {
		if w := ask(h, "GET", "/v1/status", func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}

// Another site's page cannot start a sweep; the command line, which sends no Origin, can.
func TestOtherSites(t *testing.T) {
	b := &backend{}
	h := serve(t, b, Config{Listen: "127.0.0.1:9644"})
	for name, header := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example.com"} {
		if w := ask(h, "POST", "/v1/tier/sweep", func(r *http.Request) { r.Header.Set(name, header) }); w.Code != 403 || b.sweeps != 0 {
			t.Errorf("%s: %d, %d sweeps", name, w.Code, b.sweeps)
		}
	}
	if w := ask(h, "POST", "/v1/tier/sweep?grace=90m&force=true", nil); w.Code != 200 || b.grace != 90*time.Minute || b.dry || !b.force {
		t.Errorf("%d, grace %s, dry %t", w.Code, b.grace, b.dry)
	}
	if w := ask(h, "GET", "/v1/tier/sweep", nil); w.Code != 404 || b.sweeps != 1 {
		t.Errorf("GET: %d, %d sweeps", w.Code, b.sweeps)
	}
}

// Wrong parameters, missing buckets and unready brokers are told apart by their status.
func TestFailures(t *testing.T) {
	b := &backend{ready: errors.New("the image is behind"), tier: ErrNoBucket}
	h := serve(t, b, Config{})
	for q, want := range map[string]int{
		"GET /livez": 200, "GET /readyz": 503, "GET /v1/tier": 409, "POST /v1/tier/sweep": 409,
		"POST /v1/tier/sweep?grace=soon": 400, "POST /v1/tier/sweep?grace=-1h": 400, "POST /v1/tier/sweep?dry_run=perhaps": 400,
	} {
		method, target, _ := strings.Cut(q, " ")
		w := ask(h, method, target, nil)
		var f Failure
		if w.Code != want || want != 200 && (json.Unmarshal(w.Body.Bytes(), &f) != nil || f.Error == "") {
			t.Errorf("%s: %d %s, want %d", q, w.Code, w.Body, want)
		}
	}
}

// Changes reach the broker as they were asked for, and what it refuses, or does not know, is told apart.
func TestChanges(t *testing.T) {
	b := &backend{}
	h := serve(t, b, Config{})
	for q, want := range map[string]int{
		"POST /v1/balance?mode=on": 200, "POST /v1/balance": 400, "POST /v1/throttle?throttle=-5": 400, "POST /v1/throttle?throttle=5": 200, "POST /v1/balance?mode=on&throttle=x": 400,
		"POST /v1/brokers/3/drain?throttle=1.5": 400, "POST /v1/balance?mode=much": 400,
		"POST /v1/brokers/3/drain?on=false": 200, "POST /v1/brokers/9/drain": 404, "POST /v1/brokers/x/drain": 400, "POST /v1/brokers/3/drain?on=perhaps": 400,
		"POST /v1/partitions/transfer?topic=t&partition=1&to=8": 409, "POST /v1/partitions/transfer?topic=t&partition=1": 400, "POST /v1/partitions/transfer?topic=t&to=1": 400,
		"GET /v1/brokers/3/drain": 404,
	} {
		method, target, _ := strings.Cut(q, " ")
		if w := ask(h, method, target, nil); w.Code != want {
			t.Errorf("%s: %d %s, want %d", q, w.Code, w.Body, want)
		}
	}
	slices.Sort(b.changed)
	if got := strings.Join(b.changed, "; "); got != "balance on 0; drain 3 false 0; throttle 5" {
		t.Errorf("%s", got)
	}
}

// A panic in an answer is that answer's alone.
func TestPanicIsContained(t *testing.T) {
	h := serve(t, &backend{explode: true}, Config{})
	if w := ask(h, "GET", "/v1/status", nil); w.Code != 500 || strings.Contains(w.Body.String(), "broken") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/livez", nil); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// Profiles are there when they are asked for.
func TestProfiles(t *testing.T) {
	if w := ask(serve(t, &backend{}, Config{PProf: true}), "GET", "/debug/pprof/cmdline", nil); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}

// The port serves between Listen and the end of its context, and Run returns nil then.
func TestRun(t *testing.T) {
	s := New(Config{Listen: "127.0.0.1:0"}, &backend{}, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	res, err := http.Get("http://" + s.Addr() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != 200 {
		t.Errorf("%s, %v", res.Status, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := New(Config{Listen: "256.0.0.1:1"}, &backend{}, nil, slog.New(slog.DiscardHandler)).Listen(t.Context()); err == nil {
		t.Error("listens on no address")
	}
}
