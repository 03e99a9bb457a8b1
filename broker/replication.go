package broker

import (
	"time"

	"github.com/qanat-io/qanat/broker/replica"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// openReplication builds what copies partitions from broker to broker. It acts from Run on.
func (b *Broker) openReplication() {
	log := b.log.With("part", "replication")
	b.fetchers = replica.New(replica.Config{
		Node:              b.node,
		MaxWait:           b.cfg.Duration("replica.fetch.wait.max.ms"),
		MaxBytes:          int32(b.cfg.Int("replica.fetch.response.max.bytes")),
		MaxPartitionBytes: int32(b.cfg.Int("replica.fetch.max.bytes")),
		BackOff:           b.cfg.Duration("replica.fetch.backoff.ms"),
	}, b.member.Hub.NewClient(), b.flusher, b.epoch, log)
	b.throttle = throttle.New(b.node, b.cfg, b.quorum.Image, time.Now)
	b.fetchers.SetThrottle(b.throttle)
	b.quorum.Subscribe(func(_, _ *image.Image, ch quorum.Changes) {
		if len(ch.Configs)+len(ch.Topics) > 0 {
			b.throttle.Follow()
		}
	})
	b.throttle.Follow()
	b.keeper = replica.NewKeeper(b.quorum, b.hosted.Each, b.cfg.Duration("replica.lag.time.max.ms"), log)
	b.quorum.Subscribe(func(_, _ *image.Image, ch quorum.Changes) {
		if len(ch.Brokers) > 0 {
			b.keeper.TellAll()
		}
	})
	b.repair = replica.NewRepair(b.node, b.quorum, b.hosted.Each, b.hosted.Failed, b.full.Load, log)
	b.hosted.SetFollowers(b.fetchers)
}

// epoch is this broker's registration, as its image knows it; 0 before.
func (b *Broker) epoch() kafka.BrokerEpoch {
	if self, ok := b.quorum.Image().Broker(b.node); ok {
		return self.Epoch
	}
	return 0
}
