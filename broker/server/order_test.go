package server

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

// Answers arrive in the order of the requests, each once, in whatever order and from whatever goroutine they were given;
// those that send nothing leave no gap.
func TestAnswersKeepOrder(t *testing.T) {
	box := newInbox()
	t.Cleanup(func() { close(box.arrived) }) // when the server has stopped
	_, addr := start(t, Config{MaxPipelined: 50}, box, nil)
	const conns, requests = 8, 400
	for range 4 { // completers
		go func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 1))
			var held []*wire.Exchange
			for more := true; more || len(held) > 0; {
				var x *wire.Exchange
				if len(held) == 0 {
					x, more = <-box.arrived
				} else if len(held) <= 20 {
					select { // what is held is not held while there is nothing else to do: the clients may be waiting for just that
					case x, more = <-box.arrived:
					default:
					}
				}
				if x != nil {
					held = append(held, x)
					continue
				}
				if len(held) == 0 {
					break
				}
				i := r.IntN(len(held))
				x = held[i]
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
				if p, ok := x.Request.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
					x.Reply(wire.Reply{None: true})
				} else {
					answer(x)
				}
			}
		}()
	}
	var clients sync.WaitGroup
	for range conns {
		p := dial(t, addr)
		var expect []int32
		var out []byte
		for i := range int32(requests) {
			switch rand.IntN(3) {
			case 0:
				out = append(out, encode(heartbeat(), i)...)
			case 1:
				out = append(out, encode(produce(rand.IntN(3*chunkSize)), i)...)
			default:
				req := produce(10).(*kmsg.ProduceRequest)
				req.Acks = 0
				out = append(out, encode(req, i)...)
				continue
			}
			expect = append(expect, i)
		}
		clients.Go(func() {
			if _, err := p.nc.Write(out); err != nil {
				t.Error(err)
			}
		})
		clients.Go(func() {
			for _, want := range expect {
				if got, _ := p.receive(); got != want {
					t.Errorf("answer %d, want %d", got, want)
					return
				}
			}
		})
	}
	clients.Wait()
}

// A request is answered once: the second answer is a broken invariant and panics, and the client sees one.
func TestSecondReplyPanics(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	p.send(heartbeat(), 1)
	x := box.next(t)
	answer(x)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the second Reply does not panic")
			}
		}()
		x.Reply(wire.Reply{None: true})
	}()
	p.receive()
}

// A parked request is hurried when another arrives behind it, once; at once if that one was there before it asked.
func TestHurry(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	hurried := make(chan struct{}, 10)
	p.send(fetch(11), 1)
	first := box.next(t)
	first.OnHurry(func() { hurried <- struct{}{} })
	select {
	case <-hurried:
		t.Fatal("hurried with nobody behind")
	default:
	}
	p.send(fetch(11), 2)
	second := box.next(t)
	select {
	case <-hurried:
	default:
		t.Fatal("not hurried although another was handled")
	}
	p.send(fetch(11), 3)
	third := box.next(t)
	late := false
	second.OnHurry(func() { late = true })
	if !late {
		t.Error("a request with one behind it is not hurried at once")
	}
	if len(hurried) > 0 {
		t.Error("hurried twice")
	}
	for _, x := range []*wire.Exchange{third, second, first} {
		answer(x)
	}
	for want := range int32(3) {
		if got, _ := p.receive(); got != want+1 {
			t.Errorf("answer %d, want %d", got, want+1)
		}
	}
}

// An answer that closes the connection lets those before it out first and nothing behind it.
func TestReplyClose(t *testing.T) {
	box := newInbox()
	_, addr := start(t, Config{}, box, nil)
	p := dial(t, addr)
	for i := range int32(3) {
		p.send(heartbeat(), i)
	}
	x1, x2, x3 := box.next(t), box.next(t), box.next(t)
	gone := x1.Client.Gone
	answer(x3)
	x2.Reply(wire.Reply{Close: errPanic})
	answer(x1)
	if got, _ := p.receive(); got != 0 {
		t.Errorf("answer %d", got)
	}
	if rest := p.closed(); len(rest) > 0 {
		t.Errorf("%d bytes behind", len(rest))
	}
	await(t, "Gone", gone.Done())
}

// The observer hears of each request: of its sizes, and whether it could be answered.
func TestObserver(t *testing.T) {
	rec := &recorder{}
	box := newInbox()
	_, addr := start(t, Config{}, box, rec)
	p := dial(t, addr)
	p.send(heartbeat(), 1)
	answer(box.next(t))
	_, body := p.receive()
	p.send(heartbeat(), 2) // when this is handled, the first one's writer may still be busy: ask behind it
	answer(box.next(t))
	p.receive()
	p.send(heartbeat(), 3)
	box.next(t).Reply(wire.Reply{Close: errPanic})
	p.closed()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	got := rec.requests[0]
	want := RequestStats{Listener: "PLAINTEXT", Key: 12, Version: 0, Request: len(encode(heartbeat(), 1)) - 4, Response: 8 + len(body), Total: got.Total,
		ClientID: got.ClientID, Client: got.Client}
	if got != want || got.Total <= 0 || got.ClientID == "" || got.Client == nil {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := len(rec.requests); n != 3 || rec.requests[1].Failed || !rec.requests[2].Failed {
		t.Errorf("%+v: the third of three was not answered", rec.requests)
	}
}

// The observer hears of a request that nobody can make sense of, too: its connection is closed in place of an answer.
func TestObserverOfMalformed(t *testing.T) {
	rec := &recorder{}
	_, addr := start(t, Config{}, newInbox(), rec)
	p := dial(t, addr)
	cut := encode(heartbeat(), 1)
	cut = cut[:len(cut)-2]
	binary.BigEndian.PutUint32(cut, uint32(len(cut)-4))
	if _, err := p.nc.Write(cut); err != nil {
		t.Fatal(err)
	}
	p.closed()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if n := len(rec.requests); n != 1 || !rec.requests[0].Failed || rec.requests[0].Key != 12 {
		t.Errorf("%+v", rec.requests)
	}
}
