package peer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Config is what a Hub needs to know. Its functions are called often and from many goroutines, and must not block.
type Config struct {
	// Self is who this broker is at the moment: its cluster and admission come when it forms or joins one.
	Self func() wire.Peer
	// Address is where a node's cluster listener may be, HOST:PORT each, the likeliest first. Empty: not known.
	Address func(kafka.BrokerID) []string
	// Check refuses who must not be spoken to, whoever has dialed: the place for stale directories. nil, and any error of it
	// that is not a *Refusal: see Refuse.
	Check func(remote wire.Peer) error
	// TLS is what this broker shows others and whom it trusts; nil for plain connections. Who has no broker's role in its
	// certificate, or another node's, is refused on both sides.
	TLS *secure.Identity
	// AllowPlain, with TLS, takes plain connections too, and makes them where TLS is not spoken: while a cluster changes.
	AllowPlain bool
	// Token is cluster.join.token, "" for none.
	Token string
	// Dial opens connections; nil for TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

const (
	// pending bounds the accepted connections that are in their handshake: for one more the oldest is closed. A broker is
	// through in some milliseconds; who holds connections open and says nothing holds up himself alone.
	pending = 256
	// handedOver is how many accepted connections wait for whoever takes them; one more is closed.
	handedOver = 64
	// anotherAfter is how long an address may stay silent when there is another one to try.
	anotherAfter = 1500 * time.Millisecond
)

// Hub is a broker's place among the others: its listener, and the way to theirs. Safe for concurrent use.
type Hub struct {
	cfg   Config
	log   *slog.Logger
	addr  net.Addr
	raft  *queue
	peers *queue

	mu       sync.Mutex
	closed   bool
	listener net.Listener
	open     map[net.Conn]uint64 // in their handshake; accepted ones by the order in which they came, dialed ones 0
	accepted uint64
	onClose  []func(kafka.BrokerID)
	clients  []*Client
	refused  refusals
	running  sync.WaitGroup
}

// New returns a hub that serves l until Close.
func New(cfg Config, l net.Listener, log *slog.Logger) *Hub {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		var d net.Dialer
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	h := &Hub{cfg: cfg, log: log, addr: l.Addr(), listener: l, open: map[net.Conn]uint64{}}
	h.raft, h.peers = newQueue(l.Addr()), newQueue(l.Addr())
	h.running.Go(h.acceptAll)
	return h
}

// Raft is the listener of Raft's connections. Together with Dial it makes a raft.StreamLayer.
func (h *Hub) Raft() net.Listener { return h.raft }

// Peers is the listener of the private API, for broker/server: its connections are server.PeerConns.
func (h *Hub) Peers() net.Listener { return h.peers }

// OnClose registers f, to be called as soon as a connection of the private API to or from another broker has closed,
// whichever end closed it. f must not block. It says nothing about the broker: see Probe.
func (h *Hub) OnClose(f func(node kafka.BrokerID)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onClose = append(h.onClose, f)
}

func (h *Hub) tellClosed(node kafka.BrokerID) {
	h.mu.Lock()
	list := slices.Clone(h.onClose)
	if h.closed {
		list = nil
	}
	h.mu.Unlock()
	for _, f := range list {
		f(node)
	}
}

// Close ends the listener, all clients, and what is in its handshake. Connections that were handed over are their takers'.
func (h *Hub) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	open, clients := make([]net.Conn, 0, len(h.open)), h.clients
	for nc := range h.open {
		open = append(open, nc)
	}
	h.mu.Unlock()
	errs := []error{h.listener.Close(), h.raft.Close(), h.peers.Close()}
	for _, nc := range open {
		_ = nc.Close() // its handshake fails with whatever comes
	}
	for _, c := range clients {
		c.close()
	}
	h.running.Wait()
	if err := errors.Join(errs...); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close cluster listener: %w", err)
	}
	return nil
}

// acceptAll takes connections until the listener is closed.
func (h *Hub) acceptAll() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		nc, err := h.listener.Accept()
		if err == nil {
			pause = shortest
			h.admit(nc)
			continue
		}
		if h.isClosed() || errors.Is(err, net.ErrClosed) {
			return
		}
		h.log.Warn("accept a broker's connection", "error", err, "pause", pause)
		time.Sleep(pause) // out of descriptors or memory: it passes
		pause = min(2*pause, longest)
	}
}

func (h *Hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// enter counts a connection that is in its handshake.
func (h *Hub) enter(nc net.Conn, accepted bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.open[nc] = 0
	if accepted {
		h.makeRoom()
		h.accepted++
		h.open[nc] = h.accepted
	}
	return true
}

// makeRoom closes the oldest accepted connection when there are as many as may be. Its handshake fails, and leaves. Under mu.
func (h *Hub) makeRoom() {
	var oldest net.Conn
	n, first := 0, uint64(0)
	for nc, at := range h.open {
		if at == 0 {
			continue
		}
		if n++; oldest == nil || at < first {
			oldest, first = nc, at
		}
	}
	if n >= pending {
		delete(h.open, oldest)
		_ = oldest.Close() // it has not become ours
	}
}

func (h *Hub) leave(nc net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, nc)
}

func (h *Hub) admit(nc net.Conn) {
	if !h.enter(nc, true) {
		_ = nc.Close() // it was never ours
		return
	}
	h.running.Go(func() {
		defer h.leave(nc)
		if err := h.welcome(nc); err != nil {
			_ = nc.Close() // whatever it was, it ends here
			level := slog.LevelDebug
			if code := CodeOf(err); code != 0 && h.refused.news(nc.RemoteAddr(), code, time.Now()) {
				level = slog.LevelWarn
			}
			h.log.Log(context.Background(), level, "connection of a broker refused", "from", nc.RemoteAddr().String(), "cause", err)
		}
	})
}

// welcome is the acceptor's side of a connection, up to whom it is handed to.
func (h *Hub) welcome(nc net.Conn) error {
	done, err := within(context.Background(), nc, handshakeTimeout)
	if err != nil {
		return err
	}
	nc, cert, err := h.secureAccepted(nc)
	if err != nil {
		return err
	}
	kind, remote, err := h.accept(nc, cert)
	if err != nil {
		return err
	}
	if err := done(); err != nil {
		return err
	}
	c := &Conn{Conn: nc, remote: remote}
	switch kind {
	case KindRaft:
		return h.raft.put(c)
	case KindPeer:
		c.closed = func() { h.tellClosed(remote.Node) }
		return h.peers.put(c)
	}
	return nc.Close() // a probe, which has seen what it came for
}

// Conn is a connection between two brokers that know each other. It implements server.PeerConn.
type Conn struct {
	net.Conn
	remote wire.Peer
	once   sync.Once
	closed func() // may be nil
}

// Peer is the broker at the other end.
func (c *Conn) Peer() *wire.Peer { return &c.remote }

// Plain is the connection below: TCP, or a *secure.Conn.
func (c *Conn) Plain() net.Conn { return c.Conn }

// Close implements net.Conn.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
	})
	return err
}

// Dial connects to a node, at one of the addresses that Config.Address names.
func (h *Hub) Dial(ctx context.Context, kind Kind, node kafka.BrokerID) (*Conn, error) {
	places := h.cfg.Address(node)
	if len(places) == 0 {
		return nil, fmt.Errorf("broker %d: its address is not known", node)
	}
	var errs []error
	for i, address := range places {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if i < len(places)-1 {
			attempt, cancel = context.WithTimeout(ctx, anotherAfter)
		}
		c, err := h.DialAt(attempt, kind, node, address)
		cancel()
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// DialAt connects to a node (kafka.NoBroker: to whichever answers) at an address.
func (h *Hub) DialAt(ctx context.Context, kind Kind, node kafka.BrokerID, address string) (*Conn, error) {
	c, err := h.dial(ctx, kind, node, address)
	if err != nil {
		if node == kafka.NoBroker {
			return nil, fmt.Errorf("broker at %s: %w", address, err)
		}
		return nil, fmt.Errorf("broker %d at %s: %w", node, address, err)
	}
	return c, nil
}

func (h *Hub) dial(ctx context.Context, kind Kind, node kafka.BrokerID, address string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c, err := h.dialAs(ctx, kind, node, address, h.cfg.TLS != nil)
	if h.cfg.AllowPlain && ctx.Err() == nil && errors.Is(err, errNoTLS) {
		return h.dialAs(ctx, kind, node, address, false)
	}
	return c, err
}

// dialAs dials with TLS or without.
func (h *Hub) dialAs(ctx context.Context, kind Kind, node kafka.BrokerID, address string, tls bool) (*Conn, error) {
	nc, err := h.cfg.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if !h.enter(nc, false) {
		return nil, errors.Join(net.ErrClosed, nc.Close())
	}
	defer h.leave(nc)
	done, err := within(ctx, nc, handshakeTimeout)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	var cert *x509.Certificate
	if tls {
		if nc, cert, err = h.secureDialed(nc); err != nil {
			return nil, err
		}
	}
	remote, err := h.introduce(nc, kind, node, cert)
	if err == nil {
		err = done()
	}
	if err != nil {
		_ = nc.Close() // the handshake's error says more
		return &Conn{Conn: nc, remote: remote}, err
	}
	return &Conn{Conn: nc, remote: remote}, nil
}

// queue is a listener of connections that others accept.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}

	mu     sync.Mutex // over put and Close, so that nothing is put that nobody would close
	closed bool
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn, handedOver), done: make(chan struct{})}
}

var errCrowded = errors.New("too many connections wait to be taken")

func (q *queue) put(nc net.Conn) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return net.ErrClosed
	}
	select {
	case q.conns <- nc:
		return nil
	default:
		return errCrowded
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.conns:
		return nc, nil
	case <-q.done:
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener. What waits is closed.
func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	close(q.done)
	for {
		select {
		case nc := <-q.conns:
			_ = nc.Close() // nobody has begun to use it
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
