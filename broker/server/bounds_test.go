package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// A client that hangs up is noticed while its connection reads nothing, because as many requests as are allowed are
// parked and more wait in the socket.
func TestGoneWhileNothingIsRead(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{MaxPipelined: 2}, box, nil)
	p := dial(t, addr)
	for i := range int32(50) {
		p.send(produce(1000), i)
	}
	x, y := box.next(t), box.next(t)
	gone := x.Client.Gone
	if gone.Err() != nil || len(box.arrived) > 0 {
		t.Fatalf("gone: %v, %d requests more than allowed", gone.Err(), len(box.arrived))
	}
	p.nc.Close()
	await(t, "Gone", gone.Done())
	answer(x)
	answer(y)
}

// The same while the connection waits for bytes that others hold.
func TestGoneWhileWaitingForBytes(t *testing.T) {
	box := newInbox()
	s, addr := start(t, Config{MaxBytes: 10_000}, box, nil)
	p, q := dial(t, addr), dial(t, addr)
	p.send(produce(9_000), 1)
	x := box.next(t)
	q.send(heartbeat(), 1)
	gone := box.next(t)
	q.send(produce(9_000), 2)
	done := gone.Client.Gone
	for !waitingForBytes(s, 9_000) {
		runtime.Gosched()
	}
	q.nc.Close()
	await(t, "Gone", done.Done())
	answer(gone)
	answer(x)
	p.receive()
	p.send(produce(9_000), 2) // whose place in the queue the one that left must not block
	answer(box.next(t))
	p.receive()
}

// waitingForBytes tells whether a request waits for the bytes of those of size n.
func waitingForBytes(s *Server, n int64) bool {
	b := s.budgets.of(n)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head != nil
}

// At most MaxPipelined requests of a connection are handled and not answered; one more for each answer.
func TestPipelineBound(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{MaxPipelined: 3}, box, nil)
	p := dial(t, addr)
	for i := range int32(10) {
		p.send(heartbeat(), i)
	}
	open := []*wire.Exchange{box.next(t), box.next(t), box.next(t)}
	for i := range int32(10) {
		if n := len(box.arrived); n > 0 {
			t.Fatalf("%d requests beyond the bound", n)
		}
		answer(open[0])
		open = open[1:]
		if got, _ := p.receive(); got != i {
			t.Fatalf("answer %d, want %d", got, i)
		}
		if i < 7 {
			open = append(open, box.next(t))
		}
	}
}

// A request larger than all bytes allowed gets through when it is alone, on its connection and in all, and small ones
// that come after it wait their turn.
func TestLargerThanAllBudgets(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{MaxBytes: 50_000, MaxBytesPerConnection: 20_000}, box, nil)
	small, large := dial(t, addr), dial(t, addr)
	small.send(produce(1000), 1)
	x := box.next(t)
	go large.send(produce(1_000_000), 1)
	answer(x)
	y := box.next(t)
	if y.Client == x.Client {
		t.Fatal("not the large one")
	}
	go small.send(produce(1000), 2)
	answer(y)
	small.receive()
	large.receive()
	answer(box.next(t))
	small.receive()
}

// Under any load the budget is never exceeded but by one claim that is alone, everyone is served, and all of it comes back.
func TestBudget(t *testing.T) {
	const total = 100
	b := newBudget(total)
	var used, claims atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 1))
			for range 500 {
				n := int64(r.IntN(150) + 1)
				woken := make(chan struct{}, 1)
				if cl := b.acquire(n, func() { woken <- struct{}{} }); cl != nil {
					if r.IntN(5) == 0 {
						b.drop(cl)
						continue
					}
					<-woken
					if !b.granted(cl) {
						t.Error("woken without a grant")
					}
				}
				if others := claims.Add(1) - 1; used.Add(n) > total && others > 0 {
					t.Errorf("%d of %d bytes, with %d others", used.Load(), total, others)
				}
				used.Add(-n)
				claims.Add(-1)
				b.release(n)
			}
		})
	}
	all.Wait()
	if b.used != 0 || b.head != nil || b.tail != nil {
		t.Errorf("left: %d bytes, queue %v", b.used, b.head)
	}
}

// Frames that are too large, negative, of unknown requests or malformed close their connection and no other.
func TestBadFrames(t *testing.T) {
	_, addr := start(t, Config{MaxRequestBytes: 10_000}, handlerFunc(answer), nil)
	witness := dial(t, addr)
	bad := produce(10)
	malformed := encode(bad, 1)
	malformed[len(malformed)-14] = 0x7f // the records' length
	for name, frame := range map[string][]byte{
		"too large":        encode(produce(20_000), 1),
		"negative":         {0xff, 0xff, 0xff, 0xff},
		"HTTP":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"empty":            {0, 0, 0, 0},
		"unknown key":      {0, 0, 0, 11, 0x27, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0},
		"unserved version": {0, 0, 0, 11, 0, 1, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0},
		"malformed body":   malformed,
		"lying tags":       append([]byte{0, 0, 0, 24, 0, 0, 0, 11, 0, 0, 0, 1, 0xff, 0xff, 0}, []byte{0, 0, 1, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}...),
	} {
		p := dial(t, addr)
		if _, err := p.nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		if got := p.closed(); len(got) > 0 {
			t.Errorf("%s: answered %x", name, got)
		}
	}
	witness.send(heartbeat(), 5)
	if id, _ := witness.receive(); id != 5 {
		t.Errorf("answer %d", id)
	}
}

// Whoever sends nonsense in a loop fills the log, a line for each connection.
func TestNonsenseDoesNotFillTheLog(t *testing.T) {
	log := new(lines)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Listeners: []Listener{{Name: "PLAINTEXT", Listener: l}}}, handlerFunc(answer), nil, slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for range 500 {
		p := dial(t, l.Addr().String())
		if _, err := p.nc.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		p.closed()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := log.count("connection closed"); n == 0 || n > 10 {
		t.Errorf("%d lines of 500 connections", n)
	}
	if log.count("lines were left out") != 1 || log.count("addresses=1") != 1 {
		t.Error("nothing is said of those left out")
	}
}

// A handler's panic ends its connection, answers nothing, and leaves the others alone; what it took comes back.
func TestPanicIsContained(t *testing.T) {
	_, addr := start(t, Config{}, handlerFunc(func(x *wire.Exchange) {
		if x.Key == 0 {
			panic("oh")
		}
		answer(x)
	}), nil)
	witness, p := dial(t, addr), dial(t, addr)
	p.send(produce(100_000), 1)
	if got := p.closed(); len(got) > 0 {
		t.Errorf("answered %x", got)
	}
	witness.send(heartbeat(), 5)
	witness.receive()
}

// A message that cannot be encoded ends its connection, not the goroutine that answered.
func TestEncodePanicIsContained(t *testing.T) {
	held := newHolds(t)
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	p.send(heartbeat(), 1)
	f := &wire.FetchResponse{Version: 11, Topics: []wire.FetchTopic{{Partitions: make([]wire.FetchPartition, 1)}}}
	f.Topics[0].Partitions[0].Records.Hold = held.take()
	f.Topics[0].Partitions[0].Records.N = 10
	f.Topics[0].Partitions[0].Records.Bytes = make([]byte, 5) // shorter than it says
	box.next(t).Reply(wire.Reply{Fetch: f})
	p.closed()
	if held.n.Load() != 0 {
		t.Error("a run is held")
	}
}

// A frame that does not arrive in time closes its connection: also one whose size is not all there, and one that trickles.
func TestSlowFrame(t *testing.T) {
	_, addr := start(t, Config{ReadTimeout: 50 * time.Millisecond}, handlerFunc(answer), nil)
	whole := encode(produce(100_000), 1)
	for _, n := range []int{1, 3, 4, 5, 100, 50_000} {
		p := dial(t, addr)
		if _, err := p.nc.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		p.closed()
	}
	p := dial(t, addr)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := range whole { // until the server has enough
			if _, err := p.nc.Write(whole[i : i+1]); err != nil {
				return
			}
		}
	}()
	p2 := dial(t, addr) // one that is only idle stays
	<-stop
	p2.send(heartbeat(), 1)
	p2.receive()
}

// A client that takes nothing of its answer for too long is cut off, and what was held for it released.
func TestStalledClient(t *testing.T) {
	content := noise(8 << 20)
	disk := writeFile(t, content)
	held := newHolds(t)
	box := newInbox()
	_, addr := start(t, Config{WriteTimeout: 50 * time.Millisecond}, box, nil)
	p := dial(t, addr)
	for i := range int32(4) {
		p.send(fetch(11), i)
	}
	var gone context.Context
	for range 4 {
		x := box.next(t)
		gone = x.Client.Gone
		x.Reply(wire.Reply{Fetch: response(11, content, disk, held, 2)})
	}
	await(t, "Gone", gone.Done())
}

// A connection that is idle for too long is closed; one with a request in flight is not.
func TestIdle(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{MaxIdle: 50 * time.Millisecond}, box, nil)
	busy, idle := dial(t, addr), dial(t, addr)
	busy.send(heartbeat(), 1)
	x := box.next(t)
	idle.closed()
	answer(x)
	busy.receive()
}

// Connections beyond the bounds are closed at once, and places come back.
func TestConnectionBounds(t *testing.T) {
	for _, cfg := range []Config{{MaxConnections: 2}, {MaxConnectionsPerIP: 2}} {
		rec := &recorder{}
		s, addr := start(t, cfg, handlerFunc(answer), rec)
		p, q := dial(t, addr), dial(t, addr)
		for _, c := range []*peer{p, q} {
			c.send(heartbeat(), 1)
			c.receive()
		}
		dial(t, addr).closed()
		rec.mu.Lock()
		if n := s.Connections(); n != 2 || rec.refused != 1 {
			t.Errorf("%d connections, %d refused", n, rec.refused)
		}
		rec.mu.Unlock()
		p.nc.Close()
		for s.Connections() > 1 {
			runtime.Gosched()
		}
		r := dial(t, addr)
		r.send(heartbeat(), 1)
		r.receive()
	}
}

// A server that stops hurries what is parked, delivers the answers, closes every connection and returns.
func TestGracefulStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box := newInbox()
	s := New(Config{Listeners: []Listener{{Name: "PLAINTEXT", Listener: l}}}, box, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	idle, busy := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	idle.send(heartbeat(), 1)
	answer(box.next(t))
	idle.receive()
	busy.send(fetch(11), 7)
	x := box.next(t)
	hurried := make(chan struct{})
	x.OnHurry(func() { close(hurried) })
	cancel()
	await(t, "hurry", hurried)
	idle.closed()
	if x.Client.Gone.Err() != nil {
		t.Error("gone while its request is in flight")
	}
	answer(x)
	if id, _ := busy.receive(); id != 7 {
		t.Errorf("answer %d", id)
	}
	busy.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

// What is in flight after the grace period is cut off: a server stops although nobody answers.
func TestStopAfterGrace(t *testing.T) {
	var x *wire.Exchange
	t.Cleanup(func() { // runs after the server has stopped
		if x.Client.Gone.Err() == nil {
			t.Error("the client is not gone")
		}
		answer(x) // too late, and ignored
	})
	box := newInbox()
	_, addr := start(t, Config{Grace: 20 * time.Millisecond}, box, nil)
	p := dial(t, addr)
	p.send(fetch(11), 1)
	x = box.next(t)
}

// An idle connection costs less than 10 KiB, the client's end in this process included.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const conns = 500
	_, addr := start(t, Config{}, handlerFunc(answer), nil)
	before := footprint()
	list := make([]net.Conn, 0, conns)
	buf := make([]byte, 100)
	request := encode(heartbeat(), 1)
	for range conns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Read(buf); err != nil {
			t.Fatal(err)
		}
		list = append(list, nc)
	}
	per := (footprint() - before) / conns
	t.Logf("%d bytes per connection", per)
	if per > 10<<10 {
		t.Errorf("%d bytes per idle connection", per)
	}
	runtime.KeepAlive(list)
}

// footprint is the memory in use after collection: heap and stacks.
func footprint() int64 {
	var m runtime.MemStats
	for range 3 { // stacks shrink at a collection, by half each
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// countedAnswer counts how often it is encoded.
type countedAnswer struct {
	*kmsg.SASLAuthenticateResponse
	encoded *atomic.Int32
}

func (a countedAnswer) AppendTo(dst []byte) []byte {
	a.encoded.Add(1)
	return a.SASLAuthenticateResponse.AppendTo(dst)
}

// A client that asks and asks and takes no answer would have all of them in memory at once, however large they are.
func TestAnswersAreEncodedAsTheyLeave(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	const many = 64
	var open []*wire.Exchange
	for i := range int32(many) {
		p.send(heartbeat(), i)
		open = append(open, box.next(t))
	}
	var encoded atomic.Int32
	for _, x := range slices.Backward(open) { // the first one last: all leave then
		m := kmsg.NewPtrSASLAuthenticateResponse()
		m.SASLAuthBytes = make([]byte, 2<<20)
		x.Reply(wire.Reply{Message: countedAnswer{m, &encoded}})
	}
	for i := range int32(many) {
		if got, _ := p.receive(); got != i {
			t.Fatalf("answer %d, want %d", got, i)
		}
		if n := encoded.Load(); i == 0 && n > many/2 { // sockets take a few
			t.Fatalf("%d answers of 2 MiB are encoded while the client takes the first", n)
		}
	}
}
