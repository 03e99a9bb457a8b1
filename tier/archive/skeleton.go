package archive

import (
	"context"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Committer decides what exists: broker passes the quorum in.
type Committer interface {
	// CommitSegment adds e to the partition's manifest under the uploader's epoch; manifest.ErrStaleEpoch and
	// manifest.ErrNotContiguous are final refusals, other errors may be retried with the same entry.
	CommitSegment(ctx context.Context, p kafka.Partition, e manifest.Entry) error
	// TrimSegments moves the log start offset to start (only ever forward) and removes the entries wholly below it.
	TrimSegments(ctx context.Context, p kafka.Partition, epoch kafka.LeaderEpoch, start kafka.Offset) error
}

// Source is a partition as the archive sees it; tier/log implements it.
type Source interface {
	Partition() kafka.Partition
	Topic() string
	Epoch() kafka.LeaderEpoch    // -1 while not leader: nothing is uploaded
	Local() Local                // *hot.Log
	Manifest() manifest.Manifest // as last published
	Start() kafka.Offset         // log start offset
	StableEnd() kafka.Offset     // high watermark: only sealed segments wholly below it are uploaded
	Policy() Policy
}

// Local is what the archive needs of a local log; *hot.Log is one.
type Local interface {
	Segments() []hot.SegmentInfo
	Size() int64
	OpenSealed(base kafka.Offset) (*hot.Sealed, error)
	Roll() error
	ReleaseBefore(next kafka.Offset) (int64, error)
}

var _ Local = (*hot.Log)(nil)

// Policy is what the topic's configuration says.
type Policy struct {
	Remote         bool      // remote.storage.enable and not remote.log.copy.disable
	LocalRetention Retention // what may stay local once uploaded
	Retention      Retention // in all
}

// Retention; negative means without limit.
type Retention struct {
	Age   time.Duration
	Bytes int64
}

type Config struct {
	Cluster        string
	Workers        int
	BytesPerSecond int64         // upload budget, 0 without limit
	StallTimeout   time.Duration // an upload without progress for so long is cancelled and retried
	Interval       time.Duration // between looks at each partition; Poke asks for one now
	OrphanGrace    time.Duration
	SweepInterval  time.Duration
}

type Archive struct{}

func New(b object.Bucket, c Committer, cfg Config, clock func() time.Time, log *slog.Logger) *Archive {
	panic("skeleton")
}
func (a *Archive) Run(ctx context.Context) error { panic("skeleton") }
func (a *Archive) Add(s Source)                  { panic("skeleton") }
func (a *Archive) Remove(p kafka.Partition)      { panic("skeleton") }

// RemovePartition is Remove for a partition whose topic is deleted: its objects are deleted in the background.
func (a *Archive) RemovePartition(p kafka.Partition) { panic("skeleton") }

// Poke asks for a look at the partition soon (a segment was sealed, the high watermark passed it, the manifest changed).
func (a *Archive) Poke(p kafka.Partition) { panic("skeleton") }

// Sweep lists the bucket and deletes objects older than the grace that no manifest names; live answers for every partition in the image.
func (a *Archive) Sweep(ctx context.Context, live func(kafka.Partition) (m manifest.Manifest, exists bool), grace time.Duration, dryRun bool) (SweepReport, error) {
	panic("skeleton")
}

type SweepReport struct {
	Objects, Orphans int
	OrphanBytes      int64
	Keys             []string
}

// Status per partition: backlog in bytes and seconds, last error.
type Status struct {
	Partition    kafka.Partition
	PendingBytes int64
	PendingSince time.Time
	LastError    string
	LastErrorAt  time.Time
	Uploading    bool
}

func (a *Archive) Status() []Status { panic("skeleton") }
