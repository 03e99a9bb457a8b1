package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/wire"
)

func newCA(t *testing.T) *issue.Authority {
	t.Helper()
	ca, err := issue.NewAuthority("CA", time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// identity is a broker's, with whatever its certificate says.
func identity(t *testing.T, ca, trusts *issue.Authority, r issue.Request) *secure.Identity {
	t.Helper()
	if r.Name == "" {
		r.Name = "broker"
	}
	if r.Hosts == nil {
		r.Hosts = []string{"elsewhere.example.com"} // host names do not count
	}
	p, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	id, err := secure.NewIdentity(secure.Settings{Listener: "CLUSTER", Chain: string(p.Cert), Key: string(p.Key), Certificates: string(trusts.PEM())}, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func role(cluster string, node int32) *secure.Role { return &secure.Role{Cluster: cluster, Node: node} }

// A certificate that is no broker's, another broker's, another cluster's, or bad in itself would be enough to speak between
// brokers, on either side; or its owner would not be told what is wrong.
func TestCertificatesBetweenBrokers(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	good := func() *secure.Identity { return identity(t, ca, ca, issue.Request{Role: role("", secure.AnyNode)}) }
	ago, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, c := range []struct {
		name string
		bad  *secure.Identity // shown as node 2
		says string           // on one side at least; "" when it is good
	}{
		{"any broker", good(), ""},
		{"this node", identity(t, ca, ca, issue.Request{Role: role("", 2)}), ""},
		{"this node of this cluster", identity(t, ca, ca, issue.Request{Role: role("c", 2)}), ""},
		{"a client", identity(t, ca, ca, issue.Request{Name: "alice"}), "no broker's role"},
		{"another node", identity(t, ca, ca, issue.Request{Role: role("", 3)}), "was shown by node 2"},
		{"another cluster", identity(t, ca, ca, issue.Request{Role: role("d", 2)}), "is for qanat://d/broker/2"},
		{"another CA's", identity(t, other, ca, issue.Request{Role: role("", 2)}), "CA"},
		{"expired", identity(t, ca, ca, issue.Request{Role: role("", 2), Before: ago.Add(-time.Hour), After: ago}), "expired"},
		{"of tomorrow", identity(t, ca, ca, issue.Request{Role: role("", 2), Before: soon, After: soon.Add(time.Hour)}), "not valid before"},
		{"for servers only", identity(t, ca, ca, issue.Request{Role: role("", 2), ServerOnly: true}), "clientAuth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b book
			log := new(lines)
			a := startLogged(t, &b, who(1), log, func(cfg *Config) { cfg.TLS = good() })
			d := startLogged(t, &b, who(2), log, func(cfg *Config) { cfg.TLS = c.bad })
			a.mux.Register(KeyHello, echo)
			d.mux.Register(KeyHello, echo)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := d.NewClient().Do(ctx, 1, KeyHello, 0, nil)  // the bad one dials
			_, back := a.NewClient().Do(ctx, 2, KeyHello, 0, nil) // it is dialed
			_, raft := d.DialAt(ctx, KindRaft, 1, a.addr)         // it votes
			if c.says == "" {
				if err != nil || back != nil || raft != nil {
					t.Fatalf("refused: %v; %v; %v", err, back, raft)
				}
				return
			}
			if err == nil || raft == nil {
				t.Fatalf("it is taken: %v; %v", err, raft)
			}
			if back == nil && c.name != "for servers only" { // which it may be
				t.Fatal("it is taken for the one that was meant")
			}
			if all := log.String() + err.Error() + raft.Error(); !strings.Contains(all, c.says) {
				t.Errorf("nobody says %q: %s", c.says, all)
			}
		})
	}
}

// Somebody who has a broker's certificate by no right, but no TLS, would be let in; or a broker that speaks TLS would hang at
// one that does not, and the other way round.
func TestPlainAndTLSBetweenBrokers(t *testing.T) {
	ca := newCA(t)
	id := identity(t, ca, ca, issue.Request{Role: role("", secure.AnyNode)})
	with := func(secured, plain bool) func(*Config) {
		return func(cfg *Config) {
			if cfg.AllowPlain = plain; secured {
				cfg.TLS = id
			}
		}
	}
	for _, c := range []struct {
		name             string
		dialer, acceptor func(*Config)
		works, encrypted bool
	}{
		{"plain to TLS", with(false, false), with(true, false), false, false},
		{"TLS to plain", with(true, false), with(false, false), false, false},
		{"plain to changing", with(false, false), with(true, true), true, false},
		{"changing to plain", with(true, true), with(false, false), true, false},
		{"changing to changing", with(true, true), with(true, true), true, true},
		{"changing to TLS", with(true, true), with(true, false), true, true},
		{"TLS to changing", with(true, false), with(true, true), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b book
			log := new(lines)
			a := startLogged(t, &b, who(1), log, c.acceptor)
			d := startLogged(t, &b, who(2), log, c.dialer)
			a.mux.Register(KeyHello, echo)
			nc, err := d.DialAt(t.Context(), KindRaft, 1, a.addr)
			if (err == nil) != c.works {
				t.Fatalf("%v", err)
			}
			if !c.works {
				if !strings.Contains(err.Error(), "security.inter.broker.protocol is to be the same") {
					t.Errorf("nobody says that it is TLS: %v", err)
				}
				return
			}
			if _, ok := nc.Plain().(*secure.Conn); ok != c.encrypted {
				t.Errorf("encrypted: %v", ok)
			}
			nc.Close()
			large := bytes.Repeat([]byte("x"), 300_000)
			answer, err := d.NewClient().Do(t.Context(), 1, KeyHello, 0, large)
			if err != nil || !bytes.HasSuffix(answer, large) {
				t.Errorf("%d bytes, %v", len(answer), err)
			}
		})
	}
}

// Whoever knows the addresses could speak as a broker with a client's certificate, however he words it.
func TestClientCertificateNeverSpeaksRaft(t *testing.T) {
	ca := newCA(t)
	var b book
	a := startLogged(t, &b, who(1), new(lines), func(cfg *Config) { cfg.TLS = identity(t, ca, ca, issue.Request{Role: role("", 1)}) })
	p, err := ca.Issue(issue.Request{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	nc, err := tls.Dial("tcp", a.addr, &tls.Config{RootCAs: roots, ServerName: "elsewhere.example.com", Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// Its own hub does not mind, and goes through with everything.
	evil := New(Config{Self: func() wire.Peer { return who(2) }, Address: b.address, Dial: func(context.Context, string) (net.Conn, error) { return nc, nil }}, silent(t), nil)
	defer evil.Close()
	_, err = evil.DialAt(t.Context(), KindRaft, 1, a.addr)
	if CodeOf(err) != CodeRole {
		t.Fatalf("%v", err)
	}
}

func silent(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// lines is a log that is looked at while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startLogged(t *testing.T, b *book, self wire.Peer, log *lines, change func(*Config)) *broker {
	t.Helper()
	return startWith(t, b, self, slog.New(slog.NewTextHandler(log, nil)), change)
}
