package broker

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// committer is archive.Committer over the quorum: what the bucket holds is what the quorum says.
type committer struct{ q *quorum.Quorum }

func (c committer) CommitSegment(ctx context.Context, p kafka.Partition, e manifest.Entry) error {
	_, err := c.q.Propose(ctx, command.CommitSegment{Partition: p, Entry: e})
	return err
}

func (c committer) SpillSegments(ctx context.Context, p kafka.Partition, epoch kafka.LeaderEpoch, page manifest.Page) error {
	_, err := c.q.Propose(ctx, command.SpillSegments{Partition: p, Epoch: epoch, Page: page})
	return err
}

func (c committer) TrimSegments(ctx context.Context, p kafka.Partition, epoch kafka.LeaderEpoch, start kafka.Offset) error {
	_, err := c.q.Propose(ctx, command.TrimLog{Partition: p, Epoch: epoch, Start: start})
	return err
}

// live is archive.Live over the quorum: it tells what exists.
type live struct{ q *quorum.Quorum }

// currentTime bounds the question to the leader of the quorum.
const currentTime = 10 * time.Second

func (l live) Current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, currentTime)
	defer cancel()
	return l.q.Current(ctx)
}

func (l live) Manifest(p kafka.Partition) (manifest.Manifest, bool) {
	if ip, ok := l.q.Image().Partition(p); ok {
		return ip.Remote, true
	}
	return manifest.Manifest{}, false
}

func (l live) Each(f func(p kafka.Partition, m manifest.Manifest)) {
	l.q.Image().AllPartitions(func(p *image.Partition) bool {
		f(p.Partition, p.Remote)
		return true
	})
}
