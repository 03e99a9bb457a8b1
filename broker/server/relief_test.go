package server

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"
)

// announce sends the size of a frame and a few bytes of it.
func (p *peer) announce(size int) {
	p.t.Helper()
	begun := append(binary.BigEndian.AppendUint32(nil, uint32(size)), encode(heartbeat(), 1)[sizeLen:]...)
	if _, err := p.nc.Write(begun); err != nil {
		p.t.Fatal(err)
	}
}

// Clients that announce large requests and send nothing more would keep the bytes that all others need.
func TestHalfFramesHoldUpNobody(t *testing.T) {
	s, addr := start(t, Config{MaxBytes: 500_000, ReadTimeout: time.Hour, StallTimeout: 5 * time.Millisecond}, handlerFunc(answer), nil)
	for range 8 {
		dial(t, addr).announce(100_000)
	}
	for !waitingForBytes(s, 100_000) {
		runtime.Gosched()
	}
	p := dial(t, addr)
	p.send(produce(100_000), 7)
	if got, _ := p.receive(); got != 7 {
		t.Errorf("answer %d, want 7", got)
	}
	if n := s.Connections(); n == 9 {
		t.Error("nobody is cut off: the test does not show anything")
	}
}

// A client on a slow line would be cut off though it holds up nobody: what others wait for is with requests that are being handled.
func TestSlowFramesBesideBusyOnes(t *testing.T) {
	box := newInbox()
	s, addr := start(t, Config{MaxBytes: 800_000, ReadTimeout: time.Hour, StallTimeout: time.Nanosecond}, box, nil)
	slow, busy, waits := dial(t, addr), dial(t, addr), dial(t, addr)
	frame := encode(produce(40_000), 1)
	if _, err := slow.nc.Write(frame[:100]); err != nil {
		t.Fatal(err)
	}
	for s.BytesInFlight() == 0 {
		runtime.Gosched()
	}
	busy.send(produce(50_000), 2)
	x := box.next(t)
	waits.send(produce(50_000), 3)
	for !waitingForBytes(s, 50_000) {
		runtime.Gosched()
	}
	if cut := s.relieve(s.budgets.of(50_000), 50_000); cut != 0 {
		t.Errorf("%d are cut off, and nobody is helped by that", cut)
	}
	if _, err := slow.nc.Write(frame[100:]); err != nil {
		t.Fatal(err)
	}
	answer(x)
	busy.receive()
	answer(box.next(t))
	answer(box.next(t))
	slow.receive()
	waits.receive()
}

// Small requests wait for large ones that were announced before and do not arrive. Nobody is relieved here: it is not a matter of time.
func TestSmallRequestsDoNotWaitForLargeOnes(t *testing.T) {
	s, addr := start(t, Config{MaxBytes: 16 << 20, StallTimeout: time.Hour}, handlerFunc(answer), nil)
	for _, size := range []int{9 << 20, 1 << 20} { // the second fill what is there for a producer's usual requests
		for range 12 {
			dial(t, addr).announce(size)
		}
		for !waitingForBytes(s, int64(size)) {
			runtime.Gosched()
		}
		p := dial(t, addr)
		for i := range int32(100) {
			p.send(produce(50_000), i)
			if got, _ := p.receive(); got != i {
				t.Fatalf("answer %d, want %d", got, i)
			}
		}
	}
}

// Requests of one size wait for those of another, be it that nothing of theirs is ever given back: small ones for large ones, or the other way round.
func TestSizesDoNotWaitForEachOther(t *testing.T) {
	sizes := []int64{1000, 50_000, 1 << 20, 100 << 20}
	for _, full := range sizes {
		b := newBudgets(256 << 20)
		held := int64(0)
		for b.of(full).acquire(full, func() {}) == nil {
			held += full
		}
		if held == 0 || held > 256<<20 {
			t.Errorf("requests of %d bytes may have %d", full, held)
		}
		for _, n := range sizes {
			if b.of(n) != b.of(full) && b.of(n).acquire(n, nil) != nil {
				t.Errorf("a request of %d bytes waits for those of %d", n, full)
			}
		}
	}
}
