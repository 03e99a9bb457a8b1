package archive

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
)

// work runs a job as far as it gets: uploads its segment, then commits it if
// it is its partition's first, and those behind it that are ready.
func (a *Archive) work(ctx context.Context, j *job) {
	a.mu.Lock()
	j.part.status.Uploading = true
	upload := j.state == waiting && !j.dropped
	a.mu.Unlock()

	var err error
	if upload {
		err = a.upload(ctx, j)
	}

	a.mu.Lock()
	j.running = false
	switch {
	case j.committing: // another worker has taken it to the quorum, whose answer says what becomes of the object
	case j.dropped:
		a.discard(j)
	case err != nil:
		a.discard(j)
		if ctx.Err() == nil {
			a.failed(j.part, err)
		}
	case upload:
		j.state = uploaded
	}
	a.mu.Unlock()

	a.commitReady(ctx, j.part)

	a.mu.Lock()
	defer a.mu.Unlock()
	a.working--
	a.pokeLocked(j.part) // to plan the next, and to go on where this one stopped
	a.signal()
}

// upload puts the job's segment under a new name, in one request.
func (a *Archive) upload(ctx context.Context, j *job) (err error) {
	begin := time.Now()
	sealed, err := j.part.src.Local().OpenSealed(j.segment.Base)
	if err != nil {
		return fmt.Errorf("open segment %d: %w", j.segment.Base, err)
	}
	defer func() { err = errors.Join(err, a.letGo(sealed)) }()
	if j.prepared == nil {
		if j.prepared, err = a.prepare(ctx, j, sealed); err != nil {
			if r, ok := j.part.src.(DamageReporter); ok && errors.Is(err, errDamaged) {
				r.SegmentDamaged(j.segment.Base, err)
			}
			return err
		}
	}
	body := j.prepared.body(sealed.Data)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := a.name(j, body.size())
	if !a.begin(j, e, cancel) {
		return context.Cause(ctx)
	}
	ctx, stop := context.WithTimeoutCause(ctx, a.longest(body.size()), errors.New("upload took too long in all"))
	defer stop()
	watched := a.watch(ctx, cancel, body)
	defer watched.stop()

	err = a.bucket.Put(ctx, j.key, watched, body.size())
	took := time.Since(begin)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		a.uploadFailed(j, err, watched.started())
		return fmt.Errorf("upload segment %d: %w", e.Base, err)
	}
	a.uploadDone(j, e, took)
	return nil
}

// name draws a name that was never used: what an earlier attempt left under
// another one, if its answer was lost, can then never be taken for this one.
func (a *Archive) name(j *job, size int64) manifest.Entry {
	e := manifest.Entry{
		Base: j.base, Next: j.next(), Epoch: j.epoch,
		Size: size, DataSize: j.prepared.data, MaxTimestamp: j.prepared.maxTimestamp,
		Uploaded: a.clock().UnixMilli(),
	}
	if _, err := rand.Read(e.UUID[:]); err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	e.UUID[6] = e.UUID[6]&0x0f | 0x40 // RFC 9562, version 4
	e.UUID[8] = e.UUID[8]&0x3f | 0x80
	return e
}

// begin notes the attempt before its first byte leaves; false when the job was dropped meanwhile.
func (a *Archive) begin(j *job, e manifest.Entry, cancel context.CancelCauseFunc) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	j.cancel = cancel
	if j.dropped {
		cancel(errDropped)
		return false
	}
	j.entry, j.key, j.started, j.era = e, e.Key(a.cfg.Cluster, j.part.id), time.Now(), a.whose.era
	a.named[j.key] = struct{}{}
	j.part.uploaded = true
	return true
}

var errDropped = errors.New("upload is no longer wanted")

// longest is how long one attempt may take in all: progress, however slow,
// must not keep a worker for ever.
func (a *Archive) longest(size int64) time.Duration {
	const slowest = 64 << 10 // bytes per second
	most := 5*time.Minute + time.Duration(size/slowest)*time.Second
	if rate := a.cfg.BytesPerSecond(); rate > 0 {
		most += time.Duration(size*int64(a.cfg.Workers)/rate+1) * 2 * time.Second
	}
	return most
}

// uploadFailed notes a failed attempt. If not a byte was asked for, the bucket
// cannot have an object of it, and nothing needs to be deleted.
func (a *Archive) uploadFailed(j *job, err error, started bool) {
	a.stats.uploadFailures.Add(1)
	a.mu.Lock()
	if errors.Is(err, object.ErrThrottled) {
		a.stats.throttled.Add(1)
		a.pace.slower(time.Now())
	}
	if !started {
		a.forget(j)
	}
	dropped := j.dropped
	a.mu.Unlock()
	if a.observer.UploadFailed != nil && !dropped {
		a.observer.UploadFailed(j.part.id, err)
	}
}

func (a *Archive) uploadDone(j *job, e manifest.Entry, took time.Duration) {
	a.stats.uploads.Add(1)
	a.stats.uploadBytes.Add(e.Size)
	a.stats.uploadNanos.Add(int64(took))
	a.mu.Lock()
	a.pace.faster()
	a.mu.Unlock()
	if a.observer.Uploaded != nil {
		a.observer.Uploaded(j.part.id, e, took)
	}
}

// commitReady proposes the uploaded jobs at the front of the partition, in
// order. Whoever calls it while another does leaves the work to that one.
func (a *Archive) commitReady(ctx context.Context, p *part) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.committing {
		return
	}
	p.committing = true
	defer func() { p.committing = false }()
	for {
		j := a.nextToCommit(p)
		if j == nil || ctx.Err() != nil {
			return
		}
		j.committing = true
		e := j.entry
		a.mu.Unlock()
		err := a.commit(ctx, p, e)
		a.mu.Lock()
		j.committing = false
		if !a.committedOr(p, j, e, err, ctx.Err() != nil) {
			return
		}
	}
}

// nextToCommit is the first job that is not committed, if it is uploaded. An
// object that has waited so long that some broker may soon sweep it, or that may lie in another bucket, is uploaded anew.
func (a *Archive) nextToCommit(p *part) *job {
	for _, j := range p.jobs {
		if j.state == committed {
			continue
		}
		if j.state != uploaded || j.running || j.dropped {
			return nil
		}
		// Only the quorum's own failures put a commit off: were it another segment's, one that fails for ever (a damaged
		// one) could keep those before it out of the manifest for as long.
		if j.attempted && time.Now().Before(p.notBefore) {
			return nil
		}
		if time.Since(j.started) > a.cfg.OrphanGrace/2 || j.era != a.whose.era {
			a.discard(j)
			return nil
		}
		return j
	}
	return nil
}

func (a *Archive) commit(ctx context.Context, p *part, e manifest.Entry) error {
	// The proposal must not outlive the object's protection by the grace.
	ctx, cancel := context.WithTimeout(ctx, min(commitTimeout, a.cfg.OrphanGrace/4))
	defer cancel()
	return a.committer.CommitSegment(ctx, p.id, e)
}

// committedOr takes the quorum's answer; false ends the round. Under mu.
func (a *Archive) committedOr(p *part, j *job, e manifest.Entry, err error, stopping bool) bool {
	switch {
	case err == nil:
		j.state = committed
		p.wentWell()
		if a.whose.state == blank {
			a.whose.state = right // by its first object
		}
		a.stats.commits.Add(1)
		a.log.Debug("segment tiered", "topic", p.topic, "partition", p.id.Index, "base", e.Base, "next", e.Next, "bytes", e.Size)
		if j.dropped {
			a.forget(j)
		}
		return true
	case errors.Is(err, manifest.ErrStaleEpoch), errors.Is(err, manifest.ErrNotContiguous), errors.Is(err, manifest.ErrInvalid):
		// Refused for good: everything behind it was planned on it.
		a.stats.refused.Add(1)
		for i, o := range p.jobs {
			if o == j {
				for _, rest := range p.jobs[i:] {
					a.drop(rest, errDropped)
				}
				p.jobs = p.jobs[:i]
				break
			}
		}
		if j.dropped {
			a.discard(j)
		}
		if !p.removed {
			a.failed(p, fmt.Errorf("commit segment %d: %w", e.Base, err))
		}
		return false
	}
	// The outcome is open: ask again, with the same entry.
	j.attempted = true
	if j.dropped {
		a.discard(j)
	}
	if !stopping && !p.removed {
		a.failed(p, fmt.Errorf("commit segment %d: %w", e.Base, err))
	}
	return false
}
