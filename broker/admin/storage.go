package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Storage is where the records of one topic are, or of all for "".
func (b *Backend) Storage(ctx context.Context, topic string) ([]console.TopicStorage, error) {
	m := b.parts.Quorum.Image()
	uploads := map[kafka.Partition]archive.Status{}
	for _, s := range b.parts.Archive.Status() {
		uploads[s.Partition] = s
	}
	failed, losses := b.parts.Hosted.Failed(), b.losses()
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var list []console.TopicStorage
	m.Topics(func(t *image.Topic) bool {
		if topic != "" && t.Name != topic {
			return true
		}
		s := console.TopicStorage{Topic: t.Name, TopicID: t.ID.String(), Partitions: []console.PartitionStorage{}}
		m.Partitions(t.ID, func(p *image.Partition) bool {
			ps := b.partitionStorage(ctx, p, uploads[p.Partition], failed[p.Partition])
			ps.Unreadable = losses[p.Partition].what
			s.Partitions = append(s.Partitions, ps)
			return true
		})
		list = append(list, s)
		return true
	})
	if topic != "" && len(list) == 0 {
		return nil, fmt.Errorf("%w: topic %q", console.ErrNotFound, topic)
	}
	return list, nil
}

// countTimeout bounds how long an answer waits for coldOf in all.
const countTimeout = 5 * time.Second

// coldOf counts the segments in the bucket, exactly: a manifest page that the log's start cuts is read for it. Where that fails it
// counts whole.
func (b *Backend) coldOf(ctx context.Context, p kafka.Partition, m manifest.Manifest) (segments int, bytes int64) {
	segments, bytes = m.Count(), m.Bytes()
	if pages := m.Pages(); len(pages) > 0 && pages[0].Base < m.Start() {
		if front, err := b.parts.Cold.Page(ctx, p, pages[0]); err == nil {
			n, gone := m.Trimmed(front)
			segments, bytes = segments-n, bytes-gone
		}
	}
	return segments, bytes
}

func (b *Backend) partitionStorage(ctx context.Context, p *image.Partition, up archive.Status, failure error) console.PartitionStorage {
	segments, bytes := b.coldOf(ctx, p.Partition, p.Remote)
	s := console.PartitionStorage{
		Partition: p.Index, Leader: int32(p.Leader), LeaderEpoch: int32(p.LeaderEpoch), LogStart: int64(p.LogStart),
		Cold: console.Extent{
			Start: int64(max(p.Remote.Start(), p.LogStart)), End: int64(p.Remote.End()), Bytes: bytes, Segments: segments, Pages: len(p.Remote.Pages()),
		},
		Upload: console.Upload{
			Uploading: up.Uploading, PendingBytes: up.PendingBytes, LastError: up.LastError,
		},
	}
	if p.Remote.Len() == 0 {
		s.Cold = console.Extent{}
	}
	if !up.PendingSince.IsZero() {
		s.Upload.PendingSeconds = time.Since(up.PendingSince).Seconds()
	}
	if up.LastError != "" {
		s.Upload.LastErrorAt = &up.LastErrorAt
	}
	if failure != nil {
		s.Error = failure.Error()
	}
	if hosted := b.parts.Hosted.Get(p.Partition); hosted != nil {
		local, _ := hosted.Sizes()
		s.HighWatermark, s.LogEnd = int64(hosted.HighWatermark()), int64(hosted.LocalEnd())
		s.Hot = console.Extent{
			Start: int64(hosted.Log().LocalStart()), End: s.LogEnd, Bytes: local, Segments: len(hosted.Log().Local().Segments()),
		}
		if err := hosted.Damage(); err != nil { // behind Segments, which may have found it
			s.Error = err.Error()
		}
		s.Upload.Enabled = hosted.Log().Policy().Remote
	}
	return s
}

// Tier is what went to the bucket and came from it, and what still has to go.
func (b *Backend) Tier(ctx context.Context) (console.Tier, error) {
	if !b.parts.Config.HasBucket() {
		return console.Tier{}, console.ErrNoBucket
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	c := b.parts.Bucket.Counts()
	t := console.Tier{
		Bucket: b.parts.Bucket.URL(), Since: b.parts.Started, Puts: c.Puts, Gets: c.Gets, Heads: c.Heads, Lists: c.Lists, Deletes: c.Deletes,
		BytesUp: c.Up, BytesDown: c.Down, CacheBytes: b.parts.Cold.Stats().Held, Failing: []console.TierFailure{},
	}
	if err := b.parts.Archive.Held(); err != nil {
		t.Held = err.Error()
	}
	m := b.parts.Quorum.Image()
	t.Lost = tierLosses(m, b.losses())
	for _, s := range b.parts.Archive.Status() {
		t.BacklogBytes += s.PendingBytes
		if !s.PendingSince.IsZero() {
			t.BacklogSeconds = max(t.BacklogSeconds, time.Since(s.PendingSince).Seconds())
		}
		if s.Uploading {
			t.Uploading++
		}
		if s.LastError != "" {
			t.Failing = append(t.Failing, console.TierFailure{
				Topic: topicName(m, s.Partition), Partition: s.Partition.Index, PendingBytes: s.PendingBytes, Error: s.LastError, At: s.LastErrorAt,
			})
		}
	}
	slices.SortFunc(t.Failing, func(x, y console.TierFailure) int {
		if x.Topic != y.Topic {
			return strings.Compare(x.Topic, y.Topic)
		}
		return int(x.Partition - y.Partition)
	})
	b.parts.Hosted.Each(func(p *partition.Partition) {
		hot, _ := p.Sizes()
		_, cold := b.coldOf(ctx, p.ID(), p.Log().Manifest())
		t.HotBytes += hot
		t.ColdBytes += cold
	})
	return t, nil
}

// tierLosses are losses in the console's words, in order; never nil.
func tierLosses(m *image.Image, of map[kafka.Partition]loss) []console.TierLoss {
	list := make([]console.TierLoss, 0, len(of))
	for p, l := range of {
		list = append(list, console.TierLoss{Topic: topicName(m, p), Partition: p.Index, Objects: l.objects, Error: l.what, At: l.at})
	}
	slices.SortFunc(list, func(x, y console.TierLoss) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return list
}

// sweepKeys bounds the keys, and the partitions, that a sweep's answer lists.
const sweepKeys = 1000

// Sweep deletes orphans from the bucket.
func (b *Backend) Sweep(ctx context.Context, how console.HowToSweep) (console.Sweep, error) {
	if !b.parts.Config.HasBucket() {
		return console.Sweep{}, console.ErrNoBucket
	}
	// An upload of another broker's is older than this when it is committed only where it is made anew (see archive.nextToCommit).
	least := b.parts.Config.Duration("tier.orphan.grace.ms")
	if how.Grace == 0 {
		how.Grace = least
	}
	if how.Grace < least && !how.DryRun && !how.Force && b.parts.Quorum.Image().BrokerCount() > 1 {
		return console.Sweep{}, fmt.Errorf("a grace of %v could delete what another broker uploads at the moment; tier.orphan.grace.ms, %v, is the least in a cluster of several, unless force says that nothing is being uploaded",
			how.Grace, least)
	}
	r, err := b.parts.Archive.Sweep(ctx, how.Grace, how.DryRun)
	if err != nil {
		return console.Sweep{}, err
	}
	return console.Sweep{
		DryRun: how.DryRun, GraceSeconds: how.Grace.Seconds(), Objects: r.Objects, Orphans: r.Orphans, OrphanBytes: r.OrphanBytes, Young: r.Young, Named: r.Named, Missing: r.Missing,
		Keys: append([]string{}, r.Keys[:min(len(r.Keys), sweepKeys)]...), Lost: tierLosses(b.parts.Quorum.Image(), lossesOf(nil, r.Lost[:min(len(r.Lost), sweepKeys)])),
	}, nil
}
