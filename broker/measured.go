package broker

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/broker/sources"
	"github.com/qanat-io/qanat/broker/telemetry"
)

// Metrics and traces of this broker.

func (b *Broker) openTelemetry(ctx context.Context) (err error) {
	b.telemetry, err = telemetry.New(ctx, telemetry.Config{
		Version: b.opts.Version, NodeID: int32(b.node), ClusterID: b.dir.Meta.ClusterID,
		SeriesMax: int(b.cfg.Int("metrics.partition.series.max")),
		TraceSlow: b.cfg.Duration("trace.slow.ms"), TraceShare: b.cfg.Float("trace.sample.ratio"),
		ClientsMax: int(b.cfg.Int("metrics.clients.max")),
	}, b.log.With("part", "telemetry"))
	return err
}

// openSources has collections of metrics ask the parts, which are all there now.
func (b *Broker) openSources(connections *sources.Connections) {
	b.quorum.Subscribe(b.counters.Follow(b.node))
	b.sources = sources.New(sources.Parts{
		Node: b.node, Quorum: b.quorum, Hosted: b.hosted, Groups: b.coordinators.groups, Clock: &b.control.clock,
		Archive: b.tiers.archive, Losses: b.clients.backend.Losses, Cold: b.tiers.cold, Bucket: b.tiers.bucket, Scrubber: b.tiers.scrub, Cleaner: b.tiers.cleaner,
		Server: b.clients.server, Identities: b.identities, Connections: connections, Counters: &b.counters,
		Space: b.volume.space, Full: b.volume.full.Load,
	})
	b.telemetry.Connect(b.sources.Telemetry())
}

// telemetryFlush bounds the last push of metrics.
const telemetryFlush = 3 * time.Second

func (b *Broker) closeTelemetry() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryFlush)
	defer cancel()
	return b.telemetry.Close(ctx)
}
