package broker

import (
	"time"

	"github.com/qanat-io/qanat/broker/replica"
	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// replication copies partitions from broker to broker.
type replication struct {
	fetchers *replica.Fetchers
	keeper   *replica.Keeper
	repair   *replica.Repair
	throttle *throttle.Replication
}

// openReplication builds replication. It acts from Run on.
func (b *Broker) openReplication() {
	log, r := b.log.With("part", "replication"), &b.replication
	r.fetchers = replica.New(replica.Config{
		Node:              b.node,
		MaxWait:           b.cfg.Duration("replica.fetch.wait.max.ms"),
		MaxBytes:          int32(b.cfg.Int("replica.fetch.response.max.bytes")),
		MaxPartitionBytes: int32(b.cfg.Int("replica.fetch.max.bytes")),
		BackOff:           b.cfg.Duration("replica.fetch.backoff.ms"),
	}, b.member.Hub.NewClient(), b.tiers.flusher, b.epoch, log)
	r.throttle = throttle.New(b.node, b.cfg, b.quorum.Image, time.Now)
	r.fetchers.SetThrottle(r.throttle)
	b.quorum.Subscribe(func(_, _ *image.Image, ch quorum.Changes) {
		if len(ch.Configs)+len(ch.Topics) > 0 {
			r.throttle.Follow()
		}
	})
	r.throttle.Follow()
	r.keeper = replica.NewKeeper(b.quorum, b.hosted.Each, b.cfg.Duration("replica.lag.time.max.ms"), log)
	b.quorum.Subscribe(func(_, _ *image.Image, ch quorum.Changes) {
		if len(ch.Brokers) > 0 {
			r.keeper.TellAll()
		}
	})
	r.repair = replica.NewRepair(b.node, b.quorum, b.hosted.Each, b.hosted.Failed, b.volume.full.Load, log)
	b.hosted.SetFollowers(r.fetchers)
}

// epoch is this broker's registration, as its image knows it; 0 before.
func (b *Broker) epoch() kafka.BrokerEpoch {
	if self, ok := b.quorum.Image().Broker(b.node); ok {
		return self.Epoch
	}
	return 0
}
