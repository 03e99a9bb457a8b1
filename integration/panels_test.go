package integration

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/telemetry/dashboards"
	"github.com/qanat-io/qanat/integration/harness"
)

// wellOff are panels that say that something is wrong, which nothing is here: they show a zero.
var wellOff = []string{
	"Without leader", "Below min ISR", "Partitions in trouble/without leader", "Partitions in trouble/below min ISR", "Partitions in trouble/offline", "Partitions in trouble/damaged", "Partitions in trouble/objects missing",
	"Objects missing", "Uploads that fail/bucket left alone", "Partitions/without leader", "Partitions/moving",
	"Furthest behind", "Behind", "Damage", "Swept", "Refused", "Connections made and refused/refused",
}

// False if it failed: "no panel of any dashboard is empty, or shows nothing but zeros, of a cluster that has what the panel is about: three brokers with TLS, tiers, replays, groups of three protocols,
// transactions, compaction, quotas, a bucket that fails for some seconds and a broker that dies and comes back". With QANAT_TEST_PANELS=DIR the panels are drawn there, to be looked at.
func TestPanels(t *testing.T) {
	proxy := s3Proxy(t)
	ctx := within(t, 6*time.Minute)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	certs := newPKI(t)
	var public []string
	k := newClusterWith(ctx, t, qanat, 3, func(b *harness.Broker, id int) {
		certs.broker(id)
		public = append(public, address(t))
		b.Bucket = s3Bucket("minio", "panels", proxy)
		b.Env = append(b.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
		b.Sets = append(append(b.Sets, certs.sets(id)...), "listeners=INTERNAL://"+b.Listen+",PUBLIC://"+public[id-1], "listener.security.protocol.map=INTERNAL:PLAINTEXT,PUBLIC:SSL")
	}, "metrics.clients.max=20", "log.retention.check.interval.ms=1000", "trace.sample.ratio=0.01", "trace.slow.ms=200", "tier.cache.bytes=8388608", "log.cleaner.backoff.ms=500",
		"quota.window.num=3", "max.connections.per.ip=200", "broker.session.timeout.ms=2000", "tier.sweep.interval.ms=5000")
	p := startPrometheus(t, k.b...)
	begin := time.Now()
	l := &panelLoad{t: t, ctx: ctx, k: k, p: p, tls: kgo.DialTLSConfig(certs.config("")), public: public, proxy: proxy, drawn: os.Getenv("QANAT_TEST_PANELS")}
	l.start()
	l.disturb()

	var lacking []string
	if err := harness.Until(within(t, 90*time.Second), func() (bool, error) {
		lacking = p.lacking(begin, time.Now())
		return len(lacking) == 0, nil
	}); err != nil {
		t.Errorf("%v:\n%s", err, strings.Join(lacking, "\n"))
	}
	p.sees(`count(sum by (group) (kafka_consumer_group_members) >= 1) == 4`, "four groups of three protocols have members")
	p.draw(l.drawn, begin, time.Now())
}

// lacking names the panels' queries that have no data, or nothing but zeros.
func (p *prometheus) lacking(begin, end time.Time) (names []string) {
	whole := fmt.Sprintf("%ds", max(20, int(end.Sub(begin).Seconds())))
	for _, d := range dashboards.Dashboards {
		for _, panel := range d.Panels {
			for _, q := range panel.Queries {
				lines, top, err := p.drawn(q, begin, end, whole)
				name := d.Title + ": " + panel.Title + " " + q.Legend
				switch {
				case err != nil:
					names = append(names, fmt.Sprintf("%s: %v", name, err))
				case lines == 0:
					names = append(names, name+": no data")
				case top == 0 && !slices.Contains(wellOff, panel.Title) && !slices.Contains(wellOff, panel.Title+"/"+q.Legend):
					names = append(names, name+": nothing but zeros")
				}
			}
		}
	}
	return names
}

// sees waits until an expression has a value.
func (p *prometheus) sees(expr, what string) {
	p.t.Helper()
	until(p.t, what+": "+expr, func() bool {
		found, err := p.query(expr)
		return err == nil && len(found) > 0
	})
}

// drawn is how many lines a query has, and the greatest value of them.
func (p *prometheus) drawn(q dashboards.Query, begin, end time.Time, whole string) (lines int, top float64, err error) {
	expr := strings.NewReplacer("$__rate_interval", "15s", "$__range", whole, "offset 30s", "offset 5s").Replace(q.PromQL())
	expr = regexp.MustCompile(`\$[a-z]+`).ReplaceAllString(expr, ".*")
	var r struct {
		Data struct{ Result []struct{ Values [][2]any } }
	}
	err = p.get(fmt.Sprintf("/api/v1/query_range?query=%s&start=%d&end=%d&step=1", url.QueryEscape(expr), begin.Unix(), end.Unix()), &r)
	for _, s := range r.Data.Result {
		for _, v := range s.Values {
			f, e := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if e == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
				lines++
				top = max(top, math.Abs(f))
			}
		}
	}
	return lines, top, err
}

// draw makes a page of each dashboard.
func (p *prometheus) draw(dir string, begin, end time.Time) {
	p.t.Helper()
	if dir == "" {
		return
	}
	for _, d := range dashboards.Dashboards {
		page, err := exec.Command("go", "run", "./panels", "--prometheus", p.url, "--dashboard", d.UID, "--end", end.UTC().Format(time.RFC3339), "--minutes", fmt.Sprint(end.Sub(begin).Minutes())).Output()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, d.UID+".html"), page, 0o644)
		}
		if err != nil {
			p.t.Error(err)
		}
	}
}

// panelLoad is what goes on at the cluster while its panels are drawn.
type panelLoad struct {
	t      *testing.T
	ctx    context.Context
	k      *cluster
	p      *prometheus
	tls    kgo.Opt
	public []string
	proxy  *harness.S3Proxy
	drawn  string // where to; "": nowhere
}

func (l *panelLoad) client(id string, opts ...kgo.Opt) *kgo.Client {
	l.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.k.seeds()...), kgo.ClientID(id), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(cl.Close)
	return cl
}

// produce sends so many records of a size every 20 ms.
func (l *panelLoad) produce(id, topic string, records, size int, key func(n int) string, opts ...kgo.Opt) {
	cl := l.client(id, append(opts, kgo.DefaultProduceTopic(topic))...)
	n := 0
	every(l.t, 20*time.Millisecond, func(ctx context.Context) {
		var batch []*kgo.Record
		for range records {
			n++
			batch = append(batch, &kgo.Record{Key: []byte(key(n)), Value: make([]byte, size)})
		}
		_ = cl.ProduceSync(ctx, batch...)
	})
}

func distinct(n int) string { return fmt.Sprint(n) }

// consume polls, and commits, no more than so many records in 10 ms.
func (l *panelLoad) consume(id, topic string, most int, opts ...kgo.Opt) {
	cl := l.client(id, append(opts, kgo.ConsumeTopics(topic), kgo.AutoCommitInterval(500*time.Millisecond))...)
	every(l.t, 10*time.Millisecond, func(ctx context.Context) { cl.PollRecords(ctx, most) })
}

func (l *panelLoad) start() {
	t, ctx := l.t, l.ctx
	adm := l.k.admin()
	for _, topic := range []struct {
		name       string
		partitions int32
		set        []string
	}{
		{"orders", 6, []string{"segment.bytes=1048576", "local.retention.bytes=2097152"}},
		{"clicks", 3, []string{"segment.bytes=1048576", "local.retention.bytes=1048576", "retention.bytes=16777216"}},
		{"payments", 3, []string{"min.insync.replicas=2"}},
		{"prices", 1, []string{"cleanup.policy=compact", "segment.bytes=262144", "min.cleanable.dirty.ratio=0.1"}},
		{"jobs", 3, nil},
	} {
		set := map[string]*string{}
		for _, s := range topic.set {
			key, v, _ := strings.Cut(s, "=")
			set[key] = &v
		}
		if _, err := adm.CreateTopic(ctx, topic.partitions, 3, set, topic.name); err != nil {
			t.Fatal(err)
		}
	}
	rate := kadm.AlterClientQuotaEntry{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: kadm.StringPtr("batch")}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 100_000}}}
	if _, err := adm.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{rate}); err != nil {
		t.Fatal(err)
	}
	share := l.client("workers", kgo.ShareGroup("workers"), kgo.ConsumeTopics("jobs"))
	configureShareGroup(ctx, t, share, "workers", "share.auto.offset.reset=earliest")

	l.produce("checkout", "orders", 20, 500, distinct)
	l.produce("web", "clicks", 40, 800, distinct, kgo.SeedBrokers(l.public...), l.tls)
	l.produce("batch", "orders", 10, 2000, distinct)
	l.produce("ticker", "prices", 10, 400, func(n int) string { return fmt.Sprint(n % 50) })
	l.produce("scheduler", "jobs", 2, 100, distinct)
	l.consume("billing", "orders", 1000, kgo.ConsumerGroup("billing"))
	//lint:ignore SA1029 franz-go asks for the consumer protocol under this key, a plain string.
	consumerProtocol := context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
	l.consume("search", "orders", 1000, kgo.ConsumerGroup("search"), kgo.WithContext(consumerProtocol))
	l.consume("reports", "clicks", 1, kgo.ConsumerGroup("reports"), kgo.FetchMaxBytes(10_000), kgo.FetchMaxPartitionBytes(4_000))
	every(t, 10*time.Millisecond, func(ctx context.Context) {
		share.PollFetches(ctx).EachRecord(func(r *kgo.Record) { r.Ack(kgo.AckAccept) })
	})
	l.transact()
}

// transact settles payments: most transactions commit, some abort, some take seconds.
func (l *panelLoad) transact() {
	cl := l.client("settlement", kgo.TransactionalID("settlement"), kgo.DefaultProduceTopic("payments"))
	n := 0
	every(l.t, 50*time.Millisecond, func(ctx context.Context) {
		n++
		if cl.BeginTransaction() != nil {
			return
		}
		err := cl.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 200)}).FirstErr()
		if n%50 == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Second):
			}
		}
		_ = cl.EndTransaction(ctx, kgo.TransactionEndTry(err == nil && n%5 > 0))
	})
}

// picture lets the load go on for a while, for a picture that shows it. Nothing depends on it.
func (l *panelLoad) picture(d time.Duration) {
	if l.drawn != "" {
		<-time.After(d)
	}
}

// replay reads clicks from the first record on, until so many have been read.
func (l *panelLoad) replay(records int) {
	cl := l.client("replay", kgo.ConsumeTopics("clicks"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	for n := 0; n < records && l.ctx.Err() == nil; {
		n += cl.PollRecords(l.ctx, 2000).NumRecords()
	}
}

// cutShort is a Metadata request that ends before it has said how many topics: no TLS, and nothing that can be answered.
var cutShort = []byte{0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff}

// disturb has things happen to the cluster, one after the other.
func (l *panelLoad) disturb() {
	t := l.t
	l.p.sees(`sum(qanat_log_size_bytes{topic="clicks",tier="cold"}) > 4e6`, "there is history to replay")
	l.picture(20 * time.Second)
	var replays sync.WaitGroup
	for range 2 {
		replays.Go(func() { l.replay(10_000) })
	}
	replays.Wait()

	l.proxy.Set(harness.SlowDown)
	l.p.sees(`sum(qanat_tier_errors_total{operation="upload"}) > 0`, "uploads fail")
	l.picture(8 * time.Second)
	l.proxy.Set(harness.Healthy)

	// Who speaks no TLS to one that wants it, and nonsense to the other.
	every(t, 200*time.Millisecond, func(context.Context) {
		for _, a := range []string{l.k.b[0].Listen, l.public[1]} {
			if nc, err := net.DialTimeout("tcp", a, time.Second); err == nil {
				_, _ = nc.Write(cutShort)
				_ = nc.SetReadDeadline(time.Now().Add(time.Second))
				_, _ = nc.Read(make([]byte, 100))
				_ = nc.Close()
			}
		}
	})
	for _, b := range l.k.b {
		if err := b.Ask(l.ctx, "POST", "/v1/scrub", nil); err != nil {
			t.Error(err)
		}
	}

	if err := l.k.b[2].Kill(); err != nil {
		t.Fatal(err)
	}
	l.p.sees(`max(qanat_brokers{state="fenced"}) > 0`, "a broker has gone")
	l.picture(5 * time.Second)
	if err := l.k.b[2].Start(l.ctx); err != nil {
		t.Fatal(err)
	}
	move := kadm.AlterPartitionAssignmentsReq{}
	move.Assign("jobs", 0, []int32{1, 2})
	move.Assign("jobs", 1, []int32{2, 1})
	if _, err := l.k.admin().AlterPartitionAssignments(l.ctx, move); err != nil {
		t.Error(err)
	}
	l.replay(10_000)
	l.picture(10 * time.Second)
}
