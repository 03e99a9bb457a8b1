package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/compact"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/index"
	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/scrub"
	"github.com/qanat-io/qanat/wire/kafka"
)

// tiers is what all logs share: below the partitions, on the disk and in the bucket.
type tiers struct {
	index   *index.Index
	bucket  *object.Counting
	flusher *hot.Flusher
	cold    *cold.Reader
	archive *archive.Archive
	scrub   *scrub.Scrubber
	cleaner *compact.Cleaner

	// uploadsInTurn: the bucket is a directory, whose objects are written one at a time.
	uploadsInTurn bool
	flushed       atomic.Int64 // when the flusher was last done, in Unix nanoseconds

	// What bounds work in the background: kept as numbers, which are asked for with every read, and followed as they are changed.
	uploadRate atomic.Int64 // bytes a second; 0 without limit
	cleaning   atomic.Pointer[compact.Config]
}

// bucketCheck bounds the look at the bucket when the broker starts.
const bucketCheck = 5 * time.Second

// openBucket opens the bucket and tries it. Before a directory is used a
// bucket that does not answer is a mistake to correct; later it may be an outage, which a broker outlives.
func (b *Broker) openBucket(ctx context.Context) error {
	if !b.cfg.HasBucket() {
		// No topic is tiered then (config.Topic.RemoteStorage), so nothing is ever kept there.
		b.tiers.bucket = object.NewCounting(object.NewMem(time.Now))
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
		d.Yield(b.tiers.uploadShare)
		b.tiers.uploadsInTurn = true
	}
	b.tiers.bucket = object.NewCounting(bucket)
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

// bucketURL is "" without a bucket.
func (b *Broker) bucketURL() string {
	if !b.cfg.HasBucket() {
		return ""
	}
	return b.tiers.bucket.URL()
}

// uploadShare is what uploads to a directory, which may lie on the log's own disk, may take of its time: little while producers wait for flushes
// (one has ended a moment ago), unless the backlog has grown.
func (t *tiers) uploadShare() float64 {
	const recently = 20 * time.Millisecond
	switch {
	case time.Now().UnixNano()-t.flushed.Load() > int64(recently):
		return 1
	case t.archive.Hurried():
		return 0.5
	}
	return 0.1
}

// openTiers builds flusher, cold reader and archive, which it starts, and what looks after closed segments, which acts from Run on.
func (b *Broker) openTiers(context.Context) error {
	if err := b.openFlusher(); err != nil {
		return err
	}
	b.tiers.cold = cold.NewReader(b.tiers.bucket, b.dir.Meta.ClusterID, cold.Config{
		MaxInFlight:  b.cfg.Int("tier.fetch.inflight.bytes"),
		CacheBytes:   b.cfg.Int("tier.cache.bytes"),
		Workers:      int(b.cfg.Int("remote.log.reader.threads")),
		MinReadahead: b.cfg.Int("tier.readahead.min.bytes"),
		MaxReadahead: b.cfg.Int("tier.readahead.max.bytes"),
		RangeSize:    b.cfg.Int("tier.fetch.range.bytes"),
	}, b.log.With("part", "cold"))
	b.openArchive()
	b.tiers.bucket.Observe(b.requested)
	b.openUpkeep()
	for _, run := range []func(context.Context) error{b.tiers.flusher.Run, b.tiers.cold.Run, b.tiers.archive.Run} {
		b.storage.Go(func() error { return run(b.background) })
	}
	return nil
}

func (b *Broker) openFlusher() error {
	at := b.dir.Partitions()
	if err := b.fs.MkdirAll(at); err != nil {
		return fmt.Errorf("create %s: %w", at, err)
	}
	if err := hot.RemoveDeleted(b.fs, at); err != nil {
		return fmt.Errorf("remove what interrupted deletions left: %w", err)
	}
	flusher, err := hot.NewFlusher(b.fs, at, journal.Config{}, time.Now, b.log.With("part", "flusher"), b.fatal)
	if err != nil {
		return err
	}
	b.tiers.flusher = flusher
	b.volume.look()
	flusher.Observe(func(logs int, took time.Duration) {
		b.tiers.flushed.Store(time.Now().UnixNano())
		b.telemetry.Flush(took, logs)
		b.volume.look()
	})
	return nil
}

func (b *Broker) openArchive() {
	t := &b.tiers
	t.archive = archive.New(t.bucket, committer{b.quorum}, live{b.quorum}, b.archiveConfig(), b.control.clock.Now, b.log.With("part", "archive"))
	t.archive.SpillWith(t.cold, committer{b.quorum}, int(b.cfg.Int("tier.manifest.page.entries")))
	t.archive.Observe(archive.Observer{
		Uploaded:     func(_ kafka.Partition, _ manifest.Entry, took time.Duration) { b.telemetry.Uploaded(took) },
		UploadFailed: func(kafka.Partition, error) { b.telemetry.TierFailed(telemetry.Upload) },
		Swept: func(began time.Time, lost []archive.Lost) {
			t.cold.Listed(began, func(p kafka.Partition) bool {
				return slices.ContainsFunc(lost, func(l archive.Lost) bool { return l.Partition == p })
			})
		},
	})
}

func (b *Broker) archiveConfig() archive.Config {
	workers := int(b.cfg.Int("remote.log.manager.copier.thread.pool.size"))
	if b.tiers.uploadsInTurn {
		workers = 1 // others would only read and check, beside the requests, what then waits for its turn
	}
	sweep := b.cfg.Duration("tier.sweep.interval.ms")
	if !b.cfg.HasBucket() || sweep == 0 {
		sweep = -1
	}
	return archive.Config{
		Cluster:        b.dir.Meta.ClusterID,
		Workers:        workers,
		BytesPerSecond: b.tiers.uploadRate.Load,
		StallTimeout:   b.cfg.Duration("tier.upload.stall.timeout.ms"),
		Interval:       b.cfg.Duration("log.retention.check.interval.ms"),
		OrphanGrace:    b.cfg.Duration("tier.orphan.grace.ms"),
		SweepInterval:  sweep,
	}
}

// openUpkeep builds what reads closed local segments again: the scrubber and compaction.
func (b *Broker) openUpkeep() {
	b.quorum.Subscribe(func(_, _ *image.Image, ch quorum.Changes) {
		if len(ch.Configs) > 0 {
			b.boundUpkeep()
		}
	})
	b.boundUpkeep()
	b.tiers.scrub = scrub.New(b.fs, func(yield func(scrub.Log)) {
		b.hosted.Each(func(p *partition.Partition) { yield(p.Log()) })
	}, scrub.Config{
		Interval: b.cfg.Duration("storage.scrub.interval.ms"), BytesPerSecond: b.cfg.Int("storage.scrub.bytes.per.second"),
		File: b.dir.Scrub(),
	}, time.Now, b.log.With("part", "scrub"))
	b.tiers.cleaner = compact.New(func(yield func(compact.Log)) {
		b.hosted.Each(func(p *partition.Partition) { yield(p.Compactable()) })
	}, func() compact.Config { return *b.tiers.cleaning.Load() }, b.control.clock.Now, b.log.With("part", "compaction"))
}

// boundUpkeep takes in what bounds work in the background, as the newest image has it.
func (b *Broker) boundUpkeep() {
	m := b.quorum.Image()
	now := b.cfg.Running(m.Configs(command.Broker, strconv.Itoa(int(b.node))), m.Configs(command.Broker, ""))
	b.tiers.uploadRate.Store(unbounded(now.Int("remote.log.manager.copy.max.bytes.per.second")))
	b.tiers.cleaning.Store(&compact.Config{
		MapBytes: now.Int("log.cleaner.dedupe.buffer.size"), Backoff: now.Duration("log.cleaner.backoff.ms"),
		BytesPerSecond: clampRate(now.Float("log.cleaner.io.max.bytes.per.second")),
	})
}

// unbounded is a rate as those below have it, who know "without limit" as 0.
func unbounded(rate int64) int64 {
	if rate == math.MaxInt64 {
		return 0
	}
	return rate
}

// clampRate is a rate in whole bytes a second, 0 where it is beyond what can be counted: without limit.
func clampRate(rate float64) int64 {
	if rate >= math.MaxInt64 {
		return 0
	}
	return max(int64(rate), 1)
}

// lookEvery is how often one object of a partition that this broker leads is asked for: 1,440 requests a day, which no bill shows.
const lookEvery = time.Minute

// lookAtObjects has one object looked at now and then, until ctx ends.
func (b *Broker) lookAtObjects(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var chosen *partition.Partition
		n := 0
		b.hosted.Each(func(p *partition.Partition) {
			if p.LeaderEpoch() < 0 || p.Log().Manifest().Len() == 0 {
				return
			}
			if n++; rand.IntN(n) == 0 { // each is chosen as often as any other
				chosen = p
			}
		})
		if chosen != nil {
			asked, cancel := context.WithTimeout(ctx, lookEvery/2)
			b.tiers.cold.Look(asked, chosen.ID(), chosen.Log().Manifest())
			cancel()
		}
	}
}

// requested is told of the bucket's requests. Uploads are told by the archive, whose attempts end at the quorum.
func (b *Broker) requested(verb object.Verb, took time.Duration, err error) {
	if errors.Is(err, object.ErrNotFound) || errors.Is(err, object.ErrNoBucket) {
		b.tiers.archive.Doubt()
	}
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
