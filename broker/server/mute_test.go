package server

import (
	"net/netip"
	"testing"
	"time"
)

// A client that was told to wait would be served before, or the answer that tells it would wait too.
func TestMuted(t *testing.T) {
	box, seen := newInbox(), &recorder{}
	_, addr := start(t, Config{}, box, seen)
	p := dial(t, addr)
	const wait = 150 * time.Millisecond
	for i := range int32(3) {
		p.send(heartbeat(), i)
		x := box.next(t)
		x.Throttle = wait
		began := time.Now()
		answer(x)
		if c, body := p.receive(); c != i || len(body) == 0 {
			t.Fatalf("answer %d is %d, of %d bytes", i, c, len(body))
		}
		p.send(heartbeat(), 100+i)
		y := box.next(t)
		if took := time.Since(began); took < wait {
			t.Errorf("the next request was handled after %s: the client was to wait for %s", took, wait)
		}
		answer(y)
		p.receive()
	}
	throttled := 0
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, r := range seen.requests {
		if r.Throttled {
			throttled++
		}
	}
	if throttled != 3 {
		t.Errorf("%d requests are reported as throttled", throttled)
	}
}

// A muted connection would hold the server up when it stops, or stay when its client has gone, or be taken for idle. The first is seen by start.
func TestMutedForLong(t *testing.T) {
	box := newInbox()
	s, addr := start(t, Config{MaxIdle: 50 * time.Millisecond}, box, nil)
	stays, goes := dial(t, addr), dial(t, addr)
	for _, p := range []*peer{stays, goes} {
		p.send(heartbeat(), 1)
		x := box.next(t)
		x.Throttle = time.Hour
		answer(x)
		p.receive()
		p.send(heartbeat(), 2) // the reader waits with it
	}
	goes.nc.Close()
	for range 3 { // as long as it takes three that say nothing, one after the other, to be cut off
		dial(t, addr).closed()
	}
	for end := time.Now().Add(patience); s.Connections() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are there", s.Connections())
		}
	}
	if s.Connections() != 1 {
		t.Error("a client that waits as it was told to was cut off")
	}
}

// A connection that its address may not open yet would be served, or stay when the server stops, which start sees.
func TestHeld(t *testing.T) {
	box := newInbox()
	holds := make(chan time.Duration, 3)
	s, addr := start(t, Config{Hold: func(netip.Addr) time.Duration { return <-holds }}, box, nil)
	holds <- 0
	taken := dial(t, addr)
	taken.send(heartbeat(), 1)
	answer(box.next(t))
	taken.receive()
	holds <- time.Millisecond
	if rest := dial(t, addr).closed(); len(rest) != 0 {
		t.Errorf("a connection that is not taken was sent %d bytes", len(rest))
	}
	holds <- time.Hour
	dial(t, addr)
	if s.Connections() != 1 {
		t.Errorf("%d connections", s.Connections())
	}
}
