package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/member"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

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

func (b *Broker) memberConfig(formed bool) member.Config {
	peers := b.cfg.Peers()
	c := member.Config{
		Quorum: quorum.Config{
			Dir:             b.dir.Metadata(),
			ID:              b.node,
			ClusterID:       b.dir.Meta.ClusterID,
			Directory:       b.dir.Meta.Directory(),
			Listen:          b.cfg.String("cluster.listener"),
			Advertise:       b.cfg.String("cluster.advertised"),
			Existing:        formed,
			Voters:          max(1, len(peers)),
			SnapshotEntries: uint64(b.cfg.Int("raft.snapshot.entries")),
			Fatal:           b.fatal,
			Stamp:           b.control.clock.Now,
		},
		Token: b.cfg.String("cluster.join.token"),
		TLS:   b.identities[config.ClusterListener], AllowPlain: b.cfg.Bool("cluster.plaintext.allowed"),
		Release: b.opts.Version,
	}
	for _, p := range peers {
		c.Seeds = append(c.Seeds, quorum.Seed{Node: kafka.BrokerID(p.ID), Address: p.Address})
	}
	return c
}
