package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/integration/harness"
)

// pki is a CA and a directory with what it has issued.
type pki struct {
	t   *testing.T
	ca  *issue.Authority
	dir string
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	ca, err := issue.NewAuthority("CA", 24*time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{t, ca, t.TempDir()}
	if err := os.WriteFile(p.path("ca.pem"), ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

// write issues NAME.pem and NAME-key.pem, and NAME-both.pem, which Java wants.
func (p *pki) write(name string, r issue.Request) {
	p.t.Helper()
	r.Name = name
	pair, err := p.ca.Issue(r)
	if err == nil {
		err = pair.Write(p.dir, name)
	}
	if err == nil {
		err = issue.WriteFile(p.path(name+"-both.pem"), append(slices.Clone(pair.Key), pair.Cert...), 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// broker issues a broker's certificate.
func (p *pki) broker(node int) {
	p.t.Helper()
	p.write(fmt.Sprintf("broker-%d", node), issue.Request{Hosts: []string{"127.0.0.1", "localhost"}, Role: &secure.Role{Node: int32(node)}})
}

// sets are a broker's ssl keys.
func (p *pki) sets(node int) []string {
	return []string{
		"ssl.keystore.certificate.chain=" + p.path(fmt.Sprintf("broker-%d.pem", node)),
		"ssl.keystore.key=" + p.path(fmt.Sprintf("broker-%d-key.pem", node)),
		"ssl.truststore.location=" + p.path("ca.pem"),
		"ssl.reload.interval.ms=50",
	}
}

// config is a client's, with a certificate when it is named.
func (p *pki) config(name string) *tls.Config {
	p.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(p.ca.Cert)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(p.path(name+".pem"), p.path(name+"-key.pem"))
		if err != nil {
			p.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// clients are those of the clients that are told how to speak TLS; mutual: with a certificate of their own.
func (p *pki) clients(mutual bool) []client {
	p.t.Helper()
	installed := os.Getenv("INTEROP_CLIENTS")
	if installed == "" {
		installed = filepath.Join("..", "bin", "clients")
	}
	kcat := []string{"-X", "security.protocol=ssl", "-X", "ssl.ca.location=" + p.path("ca.pem")}
	python := []string{"security_protocol=SSL", "ssl_cafile=" + p.path("ca.pem")}
	java := fmt.Sprintf("security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location=%s\n", p.path("ca.pem"))
	name := ""
	if mutual {
		name = "client"
		kcat = append(kcat, "-X", "ssl.certificate.location="+p.path("client.pem"), "-X", "ssl.key.location="+p.path("client-key.pem"))
		python = append(python, "ssl_certfile="+p.path("client.pem"), "ssl_keyfile="+p.path("client-key.pem"))
		java += fmt.Sprintf("ssl.keystore.type=PEM\nssl.keystore.location=%s\n", p.path("client-both.pem"))
	}
	properties := p.path(fmt.Sprintf("java-%t.properties", mutual))
	if err := os.WriteFile(properties, []byte(java), 0o600); err != nil {
		p.t.Fatal(err)
	}
	lines := filepath.Join("interop", "kafka-python", "lines.py")
	option := kgo.DialTLSConfig(p.config(name))
	return []client{
		{
			name: "franz-go", missing: func() error { return nil },
			produce: func(ctx context.Context, broker, topic string, lines []string) error {
				return franzProduce(ctx, broker, topic, lines, option)
			},
			consume: func(ctx context.Context, broker, topic string, n int) ([]string, error) {
				return franzConsume(ctx, broker, topic, n, option)
			},
		},
		program("kcat", "kcat",
			func(broker, topic string) []string { return append([]string{"-P", "-b", broker, "-t", topic}, kcat...) },
			func(broker, topic string, n int) []string {
				return append([]string{"-C", "-q", "-b", broker, "-t", topic, "-o", "beginning", "-c", fmt.Sprint(n)}, kcat...)
			}),
		program("kafka-python", filepath.Join(installed, "kafka-python", "bin", "python"),
			func(broker, topic string) []string {
				return append([]string{lines, "produce", broker, topic}, python...)
			},
			func(broker, topic string, n int) []string {
				return append([]string{lines, "consume", broker, topic, fmt.Sprint(n)}, python...)
			}),
		program("Java console tools", filepath.Join(installed, "java", "kafka"),
			func(broker, topic string) []string {
				return []string{"org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", broker, "--topic", topic, "--command-config", properties}
			},
			func(broker, topic string, n int) []string {
				return []string{"org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", broker, "--topic", topic,
					"--from-beginning", "--max-messages", fmt.Sprint(n), "--command-config", properties}
			}),
	}
}

// tlsBroker has a plain listener, one for TLS, and one that asks clients for certificates.
func tlsBroker(t *testing.T, p *pki, sets ...string) (b *harness.Broker, secured, mutual string) {
	t.Helper()
	p.broker(1)
	p.write("client", issue.Request{})
	b = newBroker(t, append(p.sets(1), sets...)...)
	secured, mutual = address(t), address(t)
	b.Sets = append(b.Sets, "listeners=INTERNAL://"+b.Listen+",PUBLIC://"+secured+",STRICT://"+mutual,
		"listener.security.protocol.map=INTERNAL:PLAINTEXT,PUBLIC:SSL,STRICT:SSL", "listener.name.strict.ssl.client.auth=required")
	if err := b.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return b, secured, mutual
}

func address(t *testing.T) string {
	t.Helper()
	a, err := harness.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A client could not speak TLS with a broker, with or without a certificate of its own; or it would be sent to another
// listener than the one that it came by.
func TestClientsOverTLS(t *testing.T) {
	p := newPKI(t)
	b, secured, mutual := tlsBroker(t, p)
	const n = 300
	for _, way := range []struct {
		name, addr string
		clients    []client
	}{{"TLS", secured, p.clients(false)}, {"mutual TLS", mutual, p.clients(true)}} {
		for i, c := range way.clients {
			t.Run(way.name+", "+c.name, func(t *testing.T) {
				if err := c.missing(); err != nil {
					if os.Getenv("QANAT_TEST_CLIENTS") == "all" {
						t.Fatal(err)
					}
					t.Skipf("NOT TESTED: %s is not installed (%v); integration/scripts/clients-install installs it", c.name, err)
				}
				topic := strings.ReplaceAll(fmt.Sprintf("%s-%d", way.name, i), " ", "-")
				var wrote []string
				for j := range n {
					wrote = append(wrote, fmt.Sprintf("line %d of %s: %s", j, c.name, strings.Repeat("ü", j%50)))
				}
				if err := c.produce(within(t, time.Minute), way.addr, topic, wrote); err != nil {
					t.Fatal(err)
				}
				got, err := c.consume(within(t, time.Minute), way.addr, topic, n)
				if err != nil || !slices.Equal(got, wrote) {
					t.Fatalf("%d lines of %d (%v); the first: %q", len(got), n, err, got[:min(len(got), 3)])
				}
				// What was written over TLS is what others read without it.
				if got, err = franzConsume(within(t, time.Minute), b.Listen, topic, n); err != nil || !slices.Equal(got, wrote) {
					t.Fatalf("without TLS: %d lines of %d (%v)", len(got), n, err)
				}
			})
		}
	}
	for _, way := range []struct {
		addr   string
		config *tls.Config
	}{{b.Listen, nil}, {secured, p.config("")}, {mutual, p.config("client")}} {
		options := []kgo.Opt{kgo.SeedBrokers(way.addr)}
		if way.config != nil {
			options = append(options, kgo.DialTLSConfig(way.config))
		}
		cl, err := kgo.NewClient(options...)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		brokers, err := kadm.NewClient(cl).ListBrokers(within(t, time.Minute))
		if err != nil || len(brokers) != 1 || fmt.Sprintf("%s:%d", brokers[0].Host, brokers[0].Port) != way.addr {
			t.Errorf("who comes by %s is sent to %+v (%v)", way.addr, brokers, err)
		}
	}
}

// steady writes numbered records, all acknowledged by all replicas in sync, and knows which were acknowledged.
type steady struct {
	t       *testing.T
	cl      *kgo.Client
	topic   string
	stop    chan struct{}
	done    sync.WaitGroup
	acked   sync.Map // value → nothing
	count   atomic.Int64
	failure atomic.Pointer[error]
}

func startSteady(t *testing.T, seeds []string, topic string, options ...kgo.Opt) *steady {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MetadataMinAge(100 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	l := &steady{t: t, cl: cl, topic: topic, stop: make(chan struct{})}
	for worker := range 4 {
		l.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				value := fmt.Sprintf("%d-%d", worker, i)
				if err := cl.ProduceSync(context.Background(), kgo.StringRecord(value)).FirstErr(); err != nil {
					l.failure.CompareAndSwap(nil, &err)
					return
				}
				l.acked.Store(value, nil)
				l.count.Add(1)
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *steady) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
		l.done.Wait()
		l.cl.Close()
	}
}

// more waits until so many more records are acknowledged.
func (l *steady) more(ctx context.Context, n int64) {
	l.t.Helper()
	want := l.count.Load() + n
	if err := harness.Until(ctx, func() (bool, error) {
		if f := l.failure.Load(); f != nil {
			return false, *f
		}
		return l.count.Load() >= want, nil
	}); err != nil {
		l.t.Fatalf("%d of %d records: %v", l.count.Load(), want, err)
	}
}

// check ends the load, and holds what was acknowledged against what is there.
func (l *steady) check(ctx context.Context, seeds []string, options ...kgo.Opt) {
	l.t.Helper()
	l.end()
	if f := l.failure.Load(); f != nil {
		l.t.Fatal(*f)
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(l.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, options...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	defer cl.Close()
	missing := map[string]bool{}
	l.acked.Range(func(k, _ any) bool { missing[k.(string)] = true; return true })
	total := len(missing)
	for len(missing) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			l.t.Fatalf("%d of %d acknowledged records are not there: %v", len(missing), total, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { delete(missing, string(r.Value)) })
	}
}

// tlsCluster is three brokers whose sets the test may change between starts.
type tlsCluster struct {
	*cluster
	p       *pki
	secured []string // where clients speak TLS
	peers   string
}

func newTLSCluster(t *testing.T) *tlsCluster {
	t.Helper()
	c := &tlsCluster{cluster: &cluster{t: t}, p: newPKI(t)}
	c.p.write("client", issue.Request{})
	var peers []string
	for i := range 3 {
		b := newBroker(t)
		b.Bucket = "none"
		c.b, c.secured = append(c.b, b), append(c.secured, address(t))
		peers = append(peers, fmt.Sprintf("%d@%s", i+1, b.Raft))
		c.p.broker(i + 1)
	}
	c.peers = strings.Join(peers, ",")
	return c
}

// configure gives a broker its sets: clients' TLS beside the plain port, and what else is wanted.
func (c *tlsCluster) configure(i int, sets ...string) {
	c.b[i].Sets = append(append([]string{
		fmt.Sprintf("node.id=%d", i+1), "cluster.peers=" + c.peers, "min.insync.replicas=2", "log.format=text",
		"listeners=PLAINTEXT://" + c.b[i].Listen + ",SSL://" + c.secured[i],
	}, c.p.sets(i+1)...), sets...)
}

func (c *tlsCluster) startAll(ctx context.Context) {
	c.t.Helper()
	started := make(chan error, len(c.b))
	for _, b := range c.b {
		go func() { started <- b.Start(ctx) }()
	}
	for range c.b {
		if err := <-started; err != nil {
			c.t.Fatal(err)
		}
	}
	c.healthy(ctx, 0)
}

func (c *tlsCluster) healthy(ctx context.Context, ask int) {
	c.t.Helper()
	c.await(ctx, c.b[ask], "healthy", func(h console.Cluster) bool { return h.Healthy && h.Active == len(c.b) })
}

// createTopic makes a topic on all brokers, over TLS.
func (c *tlsCluster) createTopic(ctx context.Context, topic string) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.secured...), kgo.DialTLSConfig(c.p.config("")))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 6, 3, nil, topic); err != nil {
		c.t.Fatal(err)
	}
}

// shows is what is shown at an address to who has the named certificate.
func (c *tlsCluster) shows(addr, as string) (*x509.Certificate, error) {
	nc, err := tls.Dial("tcp", addr, c.p.config(as))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0], nil
}

// With TLS everywhere, brokers would not find each other again after one is killed, or an acknowledged record would be lost.
func TestTLSClusterSurvivesKills(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	c := newTLSCluster(t)
	for i := range c.b {
		c.configure(i, "security.inter.broker.protocol=SSL")
	}
	c.startAll(ctx)
	c.createTopic(ctx, "t")
	option := kgo.DialTLSConfig(c.p.config(""))
	l := startSteady(t, c.secured, "t", option)
	for i, b := range c.b {
		l.more(ctx, 200)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		l.more(ctx, 200) // while it is away
		if err := b.Start(ctx); err != nil {
			t.Fatal(err)
		}
		c.healthy(ctx, i)
	}
	l.check(ctx, c.secured, option)
	// A client's certificate, of the same CA, is not enough to be a broker.
	id, err := c.shows(c.b[0].Raft, "client")
	if err != nil || secure.Admit(id, 1, "") != nil {
		t.Fatalf("cluster.listener shows %v, %v", id, err)
	}
	stranger := newBroker(t, slices.Concat(c.p.sets(1), []string{"node.id=4", "cluster.peers=" + c.peers, "security.inter.broker.protocol=SSL"})...)
	stranger.Bucket = "none"
	if err := stranger.Start(ctx); err == nil || !strings.Contains(err.Error(), "is for qanat:///broker/1, and was shown by node 4") {
		t.Fatalf("node 4 starts with the certificate of node 1: %v", err)
	}
}

// New certificates would not be shown without a restart, or taking them up would cost a client an error.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	c := newTLSCluster(t)
	for i := range c.b {
		c.configure(i, "security.inter.broker.protocol=SSL")
	}
	c.startAll(ctx)
	c.createTopic(ctx, "t")
	config := c.p.config("client")
	option := kgo.DialTLSConfig(config)
	l := startSteady(t, c.secured, "t", option)
	// Besides the load, clients come and go.
	var comers sync.WaitGroup
	gone := make(chan struct{})
	var failed atomic.Pointer[error]
	var came atomic.Int64
	comers.Go(func() {
		for {
			select {
			case <-gone:
				return
			default:
			}
			for _, addr := range c.secured {
				nc, err := tls.Dial("tcp", addr, config)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				nc.Close()
				came.Add(1)
			}
		}
	})
	places := func() (serials []string) {
		t.Helper()
		for i, b := range c.b {
			for _, addr := range []string{c.secured[i], b.Raft} {
				cert, err := c.shows(addr, "client")
				if err != nil {
					t.Fatal(err)
				}
				serials = append(serials, cert.SerialNumber.String())
			}
		}
		return serials
	}
	for round := range 3 {
		before := places()
		l.more(ctx, 100)
		for i := range c.b {
			c.p.broker(i + 1)
		}
		if err := harness.Until(ctx, func() (bool, error) {
			now := places()
			for i := range now {
				if now[i] == before[i] {
					return false, nil
				}
			}
			return true, nil
		}); err != nil {
			t.Fatalf("round %d: some still show what they did: %v", round, err)
		}
		seen := came.Load()
		if err := harness.Until(ctx, func() (bool, error) { return came.Load() > seen+30 || failed.Load() != nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	// What is broken changes nothing, and is told of.
	before := places()
	if err := os.WriteFile(c.p.path("broker-2.pem"), []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.await(ctx, c.b[1], "told of the broken file", func(h console.Cluster) bool {
		return h.Healthy && slices.ContainsFunc(h.Warnings, func(w string) bool { return strings.Contains(w, "goes on with older TLS files") })
	})
	if now := places(); !slices.Equal(now, before) {
		t.Fatalf("%v, then %v", before, now)
	}
	close(gone)
	comers.Wait()
	if err := failed.Load(); err != nil {
		t.Fatalf("a client was not let in: %v", *err)
	}
	l.check(ctx, c.secured, option)
}

// A cluster that runs without TLS between its brokers could not change to it one broker after the other, or would lose
// records, or stay open to plain connections.
func TestClusterChangesToTLS(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	c := newTLSCluster(t)
	for i := range c.b {
		c.configure(i)
	}
	c.startAll(ctx)
	c.createTopic(ctx, "t")
	var plain []string
	for _, b := range c.b {
		plain = append(plain, b.Listen)
	}
	l := startSteady(t, plain, "t")
	roll := func(sets ...string) {
		t.Helper()
		for i, b := range c.b {
			l.more(ctx, 50)
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			c.configure(i, sets...)
			if err := b.Start(ctx); err != nil {
				t.Fatal(err)
			}
			c.healthy(ctx, i)
		}
	}
	roll("security.inter.broker.protocol=SSL", "cluster.plaintext.allowed=true")
	if _, err := c.shows(c.b[0].Raft, "client"); err != nil {
		t.Fatalf("half-way it does not speak TLS: %v", err)
	}
	roll("security.inter.broker.protocol=SSL")
	l.check(ctx, c.secured, kgo.DialTLSConfig(c.p.config("")))
	outsider := newBroker(t, "node.id=4", "cluster.peers="+c.peers)
	outsider.Bucket = "none"
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := outsider.Start(short); err == nil || !strings.Contains(err.Error(), "security.inter.broker.protocol is to be the same on all") {
		t.Fatalf("a broker without TLS: %v", err)
	}
}

// The command line's user would not be told what is wrong between him and a TLS port, or not get through with what is right.
func TestCommandLineOverTLS(t *testing.T) {
	p := newPKI(t)
	b, secured, mutual := tlsBroker(t, p, "admin.security.protocol=SSL", "listener.name.admin.ssl.client.auth=required")
	p.write("old", issue.Request{Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)})
	foreign := newPKI(t)
	foreign.write("client", issue.Request{})
	ca := []string{"--tls-ca", p.path("ca.pem")}
	with := func(p *pki, name string) []string {
		return append(slices.Clone(ca), "--tls-cert", p.path(name+".pem"), "--tls-key", p.path(name+"-key.pem"))
	}
	list := func(addr string, more ...string) []string {
		return append([]string{"topic", "list", "--brokers", addr}, more...)
	}
	health := func(addr string, more ...string) []string {
		return append([]string{"cluster", "health", "--admin-url", addr}, more...)
	}
	for _, c := range []struct {
		name string
		args []string
		says string // "" when it works
	}{
		{"TLS", list(secured, ca...), ""},
		{"mutual TLS", list(mutual, with(p, "client")...), ""},
		{"the admin port", health(b.Admin, with(p, "client")...), ""},
		{"a broker's certificate is a client's too", list(mutual, with(p, "broker-1")...), ""},
		{"no TLS", list(secured), "is it a TLS listener? then --tls-ca"},
		{"TLS to a plain port", list(b.Listen, ca...), "is it a TLS"},
		{"the CAs of this machine", list(secured, "--tls"), "name the CA (--tls-ca"},
		{"another CA", list(secured, "--tls-ca", foreign.path("ca.pem")), "name the CA (--tls-ca"},
		{"another name", list(secured, append(slices.Clone(ca), "--tls-server-name", "kafka.example.com")...), "dial a name that the certificate has"},
		{"no certificate", list(mutual, ca...), "none was shown"},
		{"an expired certificate", list(mutual, with(p, "old")...), "not valid now"},
		{"another CA's certificate", list(mutual, with(foreign, "client")...), "does not trust the CA"},
		{"half a pair", list(mutual, append(slices.Clone(ca), "--tls-cert", p.path("client.pem"))...), "go together"},
		{"no admin certificate", health(b.Admin, ca...), "none was shown"},
		{"HTTP to HTTPS", health("http://" + b.Admin), "say https"},
		{"a CA that is none", list(secured, "--tls-ca", p.path("client-key.pem")), "there is no certificate in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(within(t, time.Minute), qanat, c.args...)
			cmd.Env = harness.Environ()
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			if (err == nil) != (c.says == "") || !strings.Contains(errs.String(), c.says) {
				t.Errorf("%v: %v\n%s%s\nwanted %q", c.args, err, out.String(), errs.String(), c.says)
			}
		})
	}
	// The environment says the same as the flags.
	cmd := exec.CommandContext(within(t, time.Minute), qanat, "topic", "list", "--brokers", mutual)
	cmd.Env = append(harness.Environ(), "QANAT_TLS_CA="+p.path("ca.pem"), "QANAT_TLS_CERT="+p.path("client.pem"), "QANAT_TLS_KEY="+p.path("client-key.pem"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("by the environment: %v\n%s", err, out)
	}
	// An HTTP client's view of the admin port.
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: p.config("client"), DisableKeepAlives: true}}
	resp, err := web.Get("https://" + b.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`qanat_tls_certificate_remaining_seconds{listener="PUBLIC"`, `listener="ADMIN"`, `qanat_tls_handshakes_total{`, `result="failed"`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// A certificate that ends soon, or has ended, would not be told of; one that has ended would keep a broker from starting.
func TestCertificatesThatEnd(t *testing.T) {
	p := newPKI(t)
	p.write("broker-1", issue.Request{Hosts: []string{"127.0.0.1"}, Before: time.Now().Add(-2 * time.Hour), After: time.Now().Add(-time.Hour)})
	b := newBroker(t, p.sets(1)...)
	secured := address(t)
	b.Sets = append(b.Sets, "listeners=PLAINTEXT://"+b.Listen+",SSL://"+secured)
	ctx := within(t, time.Minute)
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, b: []*harness.Broker{b}}
	c.await(ctx, b, "told of the end", func(h console.Cluster) bool {
		return !h.Healthy && len(h.Problems) == 1 && strings.Contains(h.Problems[0], "has expired")
	})
	p.broker(1) // ends within a day
	c.await(ctx, b, "warned of the end", func(h console.Cluster) bool {
		return h.Healthy && len(h.Warnings) == 1 && strings.Contains(h.Warnings[0], "ends on")
	})
	if _, err := tls.Dial("tcp", secured, p.config("")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.Tail(100), "of no use to clients") {
		t.Errorf("the log does not tell of it: %s", b.Tail(20))
	}
}

// A broker would start with TLS that cannot work, or not say what to do.
func TestBrokerRefusesBadTLS(t *testing.T) {
	p := newPKI(t)
	p.broker(1)
	p.broker(2)
	p.write("client", issue.Request{})
	for _, c := range []struct {
		sets []string
		says string
	}{
		{[]string{"ssl.keystore.key=" + p.path("broker-2-key.pem")}, "does not belong to the first certificate"},
		{[]string{"ssl.keystore.key=" + p.path("nowhere.pem")}, "correct the path"},
		{[]string{"ssl.keystore.certificate.chain=", "ssl.keystore.key="}, "qanat cert dev"},
		{[]string{"ssl.truststore.location=", "ssl.client.auth=required"}, "no CA to check clients by"},
		{[]string{"security.inter.broker.protocol=SSL", "ssl.keystore.certificate.chain=" + p.path("client.pem"), "ssl.keystore.key=" + p.path("client-key.pem")}, "no broker's role"},
		{[]string{"security.inter.broker.protocol=SSL", "node.id=2"}, "is for qanat:///broker/1, and was shown by node 2"},
		{[]string{"ssl.cipher.suites=TLS_RSA_WITH_RC4_128_SHA"}, "not safe any more"},
		{[]string{"cluster.plaintext.allowed=true"}, "means something only with"},
		{[]string{"listeners=SASL_SSL://127.0.0.1:0"}, "SASL does not exist in this version"},
	} {
		b := newBroker(t, p.sets(1)...)
		b.Sets = append(append(b.Sets, "listeners=SSL://"+b.Listen), c.sets...)
		err := b.Start(within(t, time.Minute))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, wanted %q", c.sets, err, c.says)
		}
		if err != nil && errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: it does not end", c.sets)
		}
	}
}
