package broker

import (
	"github.com/qanat-io/qanat/broker/api"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
)

// openShares makes the leader of share groups' shares, and has it follow the partitions and groups that it is of.
func (b *Broker) openShares() {
	b.shares = shareleader.New(shareleader.Config{
		Node: b.node, Find: api.ShareLogs(b.hosted.Get), Settings: api.ShareSettings(b.cfg), Leased: b.leased,
		Sessions: int(b.cfg.Int("group.share.max.share.sessions")), Forget: b.cold.Forget,
	}, b.quorum, b.log.With("part", "shares"))
	b.quorum.Subscribe(func(_, m *image.Image, ch quorum.Changes) {
		if len(ch.Topics)+len(ch.Partitions)+len(ch.Groups) > 0 {
			b.shares.Follow(m)
		}
	})
}
