package archive

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Status per partition: backlog in bytes and seconds, last error.
type Status struct {
	Partition kafka.Partition
	// PendingBytes are closed and stable but not yet in the manifest; PendingSince
	// is when the oldest of them was closed, zero when there are none.
	PendingBytes int64
	PendingSince time.Time
	// OverdueBytes of those are kept on the local disk only because the bucket does not have them.
	OverdueBytes int64
	LastError    string
	LastErrorAt  time.Time
	FailingSince time.Time // the first of the failures in a row that LastError ends; zero when the last attempt went well
	Uploading    bool
}

// Status returns every partition's, by partition, as of its last look.
func (a *Archive) Status() []Status {
	a.mu.Lock()
	all := make([]Status, 0, len(a.parts))
	for _, p := range a.parts {
		all = append(all, a.statusOf(p))
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y Status) int {
		return cmp.Or(slices.Compare(x.Partition.Topic[:], y.Partition.Topic[:]), cmp.Compare(x.Partition.Index, y.Partition.Index))
	})
	return all
}

// Failing returns those whose attempts have failed, one after the other, for at least so long, in no order.
func (a *Archive) Failing(least time.Duration) (list []Status) {
	before := a.clock().Add(-least)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.parts {
		if since := p.status.FailingSince; !since.IsZero() && !since.After(before) {
			list = append(list, p.status)
		}
	}
	return list
}

// PartitionStatus returns one partition's; ok is false when the archive does not know it.
func (a *Archive) PartitionStatus(id kafka.Partition) (s Status, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.parts[id]
	if p == nil {
		return Status{}, false
	}
	return a.statusOf(p), true
}

// statusOf is the partition's status; where the bucket is wrong, that is what keeps its segments. Under mu.
func (a *Archive) statusOf(p *part) Status {
	s := p.status
	if w := &a.whose; w.why != nil && s.PendingBytes > 0 {
		s.LastError, s.LastErrorAt = w.why.Error(), w.since
	}
	return s
}

// leisure is a backlog that may wait while others want the disk.
const leisure = 4 << 30

// Hurried tells whether uploads must not wait for better times: the backlog has grown large, or keeps local segments that retention no longer wants.
// Cheap enough to be asked for every piece of an upload.
func (a *Archive) Hurried() bool { return a.overdue.Load() > 0 || a.backlog.Load() > leisure }

// Observer is told of what happens, as it happens, from any goroutine and
// without locks held. Every field may be nil. It must not block.
type Observer struct {
	Uploaded     func(p kafka.Partition, e manifest.Entry, took time.Duration)
	UploadFailed func(p kafka.Partition, err error)
	Deleted      func(key string, size int64)
	// Swept: a sweep that began then has listed all that is there; lost is what it missed.
	Swept func(began time.Time, lost []Lost)
}

// Observe installs the observer. Called before Run.
func (a *Archive) Observe(o Observer) { a.observer = o }

// Stats are sums since the start, but for the last five, which are now.
type Stats struct {
	Uploads        int64 // objects put
	UploadBytes    int64
	UploadTime     time.Duration // of all of them together, scan included
	UploadFailures int64         // attempts
	Throttled      int64         // of those, because the store asked for patience
	Commits        int64
	Refused        int64 // commits refused for good: another leads, or has uploaded
	Deletions      int64 // objects deleted
	DeletedBytes   int64
	DeleteFailures int64 // attempts
	DeletesSkipped int64 // left to a sweep because the queue was full
	Swept          int64 // orphans deleted by Run's sweeps
	ReleasedBytes  int64 // local segments deleted

	PendingBytes   int64     // backlog of all partitions
	PendingSince   time.Time // of its oldest, zero when there is none
	DeletesWaiting int
	Failing        int       // partitions whose last attempt has failed
	FailingSince   time.Time // of those, the one that has failed for longest; zero when there is none
}

type counters struct {
	uploads, uploadBytes, uploadNanos, uploadFailures, throttled atomic.Int64
	commits, refused                                             atomic.Int64
	deletions, deletedBytes, deleteFailures, deletesSkipped      atomic.Int64
	swept, released                                              atomic.Int64
}

// Stats returns the archive's sums.
func (a *Archive) Stats() Stats {
	c := &a.stats
	s := Stats{
		Uploads: c.uploads.Load(), UploadBytes: c.uploadBytes.Load(), UploadTime: time.Duration(c.uploadNanos.Load()),
		UploadFailures: c.uploadFailures.Load(), Throttled: c.throttled.Load(),
		Commits: c.commits.Load(), Refused: c.refused.Load(),
		Deletions: c.deletions.Load(), DeletedBytes: c.deletedBytes.Load(),
		DeleteFailures: c.deleteFailures.Load(), DeletesSkipped: c.deletesSkipped.Load(),
		Swept: c.swept.Load(), ReleasedBytes: c.released.Load(),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.DeletesWaiting = len(a.deletes.queue)
	for _, p := range a.parts {
		s.PendingBytes += p.status.PendingBytes
		if since := p.status.PendingSince; !since.IsZero() && (s.PendingSince.IsZero() || since.Before(s.PendingSince)) {
			s.PendingSince = since
		}
		if since := p.status.FailingSince; !since.IsZero() {
			if s.Failing++; s.FailingSince.IsZero() || since.Before(s.FailingSince) {
				s.FailingSince = since
			}
		}
	}
	return s
}
