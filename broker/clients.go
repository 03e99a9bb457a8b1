package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/admin"
	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/datadir"
	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/sources"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
)

// clients is what answers clients, and the command line on the admin port.
type clients struct {
	listeners []server.Listener
	backend   *admin.Backend
	console   *console.Server // nil without admin.listener

	api     *api.Handler
	server  *server.Server
	quotas  *quota.Quotas
	metrics *clientmetrics.Registry // nil where clients' metrics would go nowhere
}

// openListeners takes the addresses, so that the registration can name them.
func (b *Broker) openListeners(ctx context.Context) error {
	var lc net.ListenConfig
	for _, l := range b.cfg.Listeners() {
		socket, err := lc.Listen(ctx, "tcp", l.Address())
		if err != nil {
			why := "another program may use the address"
			if errors.Is(err, unix.EADDRNOTAVAIL) {
				why = "this machine has no such address"
			}
			return fmt.Errorf("listener %s: %w (%s: choose another with --listen or listeners)", l, err, why)
		}
		b.clients.listeners = append(b.clients.listeners, server.Listener{Name: l.Name, Listener: socket, TLS: b.identities[l.Name]})
	}
	b.clients.backend = b.adminBackend()
	b.control.session.Ailments = b.clients.backend.Ailments
	if b.cfg.String("admin.listener") == "" {
		return nil
	}
	return b.openConsole(ctx)
}

// adminBackend is what knows how this broker is.
func (b *Broker) adminBackend() *admin.Backend {
	parts := admin.Parts{
		Node: b.node, Version: b.opts.Version, Started: b.started, Config: b.cfg, Dir: b.dir, BucketURL: b.bucketURL(),
		Quorum: b.quorum, Session: b.control.session, Hosted: b.hosted,
		Archive: b.tiers.archive, Cold: b.tiers.cold, Bucket: b.tiers.bucket, Scrubber: b.tiers.scrub,
		Groups:  func() *coordinator.Coordinator { return b.coordinators.groups },
		Serving: b.phase.servingNobody, Full: b.volume.full.Load, Certificates: b.certificates,
	}
	for _, l := range b.clients.listeners {
		parts.Listeners = append(parts.Listeners, l.Addr())
	}
	return admin.New(parts)
}

// openConsole takes the admin port's address. It is served from Run on, when all that it asks is there.
func (b *Broker) openConsole(ctx context.Context) error {
	b.clients.console = console.New(console.Config{
		Listen: b.cfg.String("admin.listener"), AllowedHosts: b.cfg.Strings("admin.allowed.hosts"), PProf: b.cfg.Bool("admin.pprof.enable"),
		TLS: b.identities[config.AdminListener],
	}, b.clients.backend, b.telemetry.Handler(), b.log.With("part", "admin"))
	if err := b.clients.console.Listen(ctx); err != nil {
		return fmt.Errorf("%w (choose another address with --admin or admin.listener)", err)
	}
	return nil
}

// registration is what this broker tells the cluster of itself.
func (b *Broker) registration() command.RegisterBroker {
	r := command.RegisterBroker{
		ID: b.node, Incarnation: datadir.NewLife(), Rack: b.cfg.String("broker.rack"),
		Version:   command.WithLevel(b.opts.Version, command.NewestLevel),
		Directory: b.dir.Meta.Directory(), Cluster: b.quorum.Addr(),
	}
	for _, l := range b.clients.listeners {
		a := b.cfg.Advertised(l.Name, l.Addr().(*net.TCPAddr).Port)
		r.Endpoints = append(r.Endpoints, command.Endpoint{Listener: l.Name, Host: a.Host, Port: int32(a.Port), Security: a.Security})
	}
	if b.clients.console == nil {
		return r
	}
	// Behind the clients' ones, the first of which stands in for those that a client does not know.
	if host, port, err := net.SplitHostPort(b.clients.console.Addr()); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() && len(r.Endpoints) > 0 {
			host = r.Endpoints[0].Host
		}
		n, _ := strconv.Atoi(port) // it listens there
		r.Endpoints = append(r.Endpoints, command.Endpoint{Listener: admin.Endpoint, Host: host, Port: int32(n), Security: "HTTP"})
	}
	return r
}

// openServing builds what answers clients.
func (b *Broker) openServing(context.Context) error {
	b.openQuotas()
	b.openClientMetrics()
	c := &b.clients
	c.api = api.New(api.Deps{
		Node: b.node, Quorum: b.quorum, Partitions: b.hosted, Config: b.cfg, Log: b.log.With("part", "api"), Clock: time.Now,
		Groups: b.coordinators.groups, Transactions: b.coordinators.transactions, Shares: b.coordinators.shares, StateLogs: b.coordinators.stateLogs,
		Volume: api.Volume{Dir: b.dir.Path, Space: b.volume.space}, Appends: b.tiers.flusher,
		BucketURL: b.bucketURL(), Forget: b.tiers.cold.Forget,
		Dismiss: b.dismiss, Settle: b.control.doubts.Settle,
		Throttle: b.replication.throttle, Quotas: c.quotas, ClientMetrics: c.metrics,
	})
	b.member.Mux.ServeKafka(c.api)
	connections := sources.NewConnections(b.telemetry)
	c.server = server.New(server.Config{
		Listeners:             c.listeners,
		MaxRequestBytes:       int(b.cfg.Int("socket.request.max.bytes")),
		MaxBytesPerConnection: b.cfg.Int("connection.queued.max.request.bytes"),
		MaxBytes:              b.cfg.Int("queued.max.request.bytes"),
		MaxPipelined:          int(b.cfg.Int("connection.queued.max.requests")),
		MaxConnections:        int(b.cfg.Int("max.connections")),
		MaxConnectionsPerIP:   int(b.cfg.Int("max.connections.per.ip")),
		MaxIdle:               b.cfg.Duration("connections.max.idle.ms"),
		Traces:                b.telemetry.Tracing(),
		Hold:                  c.quotas.Connected,
	}, c.api, connections, b.log.With("part", "server"))
	b.openSources(connections)
	return nil
}

// openQuotas builds what bounds clients.
func (b *Broker) openQuotas() {
	window := time.Duration(b.cfg.Int("quota.window.num")*b.cfg.Int("quota.window.size.seconds")) * time.Second
	b.clients.quotas = quota.New(time.Now, window)
	b.followConfigs(command.ClientQuota, b.clients.quotas.Follow)
}

// openClientMetrics builds what takes clients' metrics, where they have somewhere to go.
func (b *Broker) openClientMetrics() {
	sink := b.telemetry.ClientSink()
	if sink == nil {
		return
	}
	b.clients.metrics = clientmetrics.New(time.Now, int(b.cfg.Int("telemetry.max.bytes")), sink)
	b.followConfigs(command.ClientMetrics, b.clients.metrics.Follow)
}

// followConfigs has follow see the image now, and whenever configurations of a kind have changed.
func (b *Broker) followConfigs(kind command.ResourceType, follow func(*image.Image)) {
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		if slices.ContainsFunc(ch.Configs, func(k image.ConfigKey) bool { return k.Type == kind }) {
			follow(m)
		}
	})
	follow(b.quorum.Image())
}

// announce prints the one line that says that the broker is ready.
func (b *Broker) announce() {
	addr := b.clientsAddr()
	line := fmt.Sprintf("qanat is ready: clients connect to %s", addr)
	if b.clients.console != nil {
		scheme := "http"
		if b.identities[config.AdminListener] != nil {
			scheme = "https"
		}
		line += ", admin port " + scheme + "://" + b.clients.console.Addr()
	}
	line += fmt.Sprintf("; try: echo hello | %s produce demo --brokers %s", b.opts.Program, addr)
	if first := b.clients.listeners[0]; first.TLS != nil {
		ca := b.cfg.OfListener(first.Name, "ssl.truststore.location")
		if ca == "" {
			ca = "CA.pem"
		}
		line += " --tls-ca " + ca
	}
	if _, err := fmt.Fprintln(b.opts.Stdout, line); err != nil {
		b.log.Warn("say that the broker is ready", "error", err)
	}
	b.log.Info("broker is ready", "version", b.opts.Version, "node", b.node, "cluster", b.dir.Meta.ClusterID,
		"partitions", b.hosted.Len(), "took", time.Since(b.started))
}

// clientsAddr is where the first listener is, HOST:PORT, or, where that is every address of the machine, what clients are told.
func (b *Broker) clientsAddr() string {
	l := b.clients.listeners[0]
	at := l.Addr().(*net.TCPAddr)
	if !at.IP.IsUnspecified() {
		return at.String()
	}
	a := b.cfg.Advertised(l.Name, at.Port)
	return a.Address()
}

// closeListeners gives back the addresses; those that the server has closed already are passed over.
func (c *clients) closeListeners() error {
	var errs []error
	for _, l := range c.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
