package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/clientmetrics"
	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/datadir"
	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/member"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/broker/replica"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/compact"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/scrub"
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

	fs     vfs.FS
	dir    *datadir.Dir
	member *member.Member
	quorum *quorum.Quorum // the member's
	index  *index.Index
	bucket *object.Counting
	// uploadsInTurn: the bucket is a directory, whose objects are written one at a time.
	uploadsInTurn bool
	flusher       *hot.Flusher
	flushed       atomic.Int64 // when the flusher was last done, in Unix nanoseconds
	cold          *cold.Reader
	archive       *archive.Archive
	hosted        *hosted.Set
	fetchers      *replica.Fetchers
	keeper        *replica.Keeper
	repair        *replica.Repair
	throttle      *throttle.Replication
	quotas        *quota.Quotas

	clientMetrics *clientmetrics.Registry // nil where clients' metrics would go nowhere

	scrub   *scrub.Scrubber
	cleaner *compact.Cleaner
	groups  *coordinator.Coordinator

	transactions *api.Transactions
	shares       *shareleader.Leader
	stateLogs    *statelog.Logs

	api *api.Handler

	session    *control.Session
	clock      control.Clock
	controller *control.Controller
	doubts     *control.Doubts

	telemetry  *telemetry.Telemetry
	observer   *serverObserver
	counted    counted
	ages       lagAges
	listeners  []server.Listener
	identities identities
	server     *server.Server
	console    *console.Server // nil without admin.listener

	// loaded is closed when the partitions of the first image are open; changes wait for it.
	loaded  chan struct{}
	serving atomic.Bool
	// clean: what is on disk is all that was acknowledged, once everything is closed; or the cluster knows that it is not.
	clean bool
	// full: see watchSpace.
	full     atomic.Bool
	stopping atomic.Bool
	// background is done when the parts that storage needs to close cleanly may end.
	background context.Context
	endStorage context.CancelFunc
	storage    *errgroup.Group
	closeOnce  sync.Once
	closeErr   error
}

// Open builds a broker up to the point where it could serve. ctx bounds the start.
func Open(ctx context.Context, cfg *config.Broker, o Options) (_ *Broker, err error) {
	b := &Broker{
		cfg: cfg, opts: o, log: o.Log, node: kafka.BrokerID(cfg.Int("node.id")), started: time.Now(),
		fs: vfs.OS{}, loaded: make(chan struct{}),
	}
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
		b.openDirectory, b.openTLS, b.openStores, b.openControl, b.openTiers, b.openListeners, b.join, b.openPartitions, b.openServing,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// openDirectory locks the directory and checks whose it is.
func (b *Broker) openDirectory(context.Context) (err error) {
	b.dir, err = datadir.Open(b.fs, b.cfg.DataDir(), b.cfg.String("cluster.id"), b.node, len(b.cfg.Peers()) == 0)
	return err
}

// openStores opens what takes a moment and does not depend on one another.
func (b *Broker) openStores(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() (err error) {
		b.index, err = index.Open(b.dir.Index(), b.log.With("part", "index"))
		return err
	})
	g.Go(func() error { return b.openMetadata(ctx) })
	g.Go(func() error { return b.openBucket(ctx) })
	return g.Wait()
}

// openMetadata makes this broker part of its cluster, and waits until its image holds all that was committed before.
func (b *Broker) openMetadata(ctx context.Context) error {
	formed, err := b.dir.Formed(b.fs)
	if err != nil {
		return err
	}
	b.member, err = member.Open(ctx, b.memberConfig(formed), time.Now, b.log)
	if err != nil {
		return err
	}
	b.quorum = b.member.Quorum
	if err := b.quorum.Ready(ctx); err != nil {
		return fmt.Errorf("metadata quorum: %w", err)
	}
	if err := b.settleTLS(); err != nil {
		return err
	}
	if err := b.dir.Outlived(b.fs, b.lastLife()); err != nil {
		return err
	}
	if err := b.dir.Settle(b.fs, b.quorum.ClusterID()); err != nil || formed {
		return err
	}
	return b.dir.MarkFormed(b.fs)
}

// bucketCheck bounds the look at the bucket when the broker starts.
const bucketCheck = 5 * time.Second

// openBucket opens the bucket and tries it. Before a directory is used a
// bucket that does not answer is a mistake to correct; later it may be an outage, which a broker outlives.
func (b *Broker) openBucket(ctx context.Context) error {
	if !b.cfg.HasBucket() {
		// No topic is tiered then (config.Topic.RemoteStorage), so nothing is ever kept there.
		b.bucket = object.NewCounting(object.NewMem(time.Now))
		return nil
	}
	bucket, err := object.Open(b.cfg.String("bucket.url"))
	if err != nil {
		return err
	}
	if _, memory := bucket.(*object.Mem); memory {
		b.log.Warn("bucket.url is memory: segments that go there end with this process")
	}
	if d, ok := bucket.(*object.Dir); ok {
		d.Yield(b.uploadShare)
		b.uploadsInTurn = true
	}
	b.bucket = object.NewCounting(bucket)
	ctx, cancel := context.WithTimeout(ctx, bucketCheck)
	defer cancel()
	if err := object.Check(ctx, bucket); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %v: %w", bucketCheck, err)
		}
		if used, lookErr := b.dir.Used(b.fs); !used {
			return errors.Join(err, lookErr)
		}
		b.log.Error("bucket does not answer: segments stay local until it does", "bucket", bucket.URL(), "error", err)
	}
	return nil
}

// uploadShare is what uploads to a directory, which may lie on the log's own disk, may take of its time: little while producers wait for flushes
// (one has ended a moment ago), unless the backlog has grown.
func (b *Broker) uploadShare() float64 {
	const recently = 20 * time.Millisecond
	switch {
	case time.Now().UnixNano()-b.flushed.Load() > int64(recently):
		return 1
	case b.archive.Hurried():
		return 0.5
	}
	return 0.1
}

// openPartitions opens what the image places here and from then on follows it.
func (b *Broker) openPartitions(ctx context.Context) error {
	found, err := b.tidyPartitions()
	if err != nil {
		return err
	}
	b.hosted.Found(found)
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		<-b.loaded
		b.hosted.Apply(b.background, m, ch)
	})
	b.hosted.Load(ctx, b.quorum.Image())
	close(b.loaded)
	b.missBucket()
	return ctx.Err()
}

// missBucket tells of history that cannot be read because the configuration names no bucket any more.
func (b *Broker) missBucket() {
	if b.cfg.HasBucket() {
		return
	}
	partitions := 0
	b.hosted.Each(func(p *partition.Partition) {
		if p.Log().Manifest().Count() > 0 {
			partitions++
		}
	})
	if partitions > 0 {
		b.log.Error("bucket.url is empty, though partitions have segments in a bucket: what is there alone cannot be read", "partitions", partitions)
	}
}

// Run serves until ctx ends or a part fails, then stops in order: others take over what this broker leads while it still
// serves, then it serves no more, then it is gone.
func (b *Broker) Run(ctx context.Context) error {
	endLife, lost := b.startLife()
	serve, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, serving := errgroup.WithContext(serve)
	g.Go(func() error { return b.groups.Run(serving) })
	g.Go(func() error { return b.transactions.Coordinator.Run(serving) })
	g.Go(func() error { return b.shares.Run(serving) })
	g.Go(func() error { return b.hosted.Run(serving) })
	g.Go(func() error { return b.fetchers.Run(serving) })
	g.Go(func() error { return b.keeper.Run(serving) })
	g.Go(func() error { return b.repair.Run(serving) })
	g.Go(func() error { return b.server.Run(serving) })
	g.Go(func() error { return b.watchStorage(serving) })
	g.Go(func() error { return b.runSpace(serving) })
	g.Go(func() error { return b.runLagAges(serving) })
	g.Go(func() error { return b.scrub.Run(serving) })
	g.Go(func() error { return b.cleaner.Run(serving) })
	if b.console != nil {
		g.Go(func() error { return b.console.Run(serving) })
	}
	b.session.Ready()
	g.Go(func() error {
		if err := b.session.Active(serving); err != nil {
			return nil // it stops
		}
		b.serving.Store(true)
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
	b.stopping.Store(true)
	b.opts.Tell(Stopping)
	if told {
		b.leave()
	}
	end()
	b.api.Stop()
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

// watchStorage ends the broker when a part below the partitions has ended by itself.
func (b *Broker) watchStorage(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.background.Done():
		return fmt.Errorf("storage has stopped: %w", context.Cause(b.background))
	}
}

// close stops what serves nobody any more, from the top down. Called once
// nothing is served; parts that were never opened are passed over.
func (b *Broker) close() error {
	b.closeOnce.Do(func() { b.closeErr = b.closeParts() })
	return b.closeErr
}

func (b *Broker) closeParts() error {
	var errs []error
	if b.stateLogs != nil {
		b.stateLogs.Close()
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
		{b.console != nil, func() error { return b.console.Close() }},
		{true, b.closeListeners},
		{b.flusher != nil, func() error { return b.flusher.Close() }},
		{b.member != nil, func() error { return b.member.Close() }},
		{b.index != nil, func() error { return b.index.Close() }},
		{b.bucket != nil, func() error { return b.bucket.Close() }},
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

// telemetryFlush bounds the last push of metrics.
const telemetryFlush = 3 * time.Second

func (b *Broker) closeTelemetry() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryFlush)
	defer cancel()
	return b.telemetry.Close(ctx)
}

// fatal ends the process at once: what it is told may not be survived, or an
// acknowledgement after it would be a lie.
func (b *Broker) fatal(err error) {
	b.log.Error("the broker cannot go on", "error", err)
	os.Exit(exitFatal)
}

// exitFatal is the exit code of a broker that ended itself.
const exitFatal = 70
