package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/peer"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/broker/txncoordinator"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// coordinators decide for groups, transactions and shares; what they decide is in the image.
type coordinators struct {
	groups       *coordinator.Coordinator
	transactions *api.Transactions
	shares       *shareleader.Leader
	stateLogs    *statelog.Logs
}

// openCoordinators builds the coordinators, and has them follow the image. They act from Run on.
func (b *Broker) openCoordinators(context.Context) error {
	b.coordinators.groups = coordinator.New(b.groupConfig(), b.quorum, b.log.With("part", "groups"))
	b.openTransactions()
	b.openShares()
	b.quorum.Subscribe(b.followCoordinators)
	b.coordinators.stateLogs = statelog.New(b.node, b.quorum)
	return nil
}

func (b *Broker) groupConfig() coordinator.Config {
	c := coordinator.DefaultConfig()
	c.Node, c.Leased, c.Clock = b.node, b.control.session.Leased, b.control.clock.Now

	c.Limits.InitialDelay = b.cfg.Duration("group.initial.rebalance.delay.ms")
	c.Limits.MinSession = b.cfg.Duration("group.min.session.timeout.ms")
	c.Limits.MaxSession = b.cfg.Duration("group.max.session.timeout.ms")
	c.Limits.MaxSize = int(b.cfg.Int("group.max.size"))

	c.Consumer.Session = bounded(b.cfg, "consumer", "session.timeout")
	c.Consumer.Heartbeat = bounded(b.cfg, "consumer", "heartbeat.interval")
	c.Consumer.Limits.MaxSize = int(b.cfg.Int("group.consumer.max.size"))
	c.Consumer.Limits.Assignors = b.cfg.Strings("group.consumer.assignors")
	policy := b.cfg.String("group.consumer.migration.policy")
	c.Consumer.Upgrade = policy == "bidirectional" || policy == "upgrade"
	c.Consumer.Downgrade = policy == "bidirectional" || policy == "downgrade"

	c.Share.Session = bounded(b.cfg, "share", "session.timeout")
	c.Share.Heartbeat = bounded(b.cfg, "share", "heartbeat.interval")
	c.Share.Limits.MaxSize = int(b.cfg.Int("group.share.max.size"))

	c.Streams.Session = bounded(b.cfg, "streams", "session.timeout")
	c.Streams.Heartbeat = bounded(b.cfg, "streams", "heartbeat.interval")
	c.Streams.Interval = bounded(b.cfg, "streams", "assignment.interval")
	c.Streams.Delay = b.cfg.Duration("group.streams.initial.rebalance.delay.ms")
	c.Streams.Standbys = int(b.cfg.Int("group.streams.num.standby.replicas"))
	c.Streams.MaxStandbys = int(b.cfg.Int("group.streams.max.standby.replicas"))
	c.Streams.Limits.MaxSize = int(b.cfg.Int("group.streams.max.size"))

	c.OffsetMetadataBytes = int(b.cfg.Int("offset.metadata.max.bytes"))
	c.OffsetsRetention = time.Duration(b.cfg.Int("offsets.retention.minutes")) * time.Minute
	c.CheckInterval = b.cfg.Duration("offsets.retention.check.interval.ms")
	return c
}

// bounded is a time that groups of a protocol may set for themselves.
func bounded(cfg *config.Broker, protocol, what string) coordinator.Bounded {
	of := func(bound string) time.Duration {
		return cfg.Duration("group." + protocol + "." + bound + what + ".ms")
	}
	return coordinator.Bounded{Default: of(""), Min: of("min."), Max: of("max.")}
}

// followCoordinators keeps groups and transactional ids where the image places them.
func (b *Broker) followCoordinators(_, m *image.Image, ch quorum.Changes) {
	if len(ch.Coordinators) == 0 {
		return
	}
	if err := b.coordinators.groups.Follow(m); err != nil {
		b.fatal(fmt.Errorf("take over groups: %w", err))
	}
	b.coordinators.transactions.Coordinator.Follow(m)
}

// openTransactions makes the coordinator of transactions, and serves what brokers ask one another of them.
func (b *Broker) openTransactions() {
	leader := &txncoordinator.Leader{Quorum: b.quorum, Find: b.hosted.Get}
	peers := txnPeers{enlist: b.member.Hub.NewClient(), mark: b.member.Hub.NewClient()}
	c := txncoordinator.New(txncoordinator.Config{
		Node: b.node, Leased: b.control.session.Leased,
		NewProducerID: func(ctx context.Context) (kafka.ProducerID, error) { return b.clients.api.NewProducerID(ctx) },
		MaxTimeout:    b.cfg.Duration("transaction.max.timeout.ms"),
		Expiry:        b.cfg.Duration("transactional.id.expiration.ms"),
		Sweep:         b.cfg.Duration("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
	}, b.quorum, peers, leader, time.Now, b.log.With("part", "transactions"))
	b.coordinators.transactions = &api.Transactions{Coordinator: c, Leader: leader}
	b.member.Mux.Register(peer.KeyEnlist, func(ctx context.Context, _ wire.Peer, _ int16, body []byte) ([]byte, error) {
		return c.ServeEnlist(ctx, body)
	})
	b.member.Mux.Register(peer.KeyMark, func(ctx context.Context, _ wire.Peer, _ int16, body []byte) ([]byte, error) {
		return leader.Mark(ctx, body)
	})
}

// txnPeers is the way to other brokers as package txncoordinator sees it. An answer to Mark comes when followers have fetched, and
// answers of a connection leave in order: what is quick has a connection of its own.
type txnPeers struct{ enlist, mark *peer.Client }

func (p txnPeers) Enlist(ctx context.Context, node kafka.BrokerID, body []byte) ([]byte, error) {
	return p.enlist.Do(ctx, node, peer.KeyEnlist, 0, body)
}

func (p txnPeers) Mark(ctx context.Context, node kafka.BrokerID, body []byte) ([]byte, error) {
	return p.mark.Do(ctx, node, peer.KeyMark, 0, body)
}

// openShares makes the leader of share groups' shares, and has it follow the partitions and groups that it is of.
func (b *Broker) openShares() {
	shares := shareleader.New(shareleader.Config{
		Node: b.node, Find: api.ShareLogs(b.hosted.Get), Settings: api.ShareSettings(b.cfg), Leased: b.control.session.Leased,
		Sessions: int(b.cfg.Int("group.share.max.share.sessions")), Forget: b.tiers.cold.Forget,
	}, b.quorum, b.log.With("part", "shares"))
	b.coordinators.shares = shares
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		if len(ch.Topics)+len(ch.Partitions)+len(ch.Groups) > 0 {
			shares.Follow(m)
		}
	})
}
