package archive

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// maxLooks is how many partitions are looked at at once. Looks are short, but
// one may wait for the quorum, or for the file system to unlink.
const maxLooks = 4

// Run works until ctx ends, and returns when everything it started has ended.
// Uploads under way are cancelled then: a restart begins them anew.
func (a *Archive) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	a.mu.Lock()
	a.sweepDue = time.Now().Add(spread(a.cfg.SweepInterval))
	a.mu.Unlock()
	for {
		timer.Reset(a.pump(ctx, &group))
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-timer.C:
		}
	}
}

// pump starts what is due and has room, and returns how long nothing more will be.
func (a *Archive) pump(ctx context.Context, group *sync.WaitGroup) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	next := now.Add(time.Hour)
	for _, start := range []func(context.Context, *sync.WaitGroup, time.Time) time.Time{a.startAsking, a.startLooks, a.startUploads, a.startDeletes, a.startSweep} {
		if at := start(ctx, group, now); !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return max(0, next.Sub(now))
}

// The parts of pump: each starts what it can, and returns when there is more to start if nothing else happens before; zero for
// never. mu is held.

func (a *Archive) startLooks(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	for len(a.due) > 0 && !a.due[0].at.After(now) {
		p := a.due[0]
		a.unschedule(p)
		a.ready = append(a.ready, p)
	}
	if len(a.due) > 0 {
		next = a.due[0].at
	}
	if a.whose.state == unasked {
		return next // it soon is
	}
	for a.looks < maxLooks && len(a.ready) > 0 {
		p := a.ready[0]
		a.ready[0] = nil
		a.ready = a.ready[1:]
		if p.removed {
			continue
		}
		a.looks++
		p.again = false
		group.Go(func() { a.visit(ctx, p) })
	}
	return next
}

func (a *Archive) startUploads(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	if a.whose.held() {
		return time.Time{}
	}
	for a.working < a.cfg.Workers && len(a.uploads) > 0 {
		if at := a.pace.next(now); at.After(now) {
			return at
		}
		j := a.uploads[0]
		a.uploads[0] = nil
		a.uploads = a.uploads[1:]
		j.queued = false
		if j.dropped || j.part.notBefore.After(now) {
			continue // the latter comes back with the partition's next look
		}
		a.pace.started(now)
		a.working++
		j.running = true // from here on: nobody else may queue it
		group.Go(func() { a.work(ctx, j) })
	}
	return time.Time{}
}

func (a *Archive) startDeletes(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	if d := &a.deletes; d.running || len(d.queue) == 0 || a.whose.held() {
		return time.Time{}
	} else if d.notBefore.After(now) {
		return d.notBefore
	}
	a.deletes.running = true
	group.Go(func() { a.deleteSome(ctx) })
	return time.Time{}
}

func (a *Archive) startSweep(ctx context.Context, group *sync.WaitGroup, now time.Time) (next time.Time) {
	if a.live == nil || a.cfg.SweepInterval < 0 || a.sweeping || a.whose.held() {
		return time.Time{}
	}
	if a.sweepDue.After(now) {
		return a.sweepDue
	}
	a.sweeping = true
	group.Go(func() { a.sweepNow(ctx) })
	return time.Time{}
}

// visit looks at a partition and arranges the next look.
func (a *Archive) visit(ctx context.Context, p *part) {
	err := a.look(ctx, p)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looks--
	if !p.removed {
		now := time.Now()
		next := now.Add(spread(a.cfg.Interval))
		switch {
		case err != nil && ctx.Err() == nil:
			a.failed(p, err)
		case len(p.jobs) == 0:
			p.wentWell()
		}
		if p.notBefore.After(now) && p.notBefore.Before(next) {
			next = p.notBefore
		}
		if p.again && err == nil {
			next = now
		}
		a.schedule(p, next)
	}
	a.signal()
}

// failed notes an error and puts off the partition's next attempt.
func (a *Archive) failed(p *part, err error) {
	if p.failures++; p.status.FailingSince.IsZero() {
		p.status.FailingSince = a.clock()
	}
	p.notBefore = time.Now().Add(delay(p.failures))
	p.status.LastError, p.status.LastErrorAt = err.Error(), a.clock()
	if p.heapIndex >= 0 && p.notBefore.Before(p.at) {
		a.schedule(p, p.notBefore)
	}
	log := a.log.With("topic", p.topic, "partition", p.id.Index, "error", err, "failures", p.failures, "retry_in", time.Until(p.notBefore))
	if a.warnings.due(time.Now()) {
		log.Warn("archive failed", "not_shown_before", a.warnings.taken())
	} else {
		log.Debug("archive failed")
	}
}

// warnings keeps a bucket that is down from filling the log: one line in a
// while speaks for all partitions. The rest is logged for debugging.
type warnings struct {
	last       time.Time
	suppressed int
}

const warnEvery = 10 * time.Second

func (w *warnings) due(now time.Time) bool {
	if now.Sub(w.last) < warnEvery {
		w.suppressed++
		return false
	}
	w.last = now
	return true
}

// taken is how many failures were not warned of since the last call.
func (w *warnings) taken() int {
	n := w.suppressed
	w.suppressed = 0
	return n
}

// spread is d give or take a tenth, so that partitions do not all come due together.
func spread(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}

// schedule puts the part's next look at the given time.
func (a *Archive) schedule(p *part, at time.Time) {
	p.at = at
	if p.heapIndex >= 0 {
		heap.Fix(&a.due, p.heapIndex)
		return
	}
	heap.Push(&a.due, p)
}

func (a *Archive) unschedule(p *part) {
	if p.heapIndex >= 0 {
		heap.Remove(&a.due, p.heapIndex)
	}
}

// dueHeap orders parts by their next look.
type dueHeap []*part

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}
func (h *dueHeap) Push(x any) {
	p := x.(*part)
	p.heapIndex = len(*h)
	*h = append(*h, p)
}
func (h *dueHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.heapIndex = -1
	return p
}

// spacing holds uploads apart while the bucket answers "slow down": the gap
// doubles with each such answer and halves with each success.
type spacing struct {
	gap  time.Duration
	last time.Time // an upload began
}

const (
	firstGap = 100 * time.Millisecond
	lastGap  = 30 * time.Second
)

// next is when the next upload may begin.
func (p *spacing) next(now time.Time) time.Time {
	if p.gap == 0 {
		return now
	}
	return p.last.Add(p.gap)
}

func (p *spacing) started(now time.Time) { p.last = now }

func (p *spacing) slower(now time.Time) {
	p.gap = min(lastGap, max(firstGap, 2*p.gap))
	p.last = now
}

func (p *spacing) faster() {
	if p.gap /= 2; p.gap < firstGap {
		p.gap = 0
	}
}

// wentWell ends a row of failures, for the back-off and for who watches. mu is held.
func (p *part) wentWell() {
	p.failures, p.notBefore = 0, time.Time{}
	p.status.LastError, p.status.LastErrorAt, p.status.FailingSince = "", time.Time{}, time.Time{}
}
