package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/broker/telemetry/dashboards"
	"github.com/qanat-io/qanat/integration/harness"
)

// prometheus is a real one that scrapes brokers each second, with the rules of `qanat generate prometheus` made impatient.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, brokers ...*harness.Broker) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("QANAT_TEST_CLIENTS") == "all" {
			t.Fatal("prometheus is missing, and QANAT_TEST_CLIENTS=all: integration/scripts/clients-install prometheus")
		}
		t.Skip("NOT TRIED: prometheus is not installed (integration/scripts/clients-install prometheus)")
	}
	dir := t.TempDir()
	args := []string{
		"generate", "prometheus", "--dir", dir, "--for", "-1s", "--range", "15s", "--lag", "5s", "--backlog", "3s", "--failing", "3s", "--transaction", "5s", "--produce", "2s", "--certificate", "1h",
	}
	for _, b := range brokers {
		args = append(args, "--target", b.Admin)
	}
	if out, err := exec.Command(qanat, args...).CombinedOutput(); err != nil {
		t.Fatalf("generate prometheus: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "prometheus.yaml")
	raw, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, []byte(strings.ReplaceAll(string(raw), "15s", "1s")), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	listen := address(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+listen,
		"--enable-feature=exemplar-storage", "--log.level=warn")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("prometheus said:\n%s", text)
		}
	})
	p := &prometheus{t, "http://" + listen}
	until(t, "prometheus scrapes every broker", func() bool {
		v, err := p.query("sum(up)")
		return err == nil && len(v) == 1 && v[0].Value[1] == fmt.Sprint(len(brokers))
	})
	return p
}

type sample struct {
	Metric map[string]string
	Value  [2]any
}

// get asks Prometheus' API.
func (p *prometheus) get(path string, to any) error {
	r, err := http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", r.Status, body)
	}
	return json.Unmarshal(body, to)
}

func (p *prometheus) query(expr string) ([]sample, error) {
	var r struct {
		Data struct{ Result []sample }
	}
	err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &r)
	return r.Data.Result, err
}

// firing are the alerts that fire now, with the instances or groups they fire for.
func (p *prometheus) firing() map[string]string {
	p.t.Helper()
	var r struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
				Value  string
			}
		}
	}
	if err := p.get("/api/v1/alerts", &r); err != nil {
		p.t.Fatal(err)
	}
	list := map[string]string{}
	for _, a := range r.Data.Alerts {
		if a.State == "firing" {
			list[a.Labels["alertname"]] = fmt.Sprint(a.Labels, " ", a.Value)
		}
	}
	return list
}

// fires waits until all of the alerts do.
func (p *prometheus) fires(names ...string) {
	p.t.Helper()
	begun := time.Now()
	until(p.t, fmt.Sprint("these do not all fire: ", names), func() bool {
		now := p.firing()
		return !slices.ContainsFunc(names, func(n string) bool { return now[n] == "" })
	})
	p.t.Logf("%v fired after %s", names, time.Since(begun).Round(time.Second))
}

// silent waits until none fires.
func (p *prometheus) silent(but ...string) {
	p.t.Helper()
	until(p.t, "alerts go on", func() bool {
		now := p.firing()
		if nearlyFull(p.t) {
			delete(now, diskFilling)
		}
		maps.DeleteFunc(now, func(n, _ string) bool { return slices.Contains(but, n) })
		return len(now) == 0
	})
}

// calm fails if an alert has fired while the brokers were well.
func (p *prometheus) calm() {
	p.t.Helper()
	v, err := p.query(`count_over_time(ALERTS{alertstate="firing"}[5m])`)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range v {
		if s.Metric["alertname"] != diskFilling || !nearlyFull(p.t) {
			p.t.Errorf("fired in a healthy run: %v", s.Metric)
		}
	}
}

const diskFilling = "QanatDiskFilling"

// nearlyFull tells whether the machine's own disk, on which a cluster's brokers lie, is what that alert is for.
func nearlyFull(t *testing.T) bool {
	var s syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &s); err != nil {
		t.Fatal(err)
	}
	return float64(s.Bavail) < 0.2*float64(s.Blocks)
}

// A panel or rule would ask for a metric that a loaded cluster does not have; or an alert would not fire for the fault that it is for,
// or fire in a healthy run.
func TestAlerts(t *testing.T) {
	seen := map[string]bool{}  // metrics that Prometheus has met
	fired := map[string]bool{} // alerts
	whole := t.Run("cluster", func(t *testing.T) { alertsOfCluster(t, seen, fired) })
	whole = t.Run("broker", func(t *testing.T) { alertsOfBroker(t, seen, fired) }) && whole
	if len(fired) == 0 || !whole {
		return // skipped, or failed already
	}
	for _, a := range dashboards.Alerts(dashboards.Options{}) {
		if !fired[a.Name] {
			t.Errorf("%s was not caused", a.Name)
		}
	}
	name := regexp.MustCompile(`\b(?:kafka|qanat|process)_[a-z0-9_]+`)
	missing := map[string]bool{}
	for _, d := range dashboards.Dashboards {
		for _, p := range d.Panels {
			for _, q := range p.Queries {
				for _, m := range name.FindAllString(q.PromQL(), -1) {
					if !seen[m] {
						missing[m+" ("+d.Title+")"] = true
					}
				}
			}
		}
	}
	for _, a := range dashboards.Alerts(dashboards.Options{}) {
		for _, m := range name.FindAllString(a.PromQL(dashboards.Options{}), -1) {
			if !seen[m] {
				missing[m+" ("+a.Name+")"] = true
			}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("no broker has told of %s", m)
	}
}

// note remembers which metrics there are, and that panels' expressions are answered.
func (p *prometheus) note(seen map[string]bool) {
	p.t.Helper()
	var r struct{ Data []string }
	if err := p.get("/api/v1/label/__name__/values", &r); err != nil {
		p.t.Fatal(err)
	}
	for _, n := range r.Data {
		seen[n] = true
	}
	variable := regexp.MustCompile(`\$[a-z]+`)
	for _, d := range dashboards.Dashboards {
		for _, panel := range d.Panels {
			for _, q := range panel.Queries {
				expr := strings.NewReplacer("$__rate_interval", "30s", "$__range", "5m").Replace(q.PromQL())
				if _, err := p.query(variable.ReplaceAllString(expr, ".*")); err != nil {
					p.t.Errorf("%s, %s: %v", d.Title, panel.Title, err)
				}
			}
		}
	}
}

// cause waits for alerts whose fault has been caused, and notes them.
func (p *prometheus) cause(fired map[string]bool, names ...string) {
	p.t.Helper()
	p.fires(names...)
	for _, n := range names {
		fired[n] = true
	}
}

// every does something again and again until the test ends or the returned function is called, which waits for the last.
func every(t *testing.T, d time.Duration, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			do(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	end := func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

func alertsOfCluster(t *testing.T, seen, fired map[string]bool) {
	ctx := within(t, 4*time.Minute)
	c := newCluster(ctx, t, 3, "metrics.clients.max=10", "log.retention.check.interval.ms=200", "tier.cache.bytes=0", "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000")
	p := startPrometheus(t, c.b...)
	adm := c.admin()
	minISR, tiny, local := "3", "65536", "65536"
	for _, topic := range []struct {
		name     string
		replicas int16
		set      map[string]*string
	}{
		{"work", 3, nil}, {"slow", 3, nil}, {"strict", 3, map[string]*string{"min.insync.replicas": &minISR}}, {"history", 1, map[string]*string{"segment.bytes": &tiny, "local.retention.bytes": &local}},
	} {
		if _, err := adm.CreateTopic(ctx, 3, topic.replicas, topic.set, topic.name); err != nil {
			t.Fatal(err)
		}
	}
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.seeds()...), kgo.RetryTimeout(20 * time.Second)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}

	// A healthy load: produce, a group, a transaction, a replay from the bucket.
	producer := client(kgo.DefaultProduceTopic("work"), kgo.ClientID("app"))
	stopProducing := every(t, 20*time.Millisecond, func(ctx context.Context) {
		_ = producer.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 100)}).FirstErr()
	})
	consumer := client(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("work"), kgo.AutoCommitInterval(200*time.Millisecond))
	stopConsuming := every(t, time.Millisecond, func(ctx context.Context) { consumer.PollFetches(ctx) })
	transactional := client(kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("work"))
	transact := func() {
		t.Helper()
		if err := transactional.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := transactional.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	transact()
	if err := transactional.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	past := client(kgo.DefaultProduceTopic("history"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 300 {
		if err := past.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 10_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range c.b {
		archived(t, b)
	}
	// Again and again: of what happens between two scrapes, before a counter is there, no rate tells.
	replay := func() {
		t.Helper()
		cl := client(kgo.ConsumeTopics("history"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		defer cl.Close()
		for n := 0; n < 300; {
			n += cl.PollFetches(ctx).NumRecords()
			if ctx.Err() != nil {
				t.Fatal("the replay does not end")
			}
		}
	}
	until(t, "a whole range of a healthy load", func() bool {
		replay()
		v, err := p.query(`min(count_over_time(up[30s])) >= 20 and sum(rate(qanat_topic_consumed_bytes_total{tier="cold"}[30s])) > 0 and sum(kafka_consumer_group_lag_sum) >= 0`)
		return err == nil && len(v) > 0
	})
	p.note(seen)
	p.calm()

	// Consumers stop; a transaction stays open.
	stopConsuming()
	consumer.Close()
	transact()
	p.cause(fired, "QanatConsumerLag", "QanatTransactionStuck")
	if err := transactional.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}

	// A follower hangs: who waits for it waits for its session's end.
	slow := client(kgo.DefaultProduceTopic("slow"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	stopProducing()
	if err := slow.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := c.b[2].Pause(); err != nil {
		t.Fatal(err)
	}
	stopSlow := every(t, 10*time.Millisecond, func(ctx context.Context) {
		_ = slow.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}, &kgo.Record{Value: []byte("x")}, &kgo.Record{Value: []byte("x")}).FirstErr()
	})
	p.cause(fired, "QanatSlowProduce")
	stopSlow()

	// It dies.
	if err := errors.Join(c.b[2].Signal(syscall.SIGCONT), c.b[2].Kill()); err != nil {
		t.Fatal(err)
	}
	p.cause(fired, "QanatBrokerDown", "QanatBrokerFenced", "QanatPartitionsWithoutLeader", "QanatUnderMinISR", "QanatUnderReplicated")

	// So does another: nobody can decide anything.
	if err := c.b[1].Kill(); err != nil {
		t.Fatal(err)
	}
	p.cause(fired, "QanatNoQuorumLeader")

	// They come back.
	restarted := make(chan error, 2)
	for _, b := range c.b[1:] {
		go func() { restarted <- b.Start(ctx) }()
	}
	if err := errors.Join(<-restarted, <-restarted); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteGroup(ctx, "readers"); err != nil {
		t.Logf("delete the group: %v", err)
	}
	p.silent("QanatConsumerLag", "QanatSlowProduce")
}

func alertsOfBroker(t *testing.T, seen, fired map[string]bool) {
	proxy := s3Proxy(t)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	k := newPKI(t)
	k.broker(1)
	b := smallVolume(t, append(k.sets(1), "log.retention.check.interval.ms=200", "tier.upload.stall.timeout.ms=2000", "tier.cache.bytes=0",
		"max.connections.per.ip=40", "trace.sample.ratio=1")...)
	b.Env = append(b.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	b.Bucket = s3Bucket("minio", "alerts", proxy)
	b.Sets = append(b.Sets, "listeners=INTERNAL://"+b.Listen+",PUBLIC://"+address(t), "listener.security.protocol.map=INTERNAL:PLAINTEXT,PUBLIC:SSL")
	restart(t, b)
	createTopic(t, b, "data", 1, small...)
	createTopic(t, b, "only", 2, "segment.bytes=65536", "remote.storage.enable=false")
	l := newLoad(t, b, "data", 1, 1)
	l.send(300)
	only := newLoad(t, b, "only", 2, 2)
	only.send(600)
	archived(t, b)
	p := startPrometheus(t, b)
	l.send(50)
	until(t, "a range of a healthy load", func() bool {
		v, err := p.query(`min(count_over_time(up[20s])) >= 15`)
		return err == nil && len(v) > 0
	})
	p.note(seen)
	p.calm()

	// The certificate's end is near.
	k.write("broker-1", issue.Request{Hosts: []string{"127.0.0.1"}, Role: &secure.Role{Node: 1}, After: time.Now().Add(30 * time.Minute)})
	p.cause(fired, "QanatCertificateExpiring")

	// Too many connections.
	var open []net.Conn
	for range 60 {
		if nc, err := net.Dial("tcp", b.Listen); err == nil {
			open = append(open, nc)
		}
	}
	p.cause(fired, "QanatConnectionsRefused")
	for _, nc := range open {
		_ = nc.Close()
	}

	// The bucket refuses.
	proxy.Set(harness.SlowDown)
	l.send(100)
	p.cause(fired, "QanatTierBacklog", "QanatBucketErrors", "QanatUploadsFail")
	proxy.Set(harness.Healthy)
	archived(t, b)

	// Its objects are gone: a reader misses one, and the broker finds that none is there.
	proxy.Set(harness.Emptied)
	reader := connect(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"data": {0: kgo.NewOffset().At(0)}}))
	stopReading := every(t, 100*time.Millisecond, func(ctx context.Context) { reader.PollFetches(ctx) })
	p.cause(fired, "QanatObjectsMissing", "QanatBucketHeld")
	proxy.Set(harness.Healthy)
	until(t, "these alerts end when the objects are back", func() bool {
		now := p.firing()
		return now["QanatObjectsMissing"] == "" && now["QanatBucketHeld"] == ""
	})
	stopReading()

	// A bit flips in the only copy.
	storageID := storageOf(t, b, "only").TopicID
	list := segments(t, b, storageID, 0)
	flip(t, list[0])
	if err := b.Ask(within(t, time.Minute), "POST", "/v1/scrub", nil); err != nil {
		t.Fatal(err)
	}
	p.cause(fired, "QanatPartitionDamaged")

	// A partition's directory is none.
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(b.Dir, "partitions", storageID, "1")
	if err := errors.Join(os.Rename(own, own+".aside"), os.WriteFile(own, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	p.cause(fired, "QanatPartitionOffline")

	// The disk fills.
	fill(t, b, 7<<20)
	p.cause(fired, "QanatDiskFilling")
	fillMore(t, b, 1<<20)
	p.cause(fired, "QanatDiskFull")
}

// fillMore leaves no more than left bytes, of what fill has left.
func fillMore(t *testing.T, b *harness.Broker, left int64) {
	t.Helper()
	var s syscall.Statfs_t
	f, err := os.Create(filepath.Join(b.Dir, "filler-2"))
	if err == nil {
		defer f.Close()
		err = syscall.Statfs(b.Dir, &s)
	}
	if err == nil {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, max(int64(s.Bavail)*s.Bsize-left, 4096))
	}
	if err != nil {
		t.Fatalf("fill the volume: %v", err)
	}
}
