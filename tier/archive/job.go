package archive

import (
	"context"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// job is a segment on its way to the bucket.
//
//	waiting ──▸ uploaded ──▸ committed ──▸ (published: forgotten)
//	   ▴ ▏           ▏ refused, or too old
//	   └─┘ failed    ▾
//	              dropped
type job struct {
	part    *part
	segment hot.SegmentInfo
	// base is the first offset to upload. It lies within the segment when what is
	// before was uploaded by another leader, whose segments had other borders.
	base  kafka.Offset
	epoch kafka.LeaderEpoch

	// The following are guarded by Archive.mu, but for what only the worker that runs the job touches.

	state      jobState
	queued     bool // waits in Archive.uploads
	running    bool // a worker has it
	committing bool // the quorum is being asked; perhaps by another worker than the one that has it
	dropped    bool // nobody wants it any more
	// attempted: a commit was tried and its outcome is not known, so the object must not be deleted here.
	attempted bool
	cancel    context.CancelCauseFunc // of the running attempt
	entry     manifest.Entry          // of the newest attempt
	key       string
	started   time.Time // of the newest attempt
	era       int       // of the bucket (whose.era), then
	// prepared is what the scan of the segment gave, kept for the next attempt. Owned by the worker.
	prepared *prepared
}

type jobState int

const (
	waiting jobState = iota
	uploaded
	committed
)

func (j *job) next() kafka.Offset { return j.segment.Next }

// enqueue gives the job to the workers if there is something to do. Under mu.
func (a *Archive) enqueue(j *job) {
	if j.queued || j.running || j.dropped || j.state == committed {
		return
	}
	// An uploaded job that is not the first only waits for those before it.
	if j.state == uploaded && (j.part.committing || j.part.jobs[0] != j) {
		return
	}
	j.queued = true
	a.uploads = append(a.uploads, j)
	a.signal()
}

// drop ends a job that nobody wants any more; it is no longer in its part's
// list after. What is in the bucket of it is deleted, unless the quorum may
// have taken it. Under mu.
func (a *Archive) drop(j *job, why error) {
	j.dropped = true
	if j.cancel != nil && !j.committing {
		j.cancel(why)
	}
	if j.running || j.committing {
		return // its worker cleans up
	}
	a.discard(j)
}

// discard forgets the newest attempt's object and, if it cannot have been
// committed, deletes it. Under mu.
func (a *Archive) discard(j *job) {
	if j.key != "" && j.state != committed && !j.attempted {
		a.deletes.add(deletion{key: j.key, size: j.entry.Size}, &a.stats)
		a.signal()
	}
	a.forget(j)
	j.state = waiting
	j.attempted = false
}

// forget ends the protection of the newest attempt's object from sweeps. Under mu.
func (a *Archive) forget(j *job) {
	delete(a.named, j.key)
	j.key = ""
}
