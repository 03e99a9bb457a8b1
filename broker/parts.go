package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/datadir"
	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/member"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/compact"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/scrub"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What each part is built with, in the order of Open.

func (b *Broker) memberConfig(formed bool) member.Config {
	peers := b.cfg.Peers()
	c := member.Config{
		Quorum: quorum.Config{
			Dir:             b.dir.Metadata(),
			ID:              b.node,
			ClusterID:       b.dir.Meta.ClusterID,
			Directory:       b.dir.Meta.Directory(),
			Listen:          b.cfg.String("cluster.listener"),
			Advertise:       b.cfg.String("cluster.advertised"),
			Existing:        formed,
			Voters:          max(1, len(peers)),
			SnapshotEntries: uint64(b.cfg.Int("raft.snapshot.entries")),
			Fatal:           b.fatal,
			Stamp:           b.clock.Now,
		},
		Token: b.cfg.String("cluster.join.token"),
		TLS:   b.identities[config.ClusterListener], AllowPlain: b.cfg.Bool("cluster.plaintext.allowed"),
		Release: b.opts.Version,
	}
	for _, p := range peers {
		c.Seeds = append(c.Seeds, quorum.Seed{Node: kafka.BrokerID(p.ID), Address: p.Address})
	}
	return c
}

// openTiers builds flusher, cold reader, archive and the empty set of partitions, and starts the first three.
func (b *Broker) openTiers(ctx context.Context) (err error) {
	b.telemetry, err = telemetry.New(ctx, telemetry.Config{
		Version: b.opts.Version, NodeID: int32(b.node), ClusterID: b.dir.Meta.ClusterID,
		SeriesMax: int(b.cfg.Int("metrics.partition.series.max")),
		TraceSlow: b.cfg.Duration("trace.slow.ms"), TraceShare: b.cfg.Float("trace.sample.ratio"),
		ClientsMax: int(b.cfg.Int("metrics.clients.max")),
	}, b.log.With("part", "telemetry"))
	if err != nil {
		return err
	}
	if err := b.fs.MkdirAll(b.dir.Partitions()); err != nil {
		return fmt.Errorf("create %s: %w", b.dir.Partitions(), err)
	}
	if err := hot.RemoveDeleted(b.fs, b.dir.Partitions()); err != nil {
		return fmt.Errorf("remove what interrupted deletions left: %w", err)
	}
	b.flusher, err = hot.NewFlusher(b.fs, b.dir.Partitions(), journal.Config{}, time.Now, b.log.With("part", "flusher"), b.fatal)
	if err != nil {
		return err
	}
	b.cold = cold.NewReader(b.bucket, b.dir.Meta.ClusterID, cold.Config{
		MaxInFlight:  b.cfg.Int("tier.fetch.inflight.bytes"),
		CacheBytes:   b.cfg.Int("tier.cache.bytes"),
		Workers:      int(b.cfg.Int("remote.log.reader.threads")),
		MinReadahead: b.cfg.Int("tier.readahead.min.bytes"),
		MaxReadahead: b.cfg.Int("tier.readahead.max.bytes"),
		RangeSize:    b.cfg.Int("tier.fetch.range.bytes"),
	}, b.log.With("part", "cold"))
	b.archive = archive.New(b.bucket, committer{b.quorum}, b.archiveConfig(), b.clock.Now, b.log.With("part", "archive"))
	b.archive.SpillWith(b.cold, committer{b.quorum}, int(b.cfg.Int("tier.manifest.page.entries")))
	if b.cfg.HasBucket() && b.cfg.Duration("tier.sweep.interval.ms") > 0 {
		b.archive.SweepWith(live{b})
	}
	b.archive.Observe(archive.Observer{
		Uploaded:     func(_ kafka.Partition, _ manifest.Entry, took time.Duration) { b.telemetry.Uploaded(took) },
		UploadFailed: func(kafka.Partition, error) { b.telemetry.TierFailed(telemetry.Upload) },
	})
	b.bucket.Observe(b.requested)
	b.watchSpace()
	b.flusher.Observe(func(logs int, took time.Duration) {
		b.flushed.Store(time.Now().UnixNano())
		b.telemetry.Flush(took, logs)
		b.watchSpace()
	})
	b.scrub = scrub.New(b.fs, func(yield func(scrub.Log)) {
		b.hosted.Each(func(p *partition.Partition) { yield(p.Log()) })
	}, scrub.Config{
		Interval: b.cfg.Duration("storage.scrub.interval.ms"), BytesPerSecond: b.cfg.Int("storage.scrub.bytes.per.second"),
		File: b.dir.Scrub(),
	}, time.Now, b.log.With("part", "scrub"))
	b.cleaner = compact.New(func(yield func(compact.Log)) {
		b.hosted.Each(func(p *partition.Partition) { yield(p.Compactable()) })
	}, compact.Config{
		MapBytes: b.cfg.Int("log.cleaner.dedupe.buffer.size"), Backoff: b.cfg.Duration("log.cleaner.backoff.ms"),
		BytesPerSecond: clampRate(b.cfg.Float("log.cleaner.io.max.bytes.per.second")),
	}, b.clock.Now, b.log.With("part", "compaction"))
	b.hosted = hosted.New(b.partitionEnv(), b.dir.Partition, b.cfg, b.archive, b.log.With("part", "partitions"))
	b.openReplication()
	for _, run := range []func(context.Context) error{b.flusher.Run, b.cold.Run, b.archive.Run} {
		b.storage.Go(func() error { return run(b.background) })
	}
	return nil
}

// clampRate is a rate in whole bytes a second, 0 where it is beyond what can be counted: without limit.
func clampRate(rate float64) int64 {
	if rate >= math.MaxInt64 {
		return 0
	}
	return max(int64(rate), 1)
}

// reserve is what records leave of a volume of the given size: the metadata log, the index and the recovery points have
// to be written for retention and uploads to make room again.
func reserve(total int64) int64 { return min(64<<20, total/8) }

// watchSpace looks how full the data volume is: after each flush, and once a second, so that produce goes on when there is room.
func (b *Broker) watchSpace() {
	total, free, err := b.space()
	if err != nil {
		return // unknown: what does not fit is refused when it is written
	}
	if full := free < reserve(total); b.full.Swap(full) != full {
		if full {
			b.log.Error("data volume is full: records are refused until there is room", "free_bytes", free, "dir", b.dir.Path)
		} else {
			b.log.Info("data volume has room again: records are accepted", "free_bytes", free)
		}
	}
}

func (b *Broker) runSpace(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			b.watchSpace()
		}
	}
}

func (b *Broker) archiveConfig() archive.Config {
	rate := b.cfg.Int("remote.log.manager.copy.max.bytes.per.second")
	if rate == math.MaxInt64 {
		rate = 0 // without limit
	}
	workers := int(b.cfg.Int("remote.log.manager.copier.thread.pool.size"))
	if b.uploadsInTurn {
		workers = 1 // others would only read and check, beside the requests, what then waits for its turn
	}
	return archive.Config{
		Cluster:        b.dir.Meta.ClusterID,
		Workers:        workers,
		BytesPerSecond: rate,
		StallTimeout:   b.cfg.Duration("tier.upload.stall.timeout.ms"),
		Interval:       b.cfg.Duration("log.retention.check.interval.ms"),
		OrphanGrace:    b.cfg.Duration("tier.orphan.grace.ms"),
		SweepInterval:  b.cfg.Duration("tier.sweep.interval.ms"),
	}
}

func (b *Broker) partitionEnv() partition.Env {
	log := b.log.With("part", "log")
	return partition.Env{
		Log: tierlog.Env{
			Hot:  hot.Env{FS: b.fs, Flusher: b.flusher, Index: b.index, Clock: time.Now, Log: log, Suspect: b.scrub.Suspect},
			Cold: b.cold,
			Log:  log,
		},
		Node:           b.node,
		Clock:          time.Now,
		Sealed:         b.archive.Poke,
		Full:           b.full.Load,
		Deadlines:      partition.NewDeadlines(time.Now),
		ISR:            func(p *partition.Partition) { b.keeper.Tell(p) },
		ProducerExpiry: b.cfg.Duration("producer.id.expiration.ms"),
		Traffic:        b.counted.traffic,
		Traced:         b.telemetry.Tracing(),
		Logger:         log,
	}
}

// requested is told of the bucket's requests. Uploads are told by the archive, whose attempts end at the quorum.
func (b *Broker) requested(verb object.Verb, took time.Duration, err error) {
	var tried telemetry.Operation
	switch verb {
	case object.Get:
		if err == nil {
			b.telemetry.Downloaded(took)
		}
		tried = telemetry.Download
	case object.Delete:
		tried = telemetry.Delete
	case object.List:
		tried = telemetry.List
	default:
		return
	}
	if err != nil {
		b.telemetry.TierFailed(tried)
	}
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
		b.listeners = append(b.listeners, server.Listener{Name: l.Name, Listener: socket, TLS: b.identities[l.Name]})
	}
	if address := b.cfg.String("admin.listener"); address != "" {
		b.console = console.New(console.Config{
			Listen: address, AllowedHosts: b.cfg.Strings("admin.allowed.hosts"), PProf: b.cfg.Bool("admin.pprof.enable"),
			TLS: b.identities[config.AdminListener],
		}, backend{b}, b.telemetry.Handler(), b.log.With("part", "admin"))
		if err := b.console.Listen(ctx); err != nil {
			return fmt.Errorf("%w (choose another address with --admin or admin.listener)", err)
		}
	}
	return nil
}

// adminEndpoint is the admin port's name among a broker's endpoints; those of the configuration are in capitals.
const adminEndpoint = "admin"

func (b *Broker) registration() command.RegisterBroker {
	r := command.RegisterBroker{
		ID: b.node, Incarnation: datadir.NewLife(), Rack: b.cfg.String("broker.rack"),
		Version:   command.WithLevel(b.opts.Version, command.NewestLevel),
		Directory: b.dir.Meta.Directory(), Cluster: b.quorum.Addr(),
	}
	for _, l := range b.listeners {
		a := b.cfg.Advertised(l.Name, l.Addr().(*net.TCPAddr).Port)
		r.Endpoints = append(r.Endpoints, command.Endpoint{Listener: l.Name, Host: a.Host, Port: int32(a.Port), Security: a.Security})
	}
	if b.console != nil { // behind the clients' ones, the first of which stands in for those that a client does not know
		if host, port, err := net.SplitHostPort(b.AdminAddr()); err == nil {
			if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() && len(r.Endpoints) > 0 {
				host = r.Endpoints[0].Host
			}
			n, _ := strconv.Atoi(port) // it listens there
			r.Endpoints = append(r.Endpoints, command.Endpoint{Listener: adminEndpoint, Host: host, Port: int32(n), Security: "HTTP"})
		}
	}
	return r
}

// openServing builds what answers clients.
func (b *Broker) openServing(context.Context) error {
	groups := coordinator.DefaultConfig()
	groups.Node, groups.Leased, groups.Clock = b.node, b.session.Leased, b.clock.Now
	groups.Limits.InitialDelay = b.cfg.Duration("group.initial.rebalance.delay.ms")
	groups.Limits.MinSession = b.cfg.Duration("group.min.session.timeout.ms")
	groups.Limits.MaxSession = b.cfg.Duration("group.max.session.timeout.ms")
	groups.Limits.MaxSize = int(b.cfg.Int("group.max.size"))
	groups.Consumer.Limits.MaxSize = int(b.cfg.Int("group.consumer.max.size"))
	groups.Consumer.Limits.Assignors = b.cfg.Strings("group.consumer.assignors")
	policy := b.cfg.String("group.consumer.migration.policy")
	groups.Consumer.Upgrade = policy == "bidirectional" || policy == "upgrade"
	groups.Consumer.Downgrade = policy == "bidirectional" || policy == "downgrade"
	bounded := func(protocol, what string) coordinator.Bounded {
		of := func(bound string) time.Duration {
			return b.cfg.Duration("group." + protocol + "." + bound + what + ".ms")
		}
		return coordinator.Bounded{Default: of(""), Min: of("min."), Max: of("max.")}
	}
	groups.Consumer.Session, groups.Consumer.Heartbeat = bounded("consumer", "session.timeout"), bounded("consumer", "heartbeat.interval")
	groups.Share.Session, groups.Share.Heartbeat = bounded("share", "session.timeout"), bounded("share", "heartbeat.interval")
	groups.Share.Limits.MaxSize = int(b.cfg.Int("group.share.max.size"))
	groups.Streams.Session, groups.Streams.Heartbeat = bounded("streams", "session.timeout"), bounded("streams", "heartbeat.interval")
	groups.Streams.Interval, groups.Streams.Delay = bounded("streams", "assignment.interval"), b.cfg.Duration("group.streams.initial.rebalance.delay.ms")
	groups.Streams.Standbys, groups.Streams.MaxStandbys = int(b.cfg.Int("group.streams.num.standby.replicas")), int(b.cfg.Int("group.streams.max.standby.replicas"))
	groups.Streams.Limits.MaxSize = int(b.cfg.Int("group.streams.max.size"))
	groups.OffsetMetadataBytes = int(b.cfg.Int("offset.metadata.max.bytes"))
	groups.OffsetsRetention = time.Duration(b.cfg.Int("offsets.retention.minutes")) * time.Minute
	groups.CheckInterval = b.cfg.Duration("offsets.retention.check.interval.ms")
	b.groups = coordinator.New(groups, b.quorum, b.log.With("part", "groups"))
	b.openTransactions()
	b.openShares()
	b.quorum.Subscribe(b.followCoordinators)

	b.stateLogs = statelog.New(b.node, b.quorum)

	b.openQuotas()
	b.openClientMetrics()
	b.api = api.New(api.Deps{
		Node: b.node, Quorum: b.quorum, Partitions: b.hosted, Groups: b.groups, Transactions: b.transactions, Shares: b.shares, Config: b.cfg,
		Log: b.log.With("part", "api"), Clock: time.Now, BucketURL: b.bucketURL(), Forget: b.cold.Forget, Dismiss: b.dismiss,
		Volume: api.Volume{Dir: b.dir.Path, Space: b.space}, Appends: b.flusher, Settle: b.doubts.Settle, Throttle: b.throttle, Quotas: b.quotas, ClientMetrics: b.clientMetrics, StateLogs: b.stateLogs,
	})
	b.member.Mux.ServeKafka(b.api)
	b.observer = &serverObserver{t: b.telemetry}
	b.server = server.New(server.Config{
		Listeners:             b.listeners,
		MaxRequestBytes:       int(b.cfg.Int("socket.request.max.bytes")),
		MaxBytesPerConnection: b.cfg.Int("connection.queued.max.request.bytes"),
		MaxBytes:              b.cfg.Int("queued.max.request.bytes"),
		MaxPipelined:          int(b.cfg.Int("connection.queued.max.requests")),
		MaxConnections:        int(b.cfg.Int("max.connections")),
		MaxConnectionsPerIP:   int(b.cfg.Int("max.connections.per.ip")),
		MaxIdle:               b.cfg.Duration("connections.max.idle.ms"),
		Traces:                b.telemetry.Tracing(),
		Hold:                  b.quotas.Connected,
	}, b.api, b.observer, b.log.With("part", "server"))
	b.quorum.Subscribe(b.counted.follow(b.node))
	b.telemetry.Connect(b.sources())
	return nil
}

// openQuotas builds what bounds clients.
func (b *Broker) openQuotas() {
	window := time.Duration(b.cfg.Int("quota.window.num")*b.cfg.Int("quota.window.size.seconds")) * time.Second
	b.quotas = quota.New(time.Now, window)
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		if slices.ContainsFunc(ch.Configs, func(k image.ConfigKey) bool { return k.Type == command.ClientQuota }) {
			b.quotas.Follow(m)
		}
	})
	b.quotas.Follow(b.quorum.Image())
}

// openClientMetrics builds what takes clients' metrics, where they have somewhere to go.
func (b *Broker) openClientMetrics() {
	sink := b.telemetry.ClientSink()
	if sink == nil {
		return
	}
	b.clientMetrics = clientmetrics.New(time.Now, int(b.cfg.Int("telemetry.max.bytes")), sink)
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		if slices.ContainsFunc(ch.Configs, func(k image.ConfigKey) bool { return k.Type == command.ClientMetrics }) {
			b.clientMetrics.Follow(m)
		}
	})
	b.clientMetrics.Follow(b.quorum.Image())
}

// followCoordinators keeps groups and transactional ids where the image places them.
func (b *Broker) followCoordinators(_, m *image.Image, ch quorum.Changes) {
	if len(ch.Coordinators) == 0 {
		return
	}
	if err := b.groups.Follow(m); err != nil {
		b.fatal(fmt.Errorf("take over groups: %w", err))
	}
	b.transactions.Coordinator.Follow(m)
}

// announce prints the one line that says that the broker is ready.
func (b *Broker) announce() {
	addr := b.clientsAddr()
	line := fmt.Sprintf("qanat is ready: clients connect to %s", addr)
	if admin := b.AdminAddr(); admin != "" {
		scheme := "http"
		if b.identities[config.AdminListener] != nil {
			scheme = "https"
		}
		line += ", admin port " + scheme + "://" + admin
	}
	line += fmt.Sprintf("; try: echo hello | %s produce demo --brokers %s", b.opts.Program, addr)
	if b.listeners[0].TLS != nil {
		ca := b.cfg.OfListener(b.listeners[0].Name, "ssl.truststore.location")
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

// Addr is where clients connect, HOST:PORT; the first listener's.
func (b *Broker) Addr() string { return b.listeners[0].Addr().String() }

// clientsAddr is Addr, or, where that is every address of the machine, what clients are told.
func (b *Broker) clientsAddr() string {
	l := b.listeners[0]
	at := l.Addr().(*net.TCPAddr)
	if !at.IP.IsUnspecified() {
		return at.String()
	}
	a := b.cfg.Advertised(l.Name, at.Port)
	return a.Address()
}

// AdminAddr is the admin listener's HOST:PORT; "" for none.
func (b *Broker) AdminAddr() string {
	if b.console == nil {
		return ""
	}
	return b.console.Addr()
}

// closeListeners gives back the addresses; those that the server has closed already are passed over.
func (b *Broker) closeListeners() error {
	var errs []error
	for _, l := range b.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
