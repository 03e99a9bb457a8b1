package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/wire"
)

// Server is the listeners and their connections.
type Server struct {
	cfg      Config
	handler  wire.Handler
	observer Observer
	log      *slog.Logger
	budgets  budgets
	epoch    time.Time // where the server's clock starts

	mu       sync.Mutex
	conns    map[*conn]struct{}
	perIP    map[netip.Addr]int
	number   uint64
	shaking  map[*conn]struct{} // those of conns that are in their TLS handshake
	stopping bool
	emptied  chan struct{} // closed when stopping and the last connection has gone

	goroutines sync.WaitGroup // readers and writers
	said       *hush.Log      // lines that clients cause
	held       held
}

// New returns a server that has not begun. Its listeners are open already, so that what they listen on is known. A nil
// observer observes nothing.
func New(cfg Config, handler wire.Handler, observer Observer, log *slog.Logger) *Server {
	cfg.defaults()
	if observer == nil {
		observer = Unobserved{}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, handler: handler, observer: observer, log: log, budgets: newBudgets(cfg.MaxBytes),
		epoch: time.Now(), conns: map[*conn]struct{}{}, perIP: map[netip.Addr]int{}, shaking: map[*conn]struct{}{}, emptied: make(chan struct{}), said: hush.New(log)}
}

// now is the server's clock, monotonic and never 0.
func (s *Server) now() int64 { return int64(time.Since(s.epoch)) + 1 }

// at is when now was that.
func (s *Server) at(now int64) time.Time { return s.epoch.Add(time.Duration(now - 1)) }

// Connections is how many there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// BytesInFlight is the bytes of requests that count against Config.MaxBytes.
func (s *Server) BytesInFlight() int64 { return s.budgets.inFlight() }

// Run serves until ctx is done, and then stops: no connection is accepted and no request read any more, those in flight
// are answered, and what is left after Config.Grace is cut off. It returns nil then, and the error of a listener that
// failed otherwise. All goroutines have ended when it returns, but for Handle, should that hang.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(s.cfg.Listeners))
	var accepting sync.WaitGroup
	for _, l := range s.cfg.Listeners {
		accepting.Go(func() {
			if err := s.accept(ctx, l); err != nil {
				failed <- fmt.Errorf("listener %s: %w", l.Name, err)
				cancel()
			}
		})
	}
	accepting.Go(func() { s.sweepAll(ctx) })
	<-ctx.Done()
	for _, l := range s.cfg.Listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("close listener", "listener", l.Name, "error", err)
		}
	}
	accepting.Wait()
	s.held.release()
	s.stop()
	s.said.Flush()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// stop ends all connections, with grace.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopping = true
	if len(s.conns) == 0 {
		close(s.emptied)
	}
	s.mu.Unlock()
	for _, c := range s.all() {
		c.drain()
	}
	grace := time.NewTimer(s.cfg.Grace)
	defer grace.Stop()
	select {
	case <-s.emptied:
	case <-grace.C:
		left := s.all()
		s.log.Info("requests were in flight when the server stopped", "connections", len(left))
		for _, c := range left {
			c.shutdown(errStopping)
		}
	}
	s.goroutines.Wait()
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// accept takes connections until the listener is closed. When the system is short of descriptors it waits for better times.
func (s *Server) accept(ctx context.Context, l Listener) error {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = shortest
			s.admit(l, nc)
			continue
		case ctx.Err() != nil:
			return nil
		case !isTemporary(err):
			return err
		}
		s.said.Say(slog.LevelWarn, l.Name+": accept", nil, "accept a connection", "listener", l.Name, "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
}

// isTemporary tells whether accepting may work again: out of descriptors or memory, or the client was gone already.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool } // deprecated for what is not an accept
	return errors.As(err, &t) && t.Temporary()
}

// admit starts a connection if there is room for it. One that is not is closed at once: any word would be misread.
func (s *Server) admit(l Listener, nc net.Conn) {
	ip := addrOf(nc)
	if s.cfg.Hold != nil {
		if d := s.cfg.Hold(ip); d > 0 {
			s.observer.Refused(l.Name)
			s.held.hold(nc, d)
			return
		}
	}
	s.mu.Lock()
	refuse := s.stopping || len(s.conns) >= s.cfg.MaxConnections ||
		s.cfg.MaxConnectionsPerIP > 0 && s.perIP[ip] >= s.cfg.MaxConnectionsPerIP
	var c *conn
	if !refuse {
		s.number++
		c = newConn(s, nc, l, ip, s.number)
		s.conns[c] = struct{}{}
		s.perIP[ip]++
		s.goroutines.Add(1)
	}
	s.mu.Unlock()
	if refuse {
		s.observer.Refused(l.Name)
		if err := nc.Close(); err != nil {
			s.log.Debug("close refused connection", "client", nc.RemoteAddr(), "error", err)
		}
		return
	}
	s.observer.Opened(l.Name)
	go func() {
		defer s.goroutines.Done()
		c.serve()
	}()
}

// spawn starts a goroutine of a connection's. It returns false when the server has waited for the last of them.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	if s.stopping && len(s.conns) == 0 {
		s.mu.Unlock()
		return false
	}
	s.goroutines.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.goroutines.Done()
		f()
	}()
	return true
}

// forget is called once per connection, when it has ended.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	delete(s.shaking, c)
	if s.perIP[c.ip]--; s.perIP[c.ip] == 0 {
		delete(s.perIP, c.ip)
	}
	if s.stopping && len(s.conns) == 0 {
		close(s.emptied)
	}
	s.mu.Unlock()
	s.observer.Closed(c.client.Listener)
}

func addrOf(nc net.Conn) netip.Addr {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

// sweepAll ends connections whose time is up, all of them in one round a tick: no timer per connection, none per request.
func (s *Server) sweepAll(ctx context.Context) {
	tick := min(s.cfg.ReadTimeout, s.cfg.WriteTimeout)
	if s.cfg.MaxIdle > 0 {
		tick = min(tick, s.cfg.MaxIdle)
	}
	t := time.NewTicker(min(max(tick/4, 10*time.Millisecond), 5*time.Second))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := s.now()
			for _, c := range s.all() {
				c.sweep(now)
			}
		}
	}
}
