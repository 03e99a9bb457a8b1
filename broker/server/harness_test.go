package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// handlerFunc handles exchanges.
type handlerFunc func(x *wire.Exchange)

func (f handlerFunc) Handle(x *wire.Exchange) { f(x) }

// patience is how long a test waits for what must happen; it is never waited for in vain unless the test fails.
const patience = time.Minute

// start runs a server until the test ends, and checks then that everything that was taken has been given back.
func start(t testing.TB, cfg Config, h wire.Handler, o Observer) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listeners = []Listener{{Name: "PLAINTEXT", Listener: l}}
	return startOn(t, cfg, h, o), l.Addr().String()
}

func startOn(t testing.TB, cfg Config, h wire.Handler, o Observer) *Server {
	s := New(cfg, h, o, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run does not return")
		}
		if n := s.Connections(); n != 0 {
			t.Errorf("%d connections after Run", n)
		}
		// Requests of connections that have ended are let go of when they are answered, which may be still to come.
		for end := time.Now().Add(patience); s.BytesInFlight()+wire.FramesInUse() != 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%d bytes in flight and %d frames in use after Run", s.BytesInFlight(), wire.FramesInUse())
			}
		}
	})
	return s
}

// peer is a client that speaks frames.
type peer struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, nc: nc, in: bufio.NewReader(nc)}
}

func encode(req kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("peer")).AppendRequest(nil, req, correlation)
}

func (p *peer) send(req kmsg.Request, correlation int32) {
	p.t.Helper()
	if _, err := p.nc.Write(encode(req, correlation)); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads an answer: its correlation id and body, still with the header's tags.
func (p *peer) receive() (correlation int32, body []byte) {
	p.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(p.in, size[:]); err != nil {
		p.t.Fatalf("read an answer: %v", err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.in, frame); err != nil {
		p.t.Fatalf("read an answer of %d bytes: %v", len(frame), err)
	}
	return int32(binary.BigEndian.Uint32(frame)), frame[4:]
}

// closed waits until the server has closed the connection, and tells what came before.
func (p *peer) closed() []byte {
	p.t.Helper()
	rest, err := io.ReadAll(p.in)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		p.t.Fatal("the server does not close the connection")
	}
	return rest
}

// heartbeat is a small request without bytes; its answer is as small.
func heartbeat() kmsg.Request {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(0)
	req.Group = "group"
	return req
}

func produce(records int) kmsg.Request {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(8)
	req.Acks = -1
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "topic"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = make([]byte, records)
	topic.Partitions = []kmsg.ProduceRequestTopicPartition{part}
	req.Topics = []kmsg.ProduceRequestTopic{topic}
	return req
}

func fetch(version int16) kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	return req
}

// answer replies with an empty response of the right kind.
func answer(x *wire.Exchange) {
	resp := x.Request.ResponseKind()
	resp.SetVersion(x.Version)
	x.Reply(wire.Reply{Message: resp})
}

// inbox is a handler that keeps exchanges for the test to answer.
type inbox struct{ arrived chan *wire.Exchange }

func newInbox() *inbox { return &inbox{arrived: make(chan *wire.Exchange, 1000)} }

func (b *inbox) Handle(x *wire.Exchange) { b.arrived <- x }

func (b *inbox) next(t testing.TB) *wire.Exchange {
	t.Helper()
	select {
	case x := <-b.arrived:
		return x
	case <-time.After(patience):
		t.Fatal("no request arrives")
		return nil
	}
}

func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not happen", what)
	}
}

// recorder is an Observer that remembers.
type recorder struct {
	Unobserved
	mu       sync.Mutex
	requests []RequestStats
	refused  int
}

func (r *recorder) Request(s RequestStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, s)
}

func (r *recorder) Refused(string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused++
}
