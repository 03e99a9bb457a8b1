package quorum

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/wire/kafka"
)

const (
	rpcTimeout = 10 * time.Second
	// connsPerPeer are kept open; rpcsInFlight 1 keeps Raft from pipelining
	// appends, which gains nothing beside batching and wedges under load.
	connsPerPeer = 4
	rpcsInFlight = 1
)

// stream is Raft's listener and dialer: the only places where its bytes enter and leave. The handshake is below it.
type stream struct {
	net.Listener
	advertise address
	dial      func(node kafka.BrokerID, address string, timeout time.Duration) (net.Conn, error)

	mu     sync.Mutex
	dialed map[*dialedConn]struct{} // nil when they have been cut
}

// dialedConn is a connection that cut closes.
type dialedConn struct {
	net.Conn
	of *stream
}

func (c *dialedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.dialed, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// cut closes all that was dialed. Raft waits for its requests when it shuts down, for some seconds where a node has fallen silent.
func (s *stream) cut() {
	s.mu.Lock()
	list := s.dialed
	s.dialed = nil
	s.mu.Unlock()
	for c := range list {
		_ = c.Conn.Close() // whoever waits for it hears
	}
}

// address is what need not be resolved here.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Addr is this node's place, by which other nodes tell leaders apart.
func (s *stream) Addr() net.Addr { return s.advertise }

// Dial connects to a member at its place.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	p := parsePlace(string(to))
	nc, err := s.dial(p.node, p.address, timeout)
	if err != nil {
		return nil, err
	}
	c := &dialedConn{Conn: nc, of: s}
	s.mu.Lock()
	open := s.dialed != nil
	if open {
		s.dialed[c] = struct{}{}
	}
	s.mu.Unlock()
	if !open {
		return nil, errors.Join(ErrClosed, nc.Close())
	}
	return c, nil
}

// listen opens Raft's listener: Config.Peers', or one of this node's own when it has none, which nobody can join.
func (q *Quorum) listen(log hclog.Logger) error {
	s := &stream{dialed: map[*dialedConn]struct{}{}}
	q.stream = s
	if q.cfg.Peers != nil {
		s.Listener, s.dial = q.cfg.Peers.Raft(), q.cfg.Peers.DialRaft
	} else {
		l, err := net.Listen("tcp", q.cfg.Listen)
		if err != nil {
			return fmt.Errorf("open metadata listener: %w", err)
		}
		s.Listener = l
		s.dial = func(_ kafka.BrokerID, address string, timeout time.Duration) (net.Conn, error) {
			return net.DialTimeout("tcp", address, timeout)
		}
	}
	at := q.cfg.Advertise
	if at == "" {
		var err error
		if at, err = Reachable(s.Listener.Addr()); err != nil {
			return errors.Join(fmt.Errorf("find metadata listener's address: %w", err), s.Close())
		}
	}
	q.self = place{node: q.cfg.ID, address: at, directory: q.who.Directory, admission: q.who.Admission}
	s.advertise = address(q.self.String())
	q.transport = newTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  s,
		Logger:                  log,
		MaxPool:                 connsPerPeer,
		MaxRPCsInFlight:         rpcsInFlight,
		Timeout:                 rpcTimeout,
		MsgpackUseNewTimeFormat: true,
	}), q.clock)
	return nil
}

// Reachable is the address at which others find a listener. One on all addresses is found by the host's name.
func Reachable(a net.Addr) (string, error) {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String(), nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, fmt.Sprint(t.Port)), nil
}

// transport is Raft's own, which also notes how far each member is, for Raft keeps that to itself, and takes requests of
// this node's own (see campaign).
type transport struct {
	*raft.NetworkTransport
	clock func() time.Time
	rpcs  chan raft.RPC
	done  chan struct{}
	once  sync.Once

	// ended is closed when Raft is about to be shut down: no failure is held any more.
	ended chan struct{}

	// moved is called when a member has stored more; leads says whether this node leads a quorum that the member is of. Set before Raft starts.
	moved func()
	leads func(id raft.ServerID) bool

	mu      sync.Mutex
	members map[raft.ServerID]*progress
}

// progress is what this node, as the leader, knows of a member.
type progress struct {
	contact  time.Time     // of the last answer
	caughtUp time.Time     // when its log was last known to hold all that is committed
	match    uint64        // its log is the leader's up to here
	told     uint64        // the highest commit index that it was told, with a log that reaches there
	telling  bool          // by spread, just now
	heard    chan struct{} // closed with the next answer; nil when nobody waits for it
}

func newTransport(t *raft.NetworkTransport, clock func() time.Time) *transport {
	w := &transport{NetworkTransport: t, clock: clock, rpcs: make(chan raft.RPC), done: make(chan struct{}), ended: make(chan struct{}), leads: func(raft.ServerID) bool { return true }, members: map[raft.ServerID]*progress{}}
	go w.forward()
	return w
}

// forward passes on what comes from other nodes.
func (t *transport) forward() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.done) })
	return t.NetworkTransport.Close()
}

// order has this node's Raft carry out a request as if it came from another.
func (t *transport) order(command any) error {
	answered := make(chan raft.RPCResponse, 1)
	select {
	case t.rpcs <- raft.RPC{Command: command, RespChan: answered}:
	case <-t.done:
		return ErrClosed
	}
	select {
	case r := <-answered:
		return r.Error
	case <-t.done:
		return ErrClosed
	}
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0 && len(args.Entries) == 0
	err := t.append(id, target, args, resp)
	if err != nil && !heartbeat {
		t.hold(id)
	}
	return err
}

// append is AppendEntries that fails at once.
func (t *transport) append(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.NetworkTransport.AppendEntries(id, target, args, resp); err != nil {
		return err
	}
	end := args.PrevLogEntry
	if n := len(args.Entries); n > 0 {
		end = args.Entries[n-1].Index
	}
	t.note(id, end, args.LeaderCommitIndex, resp.Success)
	return nil
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data); err != nil {
		t.hold(id)
		return err
	}
	t.note(id, args.LastLogIndex, 0, resp.Success)
	return nil
}

// holdCheck is how often a held failure looks whether this node still leads, and the member is one.
const holdCheck = 500 * time.Millisecond

// hold keeps a failure from Raft until the member has answered something, which heartbeats see to, or is one no more, or this
// node leads no more. Raft doubles its pause with every failure that it is told of, up to 10 s: so long would a node that comes
// back after some minutes wait for what it has missed.
func (t *transport) hold(id raft.ServerID) {
	t.mu.Lock()
	p := t.member(id)
	if p.heard == nil {
		p.heard = make(chan struct{})
	}
	heard := p.heard
	t.mu.Unlock()
	look := time.NewTicker(holdCheck)
	defer look.Stop()
	for t.leads(id) {
		select {
		case <-heard:
			return
		case <-t.ended:
			return
		case <-look.C:
		}
	}
}

// member is what is known of one. mu is held.
func (t *transport) member(id raft.ServerID) *progress {
	p := t.members[id]
	if p == nil {
		p = &progress{}
		t.members[id] = p
	}
	return p
}

// note keeps what an answer says of a member.
func (t *transport) note(id raft.ServerID, end, commit uint64, stored bool) {
	t.mu.Lock()
	p := t.member(id)
	p.contact = t.clock()
	if p.heard != nil {
		close(p.heard)
		p.heard = nil
	}
	before := p.match
	if stored {
		p.match = max(p.match, end)
		p.told = max(p.told, min(commit, end))
		if end > 0 && p.match >= commit {
			p.caughtUp = p.contact
		}
	}
	moved := p.match != before
	t.mu.Unlock()
	if moved && t.moved != nil {
		t.moved()
	}
}

// forget drops what was known of members: another term may find them elsewhere.
func (t *transport) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.members {
		if p.heard != nil {
			close(p.heard)
		}
	}
	t.members = map[raft.ServerID]*progress{}
}

// of is what is known of a member.
func (t *transport) of(id raft.ServerID) progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.members[id]; p != nil {
		return *p
	}
	return progress{}
}
