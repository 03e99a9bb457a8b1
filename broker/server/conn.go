package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/wire"
)

// Why connections end. All but the first few are worth a line in the log.
var (
	errHangup   = errors.New("the client hung up")
	errStopping = errors.New("the server stops")
	errIdle     = errors.New("idle for too long")
	errSlow     = errors.New("a request took too long to arrive")
	errHoldsUp  = errors.New("a request arrives slowly, and others wait for the memory that it takes")
	errStalled  = errors.New("the client does not take its answers")
	errTooLarge = errors.New("request is larger than socket.request.max.bytes")
	errPanic    = errors.New("panic")
	errTLS      = errors.New("a client speaks TLS on a plain listener: give it security.protocol=PLAINTEXT, or the address of a TLS listener")
	errShaking  = errors.New("no TLS with the client") // which handshake has told of
	errCrowded  = errors.New("too many TLS handshakes are under way")
)

// conn is one connection. Its reader is the goroutine of serve; whoever holds the writing flag is its writer.
type conn struct {
	server *Server
	nc     net.Conn
	raw    syscall.RawConn  // of the TCP connection; nil unless it is one on a system that sys_linux.go knows
	tls    *secure.Conn     // over it; nil on a plain connection
	stream io.ReadWriter    // what requests and answers go through where raw and tls do not do it in ways of their own
	shake  *secure.Identity // whose handshake is to be made first; nil when there is none, or none any more
	ip     netip.Addr
	number uint64
	client wire.Client
	cancel context.CancelFunc // of client.Gone
	parse  func(frame []byte) (wire.Header, []byte, error)

	// Times on the server's clock, for the sweeper, which is what enforces them; 0 means none.
	lastRead   atomic.Int64 // when something arrived last
	frameUntil atomic.Int64 // when the frame being read must be whole
	stuckSince atomic.Int64 // since when the socket takes nothing of an answer

	// arriving is a large frame on its way in, see relief.go. The reader sets since last; 0: there is none.
	arriving struct{ since, size, got atomic.Int64 }

	lastClientID string // the reader's: clients send the same one every time

	mu sync.Mutex
	// head to tail are the requests without an answer on the wire, in order of arrival; inFlight counts them and those
	// that the writer has taken.
	head, tail *request
	inFlight   int
	secured    bool  // the TLS handshake is over
	bytes      int64 // of requests in flight that count against the connection's bound
	writing    bool  // somebody is the writer
	parked     bool  // the reader waits for a bound and wants to be woken
	mutedUntil int64 // on the server's clock: the client was told not to ask for anything before
	draining   bool  // no further requests are read; the connection ends when those in flight are answered
	closed     bool

	handling atomic.Pointer[request]    // what the reader's Handle is called for
	trace    atomic.Pointer[wire.Trace] // an empty one, of a request that has been answered

	// The writer's.
	out     *outbox
	rw      rawWrite
	writeFn func(fd uintptr) bool
	wakeups chan struct{} // for park where there is no raw connection
}

func newConn(s *Server, nc net.Conn, l Listener, ip netip.Addr, number uint64) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{server: s, nc: nc, ip: ip, number: number, cancel: cancel, parse: wire.ParseHeader}
	c.client = wire.Client{Addr: nc.RemoteAddr(), Listener: l.Name, ID: strconv.FormatUint(number, 10), Gone: ctx, Principal: secure.Anonymous, Security: "PLAINTEXT"}
	plain := nc
	if p, ok := nc.(PeerConn); ok {
		c.parse, c.client.Peer, plain = wire.ParsePeerHeader, p.Peer(), p.Plain()
	}
	c.stream = plain
	if l.TLS != nil {
		c.tls, c.shake = secure.Server(nc, l.TLS.ServerConfig()), l.TLS
		c.stream, c.client.Security = c.tls, "SSL"
	} else if t, ok := plain.(*secure.Conn); ok { // broker/peer has made the handshake
		c.tls, c.secured, plain = t, true, t.Below()
	}
	c.raw = rawConn(plain)
	if c.secured {
		c.collect()
	}
	c.lastRead.Store(s.now())
	c.writeFn = c.writeRaw
	if c.raw == nil {
		c.wakeups = make(chan struct{}, 1)
	}
	return c
}

// serve reads requests until the connection ends. A panic on the way ends this connection only.
func (c *conn) serve() {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
		}
	}()
	if c.shake != nil {
		if err := c.handshake(); err != nil {
			c.shutdown(err)
			return
		}
	}
	r := reader{c: c}
	defer r.free()
	r.init()
	for {
		if err := r.next(); err != nil {
			if c.isDraining() && (isTimeout(err) || errors.Is(err, errStopping)) {
				return // answers are still due: the last of them ends the connection
			}
			c.shutdown(err)
			return
		}
	}
}

func (c *conn) panicked(p any) {
	c.server.said.Say(slog.LevelError, "panic", c.client.Addr, "panic on a connection", "connection", c.client.ID, "panic", p,
		"stack", string(debug.Stack()))
	c.shutdown(fmt.Errorf("%w: %v", errPanic, p))
}

// shutdown ends the connection: the socket is closed, Gone is done, and what waited to be written is released. Requests
// without an answer are let go of when they are answered. It may be called from anywhere, any number of times.
func (c *conn) shutdown(why error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	var unsent []*request // answered, and nobody's: whoever answers later sees closed
	for r := c.head; r != nil; r = r.next {
		if r.answered {
			unsent = append(unsent, r)
		}
	}
	c.head, c.tail = nil, nil
	c.wakeLocked()
	polite := c.secured && !c.writing && c.raw != nil // nobody becomes the writer any more
	c.mu.Unlock()

	c.cancel()
	if polite {
		c.tls.Farewell()
	}
	if err := c.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.server.log.Debug("close connection", "client", c.client.Addr, "error", err)
	}
	for _, r := range unsent {
		r.dropAnswer()
	}
	level, kind := severity(why)
	c.server.said.Say(level, c.client.Listener+": "+kind, c.client.Addr, "connection closed", "connection", c.client.ID, "cause", why)
	c.server.forget(c)
}

// severity is how loudly the end of a connection is told of, and which ends are alike.
func severity(why error) (level slog.Level, kind string) {
	if why == nil {
		return slog.LevelDebug, ""
	}
	for _, quiet := range []error{errHangup, errIdle, errStopping, errShaking} {
		if errors.Is(why, quiet) {
			return slog.LevelDebug, quiet.Error()
		}
	}
	if errors.Is(why, errTLS) {
		return slog.LevelWarn, errTLS.Error()
	}
	for _, known := range []error{errSlow, errHoldsUp, errStalled, errTooLarge, errPanic} {
		if errors.Is(why, known) {
			return slog.LevelInfo, known.Error()
		}
	}
	return slog.LevelInfo, "malformed, or the network" // the error's own text may be of the client's choosing
}

// drain stops reading and ends the connection when nothing is in flight any more.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	idle := c.inFlight == 0
	var hurries []func()
	for r := c.head; r != nil; r = r.next {
		if f := r.hurryLocked(); f != nil {
			hurries = append(hurries, f)
		}
	}
	c.kickLocked()
	c.mu.Unlock()
	for _, f := range hurries {
		f()
	}
	if idle {
		c.shutdown(errStopping)
	}
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// aLongTimeAgo as a read deadline takes the reader out of its wait.
var aLongTimeAgo = time.Unix(1, 0)

// kickLocked takes the reader out of its wait.
func (c *conn) kickLocked() {
	if err := c.nc.SetReadDeadline(aLongTimeAgo); err != nil && !errors.Is(err, net.ErrClosed) {
		c.server.log.Debug("set read deadline", "client", c.client.Addr, "error", err)
	}
	if c.wakeups != nil {
		select {
		case c.wakeups <- struct{}{}:
		default:
		}
	}
}

// wakeLocked takes the reader out of its wait for a bound, if that is what it is doing.
func (c *conn) wakeLocked() {
	if c.parked {
		c.parked = false
		c.kickLocked()
	}
}

func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakeLocked()
}

// sweep ends the connection if its time is up. now is the server's clock.
func (c *conn) sweep(now int64) {
	cfg := &c.server.cfg
	if until := c.frameUntil.Load(); until != 0 && now > until {
		c.shutdown(errSlow)
		return
	}
	if since := c.stuckSince.Load(); since != 0 && now-since > int64(cfg.WriteTimeout) {
		c.shutdown(errStalled)
		return
	}
	if cfg.MaxIdle > 0 && now-c.lastRead.Load() > int64(cfg.MaxIdle) {
		c.mu.Lock()
		busy := c.inFlight > 0 || c.mutedUntil > now
		c.mu.Unlock()
		if !busy {
			c.shutdown(errIdle)
		}
	}
}
