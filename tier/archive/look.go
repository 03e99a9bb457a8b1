package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// commitTimeout bounds one wait for the quorum.
const commitTimeout = 30 * time.Second

// maxJobs is how many segments of one partition are on their way at once:
// enough to use the bucket's bandwidth for one busy partition.
const maxJobs = 4

// errGap says that the local log begins behind the end of the remote one.
var errGap = errors.New("local segments are missing that the bucket does not hold: nothing can be uploaded")

// look does for a partition what is due: total retention first, since it
// must work when all else fails; then the release of local segments; then the
// plan of what to upload. One look at a time.
func (a *Archive) look(ctx context.Context, p *part) error {
	src := p.src
	epoch := src.Epoch()
	v := a.view(src)

	var errs []error
	if epoch >= 0 {
		a.deleteRemoved(ctx, p, v.manifest, v.start)
		if err := a.expire(ctx, p, epoch, v); err != nil {
			errs = append(errs, err)
		}
		v = a.view(src) // as published by now
		a.deleteRemoved(ctx, p, v.manifest, v.start)
		if err := a.spill(ctx, p, epoch, v); err != nil {
			errs = append(errs, err)
		}
	} else {
		p.seen = manifest.Manifest{}
		a.forgetPage(p)
	}
	if err := a.release(p, v); err != nil {
		errs = append(errs, err)
	}
	if err := a.plan(p, epoch, v); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// view reads a partition. The manifest comes first: segments are judged by
// what was published before they were looked at.
func (a *Archive) view(src Source) *view {
	v := &view{manifest: src.Manifest(), start: src.Start(), stable: src.StableEnd(), policy: src.Policy(), now: a.clock()}
	v.segments = src.Local().Segments()
	v.held = a.held()
	return v
}

// expire proposes a new log start when retention says so.
func (a *Archive) expire(ctx context.Context, p *part, epoch kafka.LeaderEpoch, v *view) error {
	unread := a.loadFront(ctx, p, v) // what goes without it, goes
	start, roll := v.expire()
	if roll {
		if err := p.src.Local().Roll(); err != nil {
			return fmt.Errorf("roll expired segment: %w", err)
		}
		a.Poke(p.id) // it is expired once it is durable
	}
	// An entry below the start can be left by an upload that was committed while the start moved past it.
	stale := v.manifest.Len() > 0 && len(v.manifest.Pages()) == 0 && v.manifest.At(0).Next <= v.start
	if start <= v.start && !stale {
		return unread
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := a.committer.TrimSegments(ctx, p.id, epoch, start); err != nil {
		return fmt.Errorf("move log start to %d: %w", start, err)
	}
	if start > v.start {
		a.log.Info("log start moved by retention", "topic", p.topic, "partition", p.id.Index, "start", start)
	}
	return unread
}

// deleteRemoved queues the objects of entries that have left the manifest at its front.
func (a *Archive) deleteRemoved(ctx context.Context, p *part, m manifest.Manifest, start kafka.Offset) {
	if m.Len() > 0 {
		start = m.Start()
	}
	gone := a.removedFromPages(ctx, p, p.seen, start)
	_, removed := p.seen.TrimBefore(start)
	p.seen = m
	if len(removed) == 0 && len(gone) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range gone {
		a.deletes.add(d, &a.stats)
	}
	for _, e := range removed {
		if m.Holds(e) {
			panic(fmt.Sprintf("object %s is to be deleted and is in the manifest", e.Key(a.cfg.Cluster, p.id)))
		}
		a.deletes.add(deletion{key: e.Key(a.cfg.Cluster, p.id), size: e.Size}, &a.stats)
	}
	a.signal()
}

// release deletes local segments that nobody needs.
func (a *Archive) release(p *part, v *view) error {
	upto := v.releasable()
	if len(v.segments) == 0 || upto <= v.segments[0].Base {
		return nil
	}
	n, err := p.src.Local().ReleaseBefore(upto)
	if n > 0 {
		a.stats.released.Add(n)
		a.log.Debug("local segments released", "topic", p.topic, "partition", p.id.Index, "below", upto, "bytes", n)
	}
	if err != nil {
		return fmt.Errorf("release local segments below %d: %w", upto, err)
	}
	return nil
}

// plan brings the partition's jobs in line with what is there, and queues those that may begin.
func (a *Archive) plan(p *part, epoch kafka.LeaderEpoch, v *view) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.removed {
		return nil
	}
	pending := v.pending()
	a.reconcile(p, epoch, v, pending)
	a.note(p, v, pending)
	if epoch < 0 || !v.policy.Remote {
		return nil
	}
	// frontier is where the next job begins.
	frontier := v.manifest.End()
	switch {
	case len(p.jobs) > 0:
		frontier = p.jobs[len(p.jobs)-1].next()
	case v.manifest.Len() == 0 && len(pending) > 0:
		frontier = pending[0].Base
	}
	for _, s := range pending {
		if len(p.jobs) >= maxJobs {
			break
		}
		if s.Next <= frontier {
			continue
		}
		if s.Base > frontier {
			return fmt.Errorf("%w: remote log ends at %d, local begins at %d", errGap, frontier, s.Base)
		}
		p.jobs = append(p.jobs, &job{part: p, segment: s, base: frontier, epoch: epoch})
		frontier = s.Next
	}
	if time.Now().Before(p.notBefore) {
		return nil
	}
	for _, j := range p.jobs {
		a.enqueue(j)
	}
	return nil
}

// reconcile drops the jobs that make no sense any more: published, of another
// epoch, of a segment that has expired or changed, or of a topic that is no longer tiered.
func (a *Archive) reconcile(p *part, epoch kafka.LeaderEpoch, v *view, pending []hot.SegmentInfo) {
	for len(p.jobs) > 0 && p.jobs[0].state == committed && (v.manifest.Holds(p.jobs[0].entry) || p.jobs[0].next() <= max(v.manifest.End(), v.start)) {
		a.forget(p.jobs[0])
		p.jobs = p.jobs[1:]
	}
	for len(p.jobs) > 0 && p.jobs[0].state != committed && !p.jobs[0].committing && p.jobs[0].next() <= v.start {
		a.drop(p.jobs[0], errors.New("segment has expired"))
		p.jobs = p.jobs[1:]
	}
	known := make(map[kafka.Offset]kafka.Offset, len(pending))
	for _, s := range pending {
		known[s.Base] = s.Next
	}
	end := v.manifest.End()
	for i, j := range p.jobs {
		if j.state == committed || j.committing {
			end = j.next()
			continue
		}
		next, there := known[j.segment.Base]
		// A job begins where what is before it ends, or anywhere when there is nothing.
		follows := j.base == end || i == 0 && v.manifest.Len() == 0
		if j.epoch == epoch && v.policy.Remote && there && next == j.segment.Next && follows {
			end = j.next()
			continue
		}
		for _, rest := range p.jobs[i:] {
			a.drop(rest, errors.New("segment is no longer to be uploaded"))
		}
		p.jobs = p.jobs[:i]
		return
	}
}

// note keeps the partition's backlog for Status.
func (a *Archive) note(p *part, v *view, pending []hot.SegmentInfo) {
	a.backlog.Add(-p.status.PendingBytes)
	a.overdue.Add(-p.status.OverdueBytes)
	defer func() {
		a.backlog.Add(p.status.PendingBytes)
		a.overdue.Add(p.status.OverdueBytes)
	}()
	p.status.PendingBytes, p.status.OverdueBytes, p.status.Uploading = 0, 0, false
	for _, j := range p.jobs {
		p.status.Uploading = p.status.Uploading || j.running
		for j.state == committed && len(pending) > 0 && pending[0].Next <= j.next() {
			pending = pending[1:] // only its publication is awaited
		}
	}
	if !v.policy.Remote || len(pending) == 0 {
		p.status.PendingSince = time.Time{}
		return
	}
	for _, s := range pending {
		p.status.PendingBytes += s.Size
	}
	p.status.OverdueBytes = v.overdue(pending)
	if p.status.PendingSince.IsZero() {
		p.status.PendingSince = v.now
	}
	for _, s := range v.segments {
		// The oldest was closed when the next one began.
		if s.Base == pending[0].Next && !s.Created.IsZero() {
			p.status.PendingSince = s.Created
		}
	}
}
