package broker

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/hot"
	tierlog "github.com/qanat-io/qanat/tier/log"
)

// openHosted makes the empty set of partitions, and what copies them from broker to broker.
func (b *Broker) openHosted(context.Context) error {
	b.hosted = hosted.New(b.partitionEnv(), b.dir.Partition, b.cfg, b.tiers.archive, b.log.With("part", "partitions"))
	b.openReplication()
	return nil
}

func (b *Broker) partitionEnv() partition.Env {
	log := b.log.With("part", "log")
	return partition.Env{
		Log: tierlog.Env{
			Hot: hot.Env{
				FS: b.fs, Flusher: b.tiers.flusher, Index: b.tiers.index, Clock: time.Now, Log: log, Suspect: b.tiers.scrub.Suspect,
			},
			Cold: b.tiers.cold,
			Log:  log,
		},
		Node:           b.node,
		Clock:          time.Now,
		Sealed:         b.tiers.archive.Poke,
		Full:           b.volume.full.Load,
		Deadlines:      partition.NewDeadlines(time.Now),
		ISR:            func(p *partition.Partition) { b.replication.keeper.Tell(p) },
		ProducerExpiry: b.cfg.Duration("producer.id.expiration.ms"),
		Traffic:        b.counters.Traffic,
		Traced:         b.telemetry.Tracing(),
		Logger:         log,
	}
}

// openPartitions opens what the image places here and from then on follows it.
func (b *Broker) openPartitions(ctx context.Context) error {
	found, err := b.tidyPartitions()
	if err != nil {
		return err
	}
	b.hosted.Found(found)
	loaded := make(chan struct{}) // changes wait until the partitions of the first image are open
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		<-loaded
		b.hosted.Apply(b.background, m, ch)
	})
	b.hosted.Load(ctx, b.quorum.Image())
	close(loaded)
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
