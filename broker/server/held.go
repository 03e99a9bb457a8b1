package server

import (
	"net"
	"sync"
	"time"
)

// maxHeld bounds how many connections are held at one time; those beyond are closed at once.
const maxHeld = 1024

// held are connections that are one too many of their address (KIP-612): nothing is read from them, and they are closed after a time, not at once, or
// a client that tries again without pause would be helped to do so.
type held struct {
	mu    sync.Mutex
	conns map[net.Conn]*time.Timer
	over  bool
}

func (h *held) hold(nc net.Conn, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || len(h.conns) >= maxHeld {
		nc.Close()
		return
	}
	if h.conns == nil {
		h.conns = map[net.Conn]*time.Timer{}
	}
	h.conns[nc] = time.AfterFunc(d, func() {
		h.mu.Lock()
		delete(h.conns, nc)
		h.mu.Unlock()
		nc.Close()
	})
}

// release closes them all.
func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for nc, t := range h.conns {
		t.Stop()
		nc.Close()
	}
	h.conns = nil
}
