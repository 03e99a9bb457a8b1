package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/secure/issue"
	"github.com/qanat-io/qanat/wire"
)

// secured is a listener with a CA of its own.
type secured struct {
	ca       *issue.Authority
	listener Listener
	addr     string
}

func newSecured(t testing.TB, auth string) secured {
	t.Helper()
	ca, err := issue.NewAuthority("CA", time.Hour, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Issue(issue.Request{Name: "broker", Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := secure.NewIdentity(secure.Settings{
		Listener: "SSL", Chain: string(p.Cert), Key: string(p.Key), Certificates: string(ca.PEM()), ClientAuth: auth,
		Principals: "RULE:^CN=(.*)$/$1/",
	}, time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return secured{ca, Listener{Name: "SSL", Listener: l, TLS: id}, l.Addr().String()}
}

// config is a client's, with a certificate when it has a name.
func (s secured) config(t testing.TB, name string) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	c.RootCAs.AddCert(s.ca.Cert)
	if name != "" {
		p, err := s.ca.Issue(issue.Request{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

func (s secured) dial(t testing.TB, name string) *peer {
	t.Helper()
	nc, err := tls.Dial("tcp", s.addr, s.config(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, nc: nc, in: bufio.NewReader(nc)}
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

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

// serveTLS runs a server with a log, over the listeners, until the test ends.
func serveTLS(t testing.TB, cfg Config, h wire.Handler, o Observer) *lines {
	t.Helper()
	log := new(lines)
	s := New(cfg, h, o, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return log
}

// What is sent over TLS would differ from what is sent without it: answers of all kinds, in order, while others are parked.
func TestAnswersOverTLS(t *testing.T) {
	held := newHolds(t)
	content := noise(3 << 20)
	disk := writeFile(t, content)
	box := newInbox()
	s := newSecured(t, secure.AuthNone)
	startOn(t, Config{Listeners: []Listener{s.listener}}, box, nil)
	p := s.dial(t, "")
	for round := range 3 {
		p.send(fetch(11), 1)
		p.send(heartbeat(), 2)
		p.send(produce(400_000), 3) // larger than what one read brings
		first, second, third := box.next(t), box.next(t), box.next(t)
		if got := first.Client.Principal; got != secure.Anonymous {
			t.Fatalf("the client is %q", got)
		}
		answer(third) // last first, from another goroutine than the reader's
		answer(second)
		first.Reply(wire.Reply{Fetch: response(11, content, disk, held, 7+round*40)})
		for want := int32(1); want <= 3; want++ {
			id, body := p.receive()
			if id != want {
				t.Fatalf("answer %d where %d is due", id, want)
			}
			if want == 1 && !bytes.Equal(records(t, 11, body), content) {
				t.Fatal("the records differ")
			}
		}
	}
}

// A client would go by another name than its certificate gives it, or be let in without one.
func TestPrincipalOfCertificate(t *testing.T) {
	box := newInbox()
	s := newSecured(t, secure.AuthRequired)
	log := serveTLS(t, Config{Listeners: []Listener{s.listener}}, box, nil)
	p := s.dial(t, "alice")
	p.send(heartbeat(), 1)
	x := box.next(t)
	if x.Client.Principal != "User:alice" {
		t.Fatalf("alice is %q", x.Client.Principal)
	}
	answer(x)
	p.receive()
	none := s.dial(t, "") // in TLS 1.3 a client hears of it with its first read
	if _, err := none.nc.Read(make([]byte, 1)); err == nil {
		t.Fatal("a client without a certificate is let in")
	}
	// The client hears of it before the log does.
	for end := time.Now().Add(patience); log.count("none was shown") != 1; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("the log does not say so: %s", log.b.String())
		}
	}
}

// Plain bytes on a TLS port, or TLS on a plain one, would fill the log, hang, or be told of in no way.
func TestWrongProtocolIsToldOfAFewTimes(t *testing.T) {
	s := newSecured(t, secure.AuthNone)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := serveTLS(t, Config{Listeners: []Listener{s.listener, {Name: "PLAINTEXT", Listener: l}}, MaxRequestBytes: 1 << 30}, newInbox(), nil)
	const few = 5
	for range 3 * few {
		p := dial(t, s.addr)
		p.send(heartbeat(), 1)
		p.closed()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = tls.Client(nc, s.config(t, "")).Handshake()
		if err == nil {
			t.Fatal("a plain listener speaks TLS")
		}
		if text := secure.Explain(err, secure.Dialer).Text; !strings.Contains(text, "is it a TLS port?") {
			t.Fatalf("the client hears %q", text)
		}
		nc.Close()
	}
	for _, line := range []string{"does not speak TLS on this TLS port", "speaks TLS on a plain listener"} {
		if n := log.count("level=WARN"); log.count(line) != few || n != 2*few {
			t.Fatalf("%q is there %d times, among %d warnings:\n%s", line, log.count(line), n, log.b.String())
		}
	}
}

// Who begins a handshake and does not go on would keep others out, or stay for ever.
func TestSlowHandshakes(t *testing.T) {
	s := newSecured(t, secure.AuthNone)
	box := newInbox()
	startOn(t, Config{Listeners: []Listener{s.listener}, MaxHandshakes: 3, HandshakeTimeout: patience}, box, nil)
	var silent []*peer
	for range 5 {
		p := dial(t, s.addr)
		if _, err := p.nc.Write([]byte{0x16, 3, 1}); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, p)
	}
	silent[0].closed() // they have made room for the last two
	silent[1].closed()
	p := s.dial(t, "")
	p.send(heartbeat(), 1)
	answer(box.next(t))
	p.receive()
	silent[2].closed()

	quick := newSecured(t, secure.AuthNone)
	log := serveTLS(t, Config{Listeners: []Listener{quick.listener}, HandshakeTimeout: 10 * time.Millisecond}, box, nil)
	dial(t, quick.addr).closed()
	if log.count("not finished in time") != 1 { // it is written before the connection is closed
		t.Fatal("nothing is said of it")
	}
}
