package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// patience is how long a test waits for what must happen; never in vain unless it fails.
const patience = time.Minute

// broker is a hub with a server behind it.
type broker struct {
	*Hub
	mux  *Mux
	addr string
}

// book is where the brokers of a test are.
type book struct {
	mu sync.Mutex
	at map[kafka.BrokerID]string
}

func (b *book) address(n kafka.BrokerID) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a, ok := b.at[n]; ok {
		return []string{a}
	}
	return nil
}

func (b *book) set(n kafka.BrokerID, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == nil {
		b.at = map[kafka.BrokerID]string{}
	}
	b.at[n] = addr
}

func who(n kafka.BrokerID) wire.Peer {
	return wire.Peer{Node: n, Cluster: "c", Release: "test", Directory: [16]byte{byte(n)}}
}

// start runs a broker until the test ends. change may alter its configuration.
func start(t testing.TB, b *book, self wire.Peer, change func(*Config)) *broker {
	t.Helper()
	return startWith(t, b, self, nil, change)
}

func startWith(t testing.TB, b *book, self wire.Peer, log *slog.Logger, change func(*Config)) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Self: func() wire.Peer { return self }, Address: b.address}
	if change != nil {
		change(&cfg)
	}
	h := New(cfg, l, log)
	x := &broker{Hub: h, mux: NewMux(cfg.Self, nil), addr: l.Addr().String()}
	b.set(self.Node, x.addr)
	s := server.New(server.Config{Listeners: []server.Listener{{Name: "CLUSTER", Listener: h.Peers()}}}, x.mux, nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func echo(_ context.Context, from wire.Peer, version int16, body []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d v%d %s", from.Node, version, body), nil
}

// A broker could be spoken to by who must not: another cluster's, one that means another node or has its id, one without the
// token or with a stale directory, one of a version to come. Each is told why and what to do.
func TestHandshakeRefuses(t *testing.T) {
	stale := func(p wire.Peer) error {
		if p.Directory == [16]byte{66} {
			return Refuse(CodeStale, "broker %d was replaced: start it with an empty directory", p.Node)
		}
		return nil
	}
	with := func(change func(*wire.Peer)) wire.Peer { p := who(2); change(&p); return p }
	for _, c := range []struct {
		name   string
		dialer wire.Peer
		kind   Kind
		want   kafka.BrokerID
		tokens [2]string // dialer's, acceptor's
		code   Code
		words  []string
	}{
		{name: "same cluster", dialer: who(2), kind: KindRaft, want: 1},
		{name: "same token", dialer: who(2), kind: KindPeer, want: 1, tokens: [2]string{"x", "x"}},
		{name: "anyone", dialer: who(2), kind: KindPeer, want: kafka.NoBroker},
		{name: "no cluster yet", dialer: with(func(p *wire.Peer) { p.Cluster = "" }), kind: KindPeer, want: 1},
		{name: "no cluster yet, raft", dialer: with(func(p *wire.Peer) { p.Cluster = "" }), kind: KindRaft, want: 1, code: CodeNotReady},
		{name: "other cluster", dialer: with(func(p *wire.Peer) { p.Cluster = "other" }), kind: KindPeer, want: 1, code: CodeCluster, words: []string{"cluster c", "cluster other", "cluster.peers"}},
		{name: "wrong node", dialer: who(2), kind: KindPeer, want: 3, code: CodeWrongNode, words: []string{"broker 1 answers", "broker 3", "cluster.peers"}},
		{name: "own id", dialer: with(func(p *wire.Peer) { p.Node = 1 }), kind: KindPeer, want: 1, code: CodeDuplicate, words: []string{"node.id"}},
		{name: "no token", dialer: who(2), kind: KindPeer, want: 1, tokens: [2]string{"", "x"}, code: CodeToken, words: []string{"cluster.join.token"}},
		{name: "unwanted token", dialer: who(2), kind: KindPeer, want: 1, tokens: [2]string{"x", ""}, code: CodeToken, words: []string{"cluster.join.token"}},
		{name: "other token", dialer: who(2), kind: KindRaft, want: 1, tokens: [2]string{"x", "y"}, code: CodeToken, words: []string{"cluster.join.token"}},
		{name: "stale directory", dialer: with(func(p *wire.Peer) { p.Directory = [16]byte{66} }), kind: KindRaft, want: 1, code: CodeStale, words: []string{"replaced", "empty"}},
		{name: "kind to come", dialer: who(2), kind: 9, want: 1, code: CodeUnsupported, words: []string{"upgrade"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b book
			a := start(t, &b, who(1), func(cfg *Config) { cfg.Token, cfg.Check = c.tokens[1], stale })
			d := start(t, &b, c.dialer, func(cfg *Config) { cfg.Token = c.tokens[0] })
			nc, err := d.DialAt(t.Context(), c.kind, c.want, a.addr)
			if CodeOf(err) != c.code {
				t.Fatalf("code %d, want %d: %v", CodeOf(err), c.code, err)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if err == nil {
				if nc.Peer().Node != 1 || nc.Peer().Directory != [16]byte{1} {
					t.Errorf("answered by %+v", nc.Peer())
				}
				nc.Close()
			}
		})
	}
}

// A dialer could trust an acceptor that it must not: of a replaced directory, or without the token.
func TestDialerRefuses(t *testing.T) {
	var b book
	bare := start(t, &b, who(1), nil)
	careful := start(t, &b, who(2), func(cfg *Config) {
		cfg.Check = func(p wire.Peer) error { return Refuse(CodeStale, "broker %d was replaced", p.Node) }
	})
	if _, err := careful.Dial(t.Context(), KindRaft, 1); CodeOf(err) != CodeStale {
		t.Error(err)
	}
	guarded := start(t, &b, who(3), func(cfg *Config) { cfg.Token = "x" })
	if _, err := guarded.Dial(t.Context(), KindRaft, 1); CodeOf(err) != CodeToken {
		t.Error(err)
	}
	nc, err := start(t, &b, who(4), nil).Dial(t.Context(), KindRaft, bare.cfg.Self().Node)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

// A later version's hello could be misread; it is refused in a form that it can read.
func TestLaterVersionIsRefusedInWords(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	nc := dial(t, a.addr)
	if _, err := nc.Write(append([]byte("QANAT\x01\x09\x00\x04"), "soon"...)); err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(nc)
	if err != nil {
		t.Fatal(err)
	}
	err = decode(f, typeWelcome, &welcome{})
	if CodeOf(err) != CodeVersion || !strings.Contains(err.Error(), "upgrade") {
		t.Error(err)
	}
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// hungUp tells what came until the other end closed the connection.
func hungUp(t testing.TB, nc net.Conn) []byte {
	t.Helper()
	rest, err := io.ReadAll(nc)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the connection is not closed")
	}
	return rest
}

// A Kafka client on the cluster listener could disturb it, or be answered; so could noise.
func TestStrangersAreCutOff(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	a.mux.Register(KeyHello, echo)
	d := start(t, &b, who(2), nil)
	client := d.NewClient()
	req := kmsg.NewPtrApiVersionsRequest()
	req.SetVersion(4)
	for name, first := range map[string][]byte{
		"kafka": kmsg.NewRequestFormatter().AppendRequest(nil, req, 1),
		"http":  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"large": []byte("QANAT\x01\x01\xff\xff"),
		"noise": bytes.Repeat([]byte{0xff}, 100),
		"bytes": []byte("QANAT\x01\x01\x00\x02\xff\xff"),
	} {
		nc := dial(t, a.addr)
		if _, err := nc.Write(first); err != nil {
			t.Fatal(err)
		}
		if got := hungUp(t, nc); len(got) > 0 && !bytes.HasPrefix(got, []byte(magic)) {
			t.Errorf("%s was answered with %q", name, got)
		}
		if _, err := client.Do(t.Context(), 1, KeyHello, 0, nil); err != nil {
			t.Errorf("%s disturbed another: %v", name, err)
		}
	}
}

// A client could talk the private API, or a broker's handshake, to a listener for clients.
func TestClientListenerKnowsNothingPrivate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan *wire.Exchange, 1)
	s := server.New(server.Config{Listeners: []server.Listener{{Name: "PLAINTEXT", Listener: l}}}, handlerFunc(func(x *wire.Exchange) {
		reached <- x
		x.Reply(wire.Reply{Close: errNotServed})
	}), nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for key := range private {
		nc := dial(t, l.Addr().String())
		if _, err := nc.Write(kmsg.NewRequestFormatter().AppendRequest(nil, &wire.Private{APIKey: key}, 1)); err != nil {
			t.Fatal(err)
		}
		if got := hungUp(t, nc); len(got) > 0 {
			t.Errorf("key %d was answered with %q", key, got)
		}
	}
	var b book
	d := start(t, &b, who(2), nil)
	if _, err := d.DialAt(t.Context(), KindPeer, 1, l.Addr().String()); !errors.Is(err, errNotQanat) || !strings.Contains(err.Error(), "cluster.listener") {
		t.Errorf("a wrong address in cluster.peers: %v", err)
	}
	select {
	case x := <-reached:
		t.Errorf("key %d reached the handler", x.Key)
	default:
	}
}

// Whoever dials a port that takes connections and says nothing (an admin port, a broker that hangs) is told of a time that is over and two
// ports, each time others, so that the log fills; or a broker that hangs is taken for none.
func TestSilentPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var b book
	d := start(t, &b, who(2), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = d.DialAt(ctx, KindPeer, 1, l.Addr().String())
	if err == nil || errors.Is(err, errNotQanat) || !strings.Contains(err.Error(), "cluster.listener") || strings.Contains(err.Error(), "->") {
		t.Errorf("%v", err)
	}
}

type handlerFunc func(x *wire.Exchange)

func (f handlerFunc) Handle(x *wire.Exchange) { f(x) }

// A Raft connection could carry anything but the raw bytes that follow the handshake, or reach the private API.
func TestRaftConnectionsAreRaw(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	d := start(t, &b, who(2), nil)
	nc, err := d.Dial(t.Context(), KindRaft, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	other, err := a.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	got := make([]byte, 4)
	if _, err := io.ReadFull(other, got); err != nil || string(got) != "ping" {
		t.Errorf("%q, %v", got, err)
	}
	if p := other.(*Conn).Peer(); p.Node != 2 {
		t.Errorf("dialed by %+v", p)
	}
}

// The private API could be served to who is no member, beyond its versions, or with anything but what its handler said.
func TestPrivateRequests(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	a.mux.Register(KeyHello, echo)
	a.mux.Register(KeyPropose, echo)
	a.mux.Register(KeyReach, func(context.Context, wire.Peer, int16, []byte) ([]byte, error) {
		return nil, errors.New("so it failed")
	})
	a.mux.Register(KeyLost, func(context.Context, wire.Peer, int16, []byte) ([]byte, error) {
		return nil, fmt.Errorf("wrapped: %w", Refuse(CodeNotLeader, "ask 3"))
	})
	a.mux.Register(KeyAdmin, func(context.Context, wire.Peer, int16, []byte) ([]byte, error) { panic("in a handler") })
	member := start(t, &b, who(2), nil).NewClient()
	stranger := who(3)
	stranger.Cluster = ""
	guest := start(t, &b, stranger, nil).NewClient()
	for _, c := range []struct {
		client  *Client
		key, v  int16
		answer  string
		code    Code
		refused bool
	}{
		{client: member, key: KeyPropose, answer: "2 v0 body"},
		{client: guest, key: KeyHello, answer: "3 v0 body"},
		{client: guest, key: KeyPropose, refused: true, code: CodeNotMember},
		{client: member, key: KeyPropose, v: 1, refused: true, code: CodeUnsupported},
		{client: member, key: 29999, refused: true, code: CodeUnsupported},
		{client: member, key: KeyJoin, refused: true, code: CodeNotReady},
		{client: member, key: KeyReach, refused: true, code: CodeFailed},
		{client: member, key: KeyLost, refused: true, code: CodeNotLeader},
		{client: member, key: KeyAdmin, refused: true, code: 0},
		{client: member, key: KeyPropose, answer: "2 v0 body"},
	} {
		got, err := c.client.Do(t.Context(), 1, c.key, c.v, []byte("body"))
		if c.refused != (err != nil) || string(got) != c.answer || CodeOf(err) != c.code {
			t.Errorf("key %d v%d: %q, %v", c.key, c.v, got, err)
		}
	}
	// What clients ask of any broker is not served here, and a guest may not fetch.
	kafkas := make(chan int16, 10)
	a.mux.ServeKafka(handlerFunc(func(x *wire.Exchange) {
		kafkas <- x.Key
		resp := x.Request.ResponseKind()
		resp.SetVersion(x.Version)
		x.Reply(wire.Reply{Message: resp})
	}))
	fetch, metadata := kmsg.NewPtrFetchRequest(), kmsg.NewPtrMetadataRequest()
	fetch.SetVersion(13)
	metadata.SetVersion(9)
	if _, _, err := member.Request(t.Context(), 1, fetch); err != nil {
		t.Errorf("fetch of a replica: %v", err)
	}
	if _, _, err := member.Request(t.Context(), 1, metadata); err == nil {
		t.Error("Metadata is served between brokers")
	}
	if _, _, err := guest.Request(t.Context(), 1, fetch); err == nil {
		t.Error("a broker of no cluster may fetch")
	}
	if n := len(kafkas); n != 1 {
		t.Errorf("%d requests reached the handler", n)
	}
}

// Many requests at once could be answered with one another's answers, small ones or large.
func TestAnswersFindTheirRequests(t *testing.T) {
	var b book
	start(t, &b, who(1), nil).mux.Register(KeyPropose, echo)
	client := start(t, &b, who(2), nil).NewClient()
	var running sync.WaitGroup
	for i := range 300 {
		running.Go(func() {
			body := bytes.Repeat(fmt.Appendf(nil, "<%d>", i), 1+i*i)
			want := append([]byte("2 v0 "), body...)
			if got, err := client.Do(t.Context(), 1, KeyPropose, 0, body); err != nil || !bytes.Equal(got, want) {
				t.Errorf("request %d: %d bytes in answer to %d, %v", i, len(got), len(body), err)
			}
		})
	}
	running.Wait()
}

// A broker's death could leave its callers waiting, or OnClose unheard; when it is back the next request could fail for ever.
func TestDeathIsHeardOfAndReconnected(t *testing.T) {
	var b book
	heard := make(chan kafka.BrokerID, 16)
	d := start(t, &b, who(2), nil)
	d.OnClose(func(n kafka.BrokerID) { heard <- n })
	client := d.NewClient()
	for round := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		victim := New(Config{Self: func() wire.Peer { return who(1) }, Address: b.address}, l, nil)
		b.set(1, l.Addr().String())
		accepted := make(chan net.Conn, 1)
		go func() {
			nc, err := victim.Peers().Accept()
			if err == nil {
				accepted <- nc
			}
		}()
		answered := make(chan error, 1)
		go func() {
			_, err := client.Do(t.Context(), 1, KeyPropose, 0, nil) // is never answered
			answered <- err
		}()
		nc := <-accepted
		if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil { // the request has come
			t.Fatal(err)
		}
		nc.Close()
		if err := victim.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err == nil {
			t.Errorf("round %d: answered by the dead", round)
		}
		if n := <-heard; n != 1 {
			t.Errorf("round %d: heard of %d", round, n)
		}
		if v := d.Probe(t.Context(), 1); v.State != Dead {
			t.Errorf("round %d: probed as %v: %v", round, v.State, v.Err)
		}
		if _, err := client.Do(t.Context(), 1, KeyPropose, 0, nil); !unreachable(err) {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// unreachable tells whether a request has not left its broker: nobody was there to take it.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// A caller's deadline could be ignored; a broker that takes requests and answers none could keep its connection.
func TestSilenceEndsTheConnection(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	release := make(chan struct{})
	defer close(release)
	a.mux.Register(KeyPropose, func(ctx context.Context, _ wire.Peer, _ int16, _ []byte) ([]byte, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	heard := make(chan kafka.BrokerID, 16)
	d := start(t, &b, who(2), nil)
	d.OnClose(func(n kafka.BrokerID) { heard <- n })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.NewClient().Do(ctx, 1, KeyPropose, 0, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := <-heard; n != 1 {
		t.Error(n)
	}
}

// A probe could take one for another: who lives, who is somebody else, what is no broker, what does not answer.
func TestProbe(t *testing.T) {
	var b book
	start(t, &b, who(1), nil)
	d := start(t, &b, who(2), nil)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing, as a stopped process does
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	b.set(3, mute.Addr().String())
	noise, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer noise.Close()
	go func() {
		for {
			nc, err := noise.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(nc, "SSH-2.0-whatever\r\n")
			nc.Close()
		}
	}()
	b.set(4, noise.Addr().String())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.set(5, free.Addr().String())
	free.Close()
	b.set(6, b.address(1)[0])
	for node, want := range map[kafka.BrokerID]State{1: Alive, 3: Silent, 4: Other, 5: Dead, 6: Other, 7: Silent} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if want == Silent {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		v := d.Probe(ctx, node)
		cancel()
		if v.State != want || (v.Err == nil) != (want == Alive) {
			t.Errorf("node %d is %v: %v; want %v", node, v.State, v.Err, want)
		}
		if node == 1 && v.Peer.Directory != [16]byte{1} {
			t.Errorf("a probe has seen %+v", v.Peer)
		}
	}
}

// A hub could be closed while connections are made and lose one, or hang.
func TestCloseDuringHandshakes(t *testing.T) {
	var b book
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := New(Config{Self: func() wire.Peer { return who(1) }, Address: b.address}, l, slog.New(slog.DiscardHandler))
		b.set(1, l.Addr().String())
		d := start(t, &b, who(2), nil)
		client := d.NewClient()
		var running sync.WaitGroup
		for range 10 {
			running.Go(func() {
				_ = client.Connect(t.Context(), 1) // connected or not
				nc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return // closed already
				}
				defer nc.Close()
				_, _ = nc.Write([]byte(magic)) // and no more
				hungUp(t, nc)
			})
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		running.Wait()
		if _, err := client.Do(t.Context(), 1, KeyHello, 0, nil); err == nil {
			t.Error("answered by a hub that was closed")
		}
	}
}

// Connections on which nothing more comes could keep brokers out.
func TestStrangersHoldUpThemselvesAlone(t *testing.T) {
	var b book
	a := start(t, &b, who(1), nil)
	a.mux.Register(KeyHello, echo)
	var held []net.Conn
	for range 4 {
		for range pending {
			nc := dial(t, a.addr)
			if _, err := nc.Write([]byte(magic)); err != nil {
				t.Fatal(err)
			}
			held = append(held, nc)
		}
		if _, err := start(t, &b, who(2), nil).NewClient().Do(t.Context(), 1, KeyHello, 0, nil); err != nil {
			t.Fatalf("a broker was kept out by %d connections: %v", len(held), err)
		}
	}
	if rest := hungUp(t, held[0]); len(rest) > 0 {
		t.Errorf("the oldest was answered with %q", rest)
	}
}

// Whoever is refused again and again could fill the log, or hide in it who else is.
func TestRefusalsAreNewsOnce(t *testing.T) {
	var r refusals
	host := func(n int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, byte(n>>8), byte(n)), Port: n} }
	now := time.Unix(1, 0)
	news := func(n int, code Code, want bool) {
		t.Helper()
		if r.news(host(n), code, now) != want {
			t.Errorf("host %d, code %d after %v: want news %v", n, code, now.Sub(time.Unix(1, 0)), want)
		}
	}
	news(1, CodeToken, true)
	news(1, CodeToken, false)
	news(1, CodeCluster, true)
	news(2, CodeToken, true)
	now = now.Add(sayAgain)
	news(1, CodeToken, true)
	news(1, CodeToken, false)
	for n := range 2 * maxRefusals {
		r.news(host(n), CodeMalformed, now)
	}
	if len(r.said) > maxRefusals {
		t.Errorf("%d are remembered, at most %d", len(r.said), maxRefusals)
	}
	news(5*maxRefusals, CodeToken, false)
	now = now.Add(sayAgain)
	news(5*maxRefusals, CodeToken, true)
}
