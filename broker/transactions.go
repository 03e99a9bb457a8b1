package broker

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/peer"
	"github.com/qanat-io/qanat/broker/txncoordinator"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// openTransactions makes the coordinator of transactions, and serves what brokers ask one another of them.
func (b *Broker) openTransactions() {
	leader := &txncoordinator.Leader{Quorum: b.quorum, Find: b.hosted.Get}
	peers := txnPeers{enlist: b.member.Hub.NewClient(), mark: b.member.Hub.NewClient()}
	b.transactions = &api.Transactions{
		Coordinator: txncoordinator.New(txncoordinator.Config{
			Node: b.node, Leased: b.session.Leased,
			NewProducerID: func(ctx context.Context) (kafka.ProducerID, error) { return b.api.NewProducerID(ctx) },
			MaxTimeout:    b.cfg.Duration("transaction.max.timeout.ms"),
			Expiry:        b.cfg.Duration("transactional.id.expiration.ms"),
			Sweep:         b.cfg.Duration("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		}, b.quorum, peers, leader, time.Now, b.log.With("part", "transactions")),
		Leader: leader,
	}
	b.member.Mux.Register(peer.KeyEnlist, func(ctx context.Context, _ wire.Peer, _ int16, body []byte) ([]byte, error) {
		return b.transactions.Coordinator.ServeEnlist(ctx, body)
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
