package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/datadir"
	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/member"
	"github.com/qanat-io/qanat/broker/sources"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Options are what a start needs besides its configuration.
type Options struct {
	Version string
	// Program is what to call on a command line for this program, as the line on Stdout says it. "": qanat.
	Program string
	// Stdout receives the one line that says that the broker is ready.
	Stdout io.Writer
	// Tell hears of the broker's life: once when it serves, once when it begins to stop. It must not block. May be nil.
	Tell func(Phase)
	// Log receives everything else. nil: standard error, as the configuration says.
	Log *slog.Logger
}

// Phase is what a broker's supervisor wants to know of.
type Phase int

const (
	Serving Phase = iota
	Stopping
)

// Broker is one running broker.
type Broker struct {
	cfg     *config.Broker
	opts    Options
	log     *slog.Logger
	node    kafka.BrokerID
	started time.Time

	fs         vfs.FS
	dir        *datadir.Dir
	volume     volume
	identities identities
	telemetry  *telemetry.Telemetry
	counters   sources.Counters
	sources    *sources.Sources

	member       *member.Member
	quorum       *quorum.Quorum // the member's
	control      controls
	tiers        tiers
	hosted       *hosted.Set
	replication  replication
	coordinators coordinators
	clients      clients

	phase phase
	// clean: what is on disk is all that was acknowledged, once everything is closed; or the cluster knows that it is not.
	clean bool
	// background is done when the parts that storage needs to close cleanly may end.
	background context.Context
	endStorage context.CancelFunc
	storage    *errgroup.Group
	close      func() error // once
}

// phase is how far a broker's life has come.
type phase struct{ serving, stopping atomic.Bool }

// servingNobody tells why nobody is served; nil when somebody is.
func (p *phase) servingNobody() error {
	switch {
	case p.stopping.Load():
		return errors.New("the broker is stopping")
	case !p.serving.Load():
		return errors.New("the broker is starting")
	}
	return nil
}

// Open builds a broker up to the point where it could serve. ctx bounds the start.
func Open(ctx context.Context, cfg *config.Broker, o Options) (_ *Broker, err error) {
	b := &Broker{
		cfg: cfg, opts: o, log: o.Log, node: kafka.BrokerID(cfg.Int("node.id")), started: time.Now(),
		fs: vfs.OS{},
	}
	b.close = sync.OnceValue(b.closeParts)
	if b.log == nil {
		if b.log, err = telemetry.NewLogger(os.Stderr, cfg.String("log.level"), cfg.String("log.format")); err != nil {
			return nil, err
		}
	}
	if b.opts.Program == "" {
		b.opts.Program = "qanat"
	}
	if b.opts.Tell == nil {
		b.opts.Tell = func(Phase) {}
	}
	if b.opts.Stdout == nil {
		b.opts.Stdout = io.Discard
	}
	b.background, b.endStorage = context.WithCancel(context.WithoutCancel(ctx))
	b.storage, b.background = errgroup.WithContext(b.background)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	for _, step := range []func(context.Context) error{
		b.openDirectory, b.openTLS, b.openStores, b.openControl, b.openTelemetry, b.openTiers, b.openHosted, b.openListeners,
		b.join, b.openPartitions, b.openCoordinators, b.openServing,
	} {
		if err := step(ctx); err != nil {
			return nil, explained(err, cfg.DataDir())
		}
	}
	return b, nil
}

// explained adds what helps where a start has failed for want of room. Not every part says so: the stores below know no volume.
func explained(err error, dir string) error {
	none := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), unix.ENOSPC.Error())
	if !none || strings.Contains(err.Error(), "free space") {
		return err
	}
	return fmt.Errorf("%w: make room on the volume of %s (a larger volume, or by what on it is not Qanat's; remove nothing from the directory itself) and start again", err, dir)
}

// openDirectory locks the directory and checks whose it is.
func (b *Broker) openDirectory(context.Context) (err error) {
	b.dir, err = datadir.Open(b.fs, b.cfg.DataDir(), b.cfg.String("cluster.id"), b.node, len(b.cfg.Peers()) == 0)
	if err == nil {
		b.volume.dir, b.volume.log = b.dir.Path, b.log
	}
	return err
}

// openStores opens what takes a moment and does not depend on one another.
func (b *Broker) openStores(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() (err error) {
		b.tiers.index, err = index.Open(b.dir.Index(), b.log.With("part", "index"))
		return err
	})
	g.Go(func() error { return b.openMetadata(ctx) })
	g.Go(func() error { return b.openBucket(ctx) })
	return g.Wait()
}

// Run serves until ctx ends or a part fails, then stops in order: others take over what this broker leads while it still
// serves, then it serves no more, then it is gone.
func (b *Broker) Run(ctx context.Context) error {
	endLife, lost := b.startLife()
	serve, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, serving := errgroup.WithContext(serve)
	for _, run := range b.served() {
		g.Go(func() error { return run(serving) })
	}
	b.control.session.Ready()
	g.Go(func() error {
		if err := b.control.session.Active(serving); err != nil {
			return nil // it stops
		}
		b.phase.serving.Store(true)
		b.announce()
		b.opts.Tell(Serving)
		return nil
	})
	told := false
	select {
	case <-ctx.Done():
		told = true
	case <-serving.Done():
	case <-lost:
	}
	stopped := time.Now()
	b.phase.stopping.Store(true)
	b.opts.Tell(Stopping)
	if told {
		b.leave()
	}
	end()
	b.clients.api.Stop()
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	b.farewell()
	if err = errors.Join(err, endLife(), b.close()); err == nil {
		b.log.Info("broker has stopped", "took", time.Since(stopped))
	}
	return err
}

// served are the parts that run for as long as clients are served.
func (b *Broker) served() []func(context.Context) error {
	list := []func(context.Context) error{
		b.coordinators.groups.Run, b.coordinators.transactions.Coordinator.Run, b.coordinators.shares.Run,
		b.hosted.Run, b.replication.fetchers.Run, b.replication.keeper.Run, b.replication.repair.Run,
		b.clients.server.Run, b.watchStorage, b.volume.run, b.sources.Run, b.tiers.scrub.Run, b.tiers.cleaner.Run,
	}
	if b.clients.console != nil {
		list = append(list, b.clients.console.Run)
	}
	if b.cfg.HasBucket() {
		list = append(list, b.lookAtObjects)
	}
	return list
}

// watchStorage ends the broker when a part below the partitions has ended by itself.
func (b *Broker) watchStorage(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.background.Done():
		return fmt.Errorf("storage has stopped: %w", context.Cause(b.background))
	}
}

// closeParts stops what serves nobody any more, from the top down. Called once
// nothing is served; parts that were never opened are passed over.
func (b *Broker) closeParts() error {
	var errs []error
	if logs := b.coordinators.stateLogs; logs != nil {
		logs.Close()
	}
	if b.hosted != nil {
		errs = append(errs, b.hosted.Close())
	}
	b.endStorage()
	if err := b.storage.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, err)
	}
	for _, part := range []struct {
		open  bool
		close func() error
	}{
		{b.clients.console != nil, func() error { return b.clients.console.Close() }},
		{true, b.clients.closeListeners},
		{b.tiers.flusher != nil, func() error { return b.tiers.flusher.Close() }},
		{b.member != nil, func() error { return b.member.Close() }},
		{b.tiers.index != nil, func() error { return b.tiers.index.Close() }},
		{b.tiers.bucket != nil, func() error { return b.tiers.bucket.Close() }},
		{b.telemetry != nil, b.closeTelemetry},
	} {
		if part.open {
			errs = append(errs, part.close())
		}
	}
	if b.dir != nil {
		if b.clean && errors.Join(errs...) == nil {
			errs = append(errs, b.dir.MarkClean(b.fs))
		}
		errs = append(errs, b.dir.Close())
	}
	return errors.Join(errs...)
}

// fatal ends the process at once: what it is told may not be survived, or an
// acknowledgement after it would be a lie.
func (b *Broker) fatal(err error) {
	b.log.Error("the broker cannot go on", "error", err)
	os.Exit(exitFatal)
}

// exitFatal is the exit code of a broker that ended itself.
const exitFatal = 70
