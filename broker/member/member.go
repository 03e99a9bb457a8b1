package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/peer"
	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Config is what a member is told. Quorum's Peers is set by Open.
type Config struct {
	Quorum quorum.Config // Dir, ID, ClusterID ("" unless configured or known), Listen, Advertise, Directory, Existing, …
	Seeds  []quorum.Seed // cluster.peers; none: a new directory forms a cluster of its own
	Token  string        // cluster.join.token
	// TLS is what this broker shows others; nil for plain connections. AllowPlain is cluster.plaintext.allowed.
	TLS        *secure.Identity
	AllowPlain bool
	Release    string

	// Listener and Dial replace TCP, for tests.
	Listener net.Listener
	Dial     func(ctx context.Context, address string) (net.Conn, error)
}

// Member is a broker's place in its cluster. Quorum is set once Open has returned.
type Member struct {
	Hub    *peer.Hub
	Mux    *peer.Mux
	Client *peer.Client
	Quorum *quorum.Quorum

	cfg     Config
	clock   func() time.Time
	log     *slog.Logger
	self    atomic.Pointer[wire.Peer]
	entry   atomic.Pointer[quorum.Entry]
	running atomic.Pointer[quorum.Quorum]

	stop    context.CancelFunc
	serving sync.WaitGroup
	closing sync.Once
	closed  error
}

// serverGrace is how long private requests that are being carried out may take when the broker stops.
const serverGrace = 500 * time.Millisecond

// Open opens the listener, forms or joins a cluster if the directory is part of none, and starts the quorum. It waits for the
// other nodes as long as ctx allows.
func Open(ctx context.Context, cfg Config, clock func() time.Time, log *slog.Logger) (m *Member, err error) {
	m = &Member{cfg: cfg, clock: clock, log: log.With("part", "quorum")}
	m.self.Store(&wire.Peer{Node: cfg.Quorum.ID, Release: cfg.Release, Directory: cfg.Quorum.Directory})
	if err := m.listen(ctx, log.With("part", "peers")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
			m = nil
		}
	}()
	who, known, err := quorum.ReadIdentity(cfg.Quorum.Dir)
	if err != nil {
		return m, err
	}
	if !known && len(cfg.Seeds) > 0 && !cfg.Quorum.Existing {
		if who, err = m.enter(ctx); err != nil {
			return m, err
		}
		known = true
	}
	q := cfg.Quorum
	q.Peers = peers{m}
	for _, s := range cfg.Seeds {
		q.Seeds = append(q.Seeds, s.Node)
	}
	if q.Advertise, err = m.advertised(); err != nil {
		return m, err
	}
	q.Bootstrap = !known && len(cfg.Seeds) == 0 || known && !who.Joined && len(who.Founders) == 0
	if known {
		m.introduce(who)
	}
	if m.Quorum, err = quorum.Open(q, clock, m.log); err != nil {
		return m, err
	}
	m.introduce(m.Quorum.Who())
	m.running.Store(m.Quorum)
	return m, nil
}

// introduce says who this node is from now on.
func (m *Member) introduce(who quorum.Identity) {
	m.self.Store(&wire.Peer{
		Node: who.Node, Cluster: who.Cluster, Release: m.cfg.Release, Directory: m.cfg.Quorum.Directory, Admission: who.Admission,
	})
}

// listen opens the listener between brokers and serves the private API on it.
func (m *Member) listen(ctx context.Context, log *slog.Logger) error {
	l := m.cfg.Listener
	if l == nil {
		var lc net.ListenConfig
		var err error
		if l, err = lc.Listen(ctx, "tcp", m.cfg.Quorum.Listen); err != nil {
			return fmt.Errorf("cluster.listener: %w (another program may use the address: choose another)", err)
		}
	}
	m.Hub = peer.New(peer.Config{
		Self: m.whoAmI, Address: m.addresses, Check: m.check, Token: m.cfg.Token, Dial: m.cfg.Dial,
		TLS: m.cfg.TLS, AllowPlain: m.cfg.AllowPlain,
	}, l, log)
	m.Client = m.Hub.NewClient()
	m.Mux = peer.NewMux(m.whoAmI, log)
	for call, key := range keys {
		m.Mux.Register(key, func(ctx context.Context, from wire.Peer, _ int16, body []byte) ([]byte, error) {
			answer, err := m.handle(ctx, call, from, body)
			return answer, refusal(err)
		})
	}
	s := server.New(server.Config{
		Listeners: []server.Listener{{Name: "CLUSTER", Listener: m.Hub.Peers()}}, MaxIdle: -1, Grace: serverGrace,
	}, m.Mux, nil, log)
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.serving.Go(func() {
		if err := s.Run(serve); err != nil {
			log.Error("serve other brokers", "error", err)
		}
	})
	return nil
}

func (m *Member) whoAmI() wire.Peer { return *m.self.Load() }

// handle passes a call on to whoever there is to answer it.
func (m *Member) handle(ctx context.Context, c quorum.Call, from wire.Peer, body []byte) ([]byte, error) {
	if q := m.running.Load(); q != nil {
		return q.Handle(ctx, c, from, body)
	}
	if e := m.entry.Load(); e != nil {
		return e.Handle(ctx, c, from, body)
	}
	return nil, fmt.Errorf("%w: broker %d is starting", quorum.ErrNotReady, m.cfg.Quorum.ID)
}

// check asks the quorum, once there is one.
func (m *Member) check(remote wire.Peer) error {
	if q := m.running.Load(); q != nil {
		return refusal(q.Check(remote))
	}
	return nil
}

// addresses are where a node may be: where it has said last, and where the configuration says.
func (m *Member) addresses(node kafka.BrokerID) []string {
	var list []string
	if q := m.running.Load(); q != nil {
		if a, ok := q.Address(node); ok {
			list = append(list, a)
		}
	}
	for _, s := range m.cfg.Seeds {
		if s.Node == node && !slices.Contains(list, s.Address) {
			list = append(list, s.Address)
		}
	}
	return list
}

// enter forms or joins a cluster.
func (m *Member) enter(ctx context.Context) (quorum.Identity, error) {
	at, err := m.advertised()
	if err != nil {
		return quorum.Identity{}, err
	}
	e := quorum.NewEntry(quorum.EntryConfig{
		Dir: m.cfg.Quorum.Dir, Node: m.cfg.Quorum.ID, Directory: m.cfg.Quorum.Directory, Cluster: m.cfg.Quorum.ClusterID,
		Advertise: at, Seeds: m.cfg.Seeds, Peers: peers{m}, Log: m.log,
	})
	m.entry.Store(e)
	return e.Enter(ctx)
}

// advertised is where others reach this node: as configured, as cluster.peers has it, or where it listens.
func (m *Member) advertised() (string, error) {
	if m.cfg.Quorum.Advertise != "" {
		return m.cfg.Quorum.Advertise, nil
	}
	for _, s := range m.cfg.Seeds {
		if s.Node == m.cfg.Quorum.ID {
			return s.Address, nil
		}
	}
	return quorum.Reachable(m.Hub.Raft().Addr())
}

// Close stops serving other brokers, then the quorum, then the listener.
func (m *Member) Close() error {
	m.closing.Do(func() {
		m.stop()
		m.serving.Wait()
		var errs []error
		if m.Quorum != nil {
			errs = append(errs, m.Quorum.Close())
		}
		m.closed = errors.Join(append(errs, m.Hub.Close())...)
	})
	return m.closed
}
