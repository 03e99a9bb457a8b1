package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// backend answers the admin port.
type backend struct{ *Broker }

var errStopping = errors.New("the broker is stopping")

// Live is always true of a process that answers: what must not be survived ends it by itself.
func (b backend) Live() error { return nil }

func (b backend) Ready() error {
	switch {
	case b.stopping.Load():
		return errStopping
	case !b.serving.Load():
		return errors.New("the broker is starting")
	case b.quorum.LeaderID() == kafka.NoBroker:
		return errors.New("the metadata quorum has no leader")
	case b.session.State() == command.Fenced:
		return errors.New("the broker is fenced: the controller does not hear it, or it has not caught up")
	}
	if failed := b.hosted.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d partitions are offline; see /v1/status", len(failed))
	}
	return b.groups.Serving()
}

func (b backend) Status() console.Status {
	m := b.quorum.Image()
	s := console.Status{
		Version: b.opts.Version, ClusterID: b.dir.Meta.ClusterID, NodeID: int32(b.node), Started: b.started,
		DataDir: b.dir.Path, Bucket: b.bucketURL(), Topics: m.TopicCount(), Partitions: b.hosted.Len(),
		Offline: []console.OfflinePartition{},
	}
	if self, ok := m.Broker(b.node); ok {
		s.Listeners = listenersOf(self)
	}
	for i, l := range b.listeners {
		if i < len(s.Listeners) {
			s.Listeners[i].Address = l.Addr().String()
		}
	}
	for id, err := range b.hosted.Failed() {
		s.Offline = append(s.Offline, console.OfflinePartition{Topic: topicName(m, id), Partition: id.Index, Error: err.Error()})
	}
	b.hosted.Each(func(p *partition.Partition) {
		if err := p.Damage(); err != nil {
			s.Offline = append(s.Offline, console.OfflinePartition{Topic: p.Topic(), Partition: p.ID().Index, Error: err.Error()})
		}
	})
	return s
}

func (b *Broker) bucketURL() string {
	if !b.cfg.HasBucket() {
		return ""
	}
	return b.bucket.URL()
}

func topicName(m *image.Image, p kafka.Partition) string {
	if t, ok := m.TopicByID(p.Topic); ok {
		return t.Name
	}
	return p.Topic.String()
}

func listenersOf(r *image.Broker) []console.Listener {
	var list []console.Listener
	for _, e := range r.Endpoints {
		if e.Listener == adminEndpoint {
			continue
		}
		list = append(list, console.Listener{Name: e.Listener, Advertised: fmt.Sprintf("%s:%d", e.Host, e.Port)})
	}
	return list
}

// adminOf is where a broker's admin port is, as far as it has said.
func adminOf(r *image.Broker) string {
	for _, e := range r.Endpoints {
		if e.Listener == adminEndpoint {
			return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
		}
	}
	return ""
}

func (b backend) Quorum() console.Quorum {
	s := b.quorum.Status()
	q := console.Quorum{
		Leader: int32(s.LeaderID), Term: s.Term, Last: s.LastIndex, Commit: s.CommitIndex, Applied: s.AppliedIndex, Snapshot: s.SnapshotIndex,
	}
	for _, m := range s.Voters {
		q.Members = append(q.Members, console.Member{ID: int32(m.ID), Address: m.Addr, Voter: true})
	}
	for _, m := range s.NonVoters {
		q.Members = append(q.Members, console.Member{ID: int32(m.ID), Address: m.Addr})
	}
	return q
}

func (b backend) Storage(ctx context.Context, topic string) ([]console.TopicStorage, error) {
	m := b.quorum.Image()
	uploads := map[kafka.Partition]archive.Status{}
	for _, s := range b.archive.Status() {
		uploads[s.Partition] = s
	}
	failed := b.hosted.Failed()
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var list []console.TopicStorage
	m.Topics(func(t *image.Topic) bool {
		if topic != "" && t.Name != topic {
			return true
		}
		s := console.TopicStorage{Topic: t.Name, TopicID: t.ID.String(), Partitions: []console.PartitionStorage{}}
		m.Partitions(t.ID, func(p *image.Partition) bool {
			s.Partitions = append(s.Partitions, b.partitionStorage(ctx, p, uploads[p.Partition], failed[p.Partition]))
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

// coldOf counts the segments in the bucket, exactly: a manifest page that the log's start cuts is read for it. Where that fails it
// counts whole.
func (b *Broker) coldOf(ctx context.Context, p kafka.Partition, m manifest.Manifest) (segments int, bytes int64) {
	segments, bytes = m.Count(), m.Bytes()
	if pages := m.Pages(); len(pages) > 0 && pages[0].Base < m.Start() {
		if front, err := b.cold.Page(ctx, p, pages[0]); err == nil {
			n, gone := m.Trimmed(front)
			segments, bytes = segments-n, bytes-gone
		}
	}
	return segments, bytes
}

// countTimeout bounds how long an answer waits for coldOf in all.
const countTimeout = 5 * time.Second

func (b backend) partitionStorage(ctx context.Context, p *image.Partition, up archive.Status, failure error) console.PartitionStorage {
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
	if hosted := b.hosted.Get(p.Partition); hosted != nil {
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

func (b backend) Tier(ctx context.Context) (console.Tier, error) {
	if !b.cfg.HasBucket() {
		return console.Tier{}, console.ErrNoBucket
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	c := b.bucket.Counts()
	t := console.Tier{
		Bucket: b.bucket.URL(), Since: b.started, Puts: c.Puts, Gets: c.Gets, Heads: c.Heads, Lists: c.Lists, Deletes: c.Deletes,
		BytesUp: c.Up, BytesDown: c.Down, CacheBytes: b.cold.Stats().Held, Failing: []console.TierFailure{},
	}
	m := b.quorum.Image()
	for _, s := range b.archive.Status() {
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
	b.hosted.Each(func(p *partition.Partition) {
		hot, _ := p.Sizes()
		_, cold := b.coldOf(ctx, p.ID(), p.Log().Manifest())
		t.HotBytes += hot
		t.ColdBytes += cold
	})
	return t, nil
}

// sweepKeys bounds the keys that a sweep's answer lists.
const sweepKeys = 1000

func (b backend) Sweep(ctx context.Context, how console.HowToSweep) (console.Sweep, error) {
	if !b.cfg.HasBucket() {
		return console.Sweep{}, console.ErrNoBucket
	}
	// An upload of another broker's is older than this when it is committed only where it is made anew (see archive.nextToCommit).
	least := b.cfg.Duration("tier.orphan.grace.ms")
	if how.Grace == 0 {
		how.Grace = least
	}
	if how.Grace < least && !how.DryRun && !how.Force && b.quorum.Image().BrokerCount() > 1 {
		return console.Sweep{}, fmt.Errorf("a grace of %v could delete what another broker uploads at the moment; tier.orphan.grace.ms, %v, is the least in a cluster of several, unless force says that nothing is being uploaded",
			how.Grace, least)
	}
	r, err := b.archive.Sweep(ctx, live(b), how.Grace, how.DryRun)
	if err != nil {
		return console.Sweep{}, err
	}
	return console.Sweep{
		DryRun: how.DryRun, Objects: r.Objects, Orphans: r.Orphans, OrphanBytes: r.OrphanBytes, Keys: append([]string{}, r.Keys[:min(len(r.Keys), sweepKeys)]...),
	}, nil
}

// live tells the sweep what exists.
type live struct{ *Broker }

// currentTime bounds the question to the leader of the quorum.
const currentTime = 10 * time.Second

func (b live) Current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, currentTime)
	defer cancel()
	return b.quorum.Current(ctx)
}

func (b live) Manifest(p kafka.Partition) (manifest.Manifest, bool) {
	if ip, ok := b.quorum.Image().Partition(p); ok {
		return ip.Remote, true
	}
	return manifest.Manifest{}, false
}

// space is the data volume's size and what of it this process may still write.
func (b *Broker) space() (total, usable int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(b.dir.Path, &s); err != nil {
		return 0, 0, fmt.Errorf("space on %s: %w", b.dir.Path, err)
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize), nil
}
