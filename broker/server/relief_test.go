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
	s, addr := start(t, Config{MaxBytes: 250_000, ReadTimeout: time.Hour, StallTimeout: 5 * time.Millisecond}, handlerFunc(answer), nil)
	var half []*peer
	for range 8 {
		p := dial(t, addr)
		p.announce(100_000)
		half = append(half, p)
	}
	for !waitingForBytes(s) {
		runtime.Gosched()
	}
	p := dial(t, addr)
	p.send(produce(1000), 7)
	if got, _ := p.receive(); got != 7 {
		t.Errorf("answer %d, want 7", got)
	}
	half[0].closed() // it was first, and in everybody's way
}

// A client on a slow line would be cut off though it holds up nobody: what others wait for is with requests that are being handled.
func TestSlowFramesBesideBusyOnes(t *testing.T) {
	box := newInbox()
	s, addr := start(t, Config{MaxBytes: 100_000, ReadTimeout: time.Hour, StallTimeout: time.Nanosecond}, box, nil)
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
	for !waitingForBytes(s) {
		runtime.Gosched()
	}
	if cut := s.relieve(50_000); cut != 0 {
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
