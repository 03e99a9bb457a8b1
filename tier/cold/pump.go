package cold

import (
	"container/list"
	"context"
	"slices"
	"time"
)

// queue is a set of streams, first in first out. Guarded by Reader.mu.
type queue struct {
	order list.List
	in    map[*stream]*list.Element
}

// push adds s at the end, unless it is in the queue.
func (q *queue) push(s *stream) {
	if q.in == nil {
		q.in = map[*stream]*list.Element{}
	}
	if q.in[s] == nil && !s.forgotten {
		q.in[s] = q.order.PushBack(s)
	}
}

func (q *queue) remove(s *stream) {
	if e := q.in[s]; e != nil {
		q.order.Remove(e)
		delete(q.in, s)
	}
}

// first is the head, nil when empty.
func (q *queue) first() *stream {
	if e := q.order.Front(); e != nil {
		return e.Value.(*stream)
	}
	return nil
}

// begun is what came of an attempt to begin something for a stream.
type begun int

const (
	nothing begun = iota // the stream wants nothing more for now
	started              // one GET more
	blocked              // there is no memory for it
)

// stalledAfter is how long a stream that does not read what it has keeps it
// when another one has nothing.
const stalledAfter = 5 * time.Second

// pump begins as many GETs as limits allow: what was interrupted first, then
// footers, then what readers wait for, then readahead, the last two in turns
// among streams. Called under mu after every event that may have made room or work.
func (r *Reader) pump() {
	for r.running && !r.closed && r.busy < r.pace.workers() {
		if wait := r.pace.wait(); wait > 0 {
			r.wakeIn(wait)
			return
		}
		if !r.beginOne() {
			return
		}
	}
}

// beginOne begins one GET; false when there is nothing that may begin now.
func (r *Reader) beginOne() bool {
	if len(r.retries) > 0 {
		sl := r.retries[0]
		r.retries = r.retries[1:]
		if sl.loading {
			r.begin(sl)
		}
		return true
	}
	if len(r.loads) > 0 {
		rm := r.loads[0]
		r.loads = r.loads[1:]
		if rm.load == loadQueued {
			r.beginLoad(rm)
		}
		return true
	}
	for len(r.demands) > 0 {
		w := r.demands[0]
		switch r.beginDemand(w) {
		case blocked:
			if r.rob(w.stream) {
				continue
			}
			r.wakeIn(stalledAfter)
			return false
		case started:
			r.popDemand()
			r.ahead.push(w.stream)
			return true
		case nothing:
			r.popDemand()
		}
	}
	for s := r.ahead.first(); s != nil; s = r.ahead.first() {
		r.ahead.remove(s)
		switch r.beginAhead(s) {
		case started:
			r.ahead.push(s)
			return true
		case blocked: // it looks again when it next reads
		case nothing:
		}
	}
	return false
}

// wakeIn pumps again after d, if nothing else does before.
func (r *Reader) wakeIn(d time.Duration) {
	stop(r.wake)
	r.wake = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.unlock()
		r.pump()
	})
}

// demand is a block that a reader waits for and that nobody had when it asked.
type demand struct {
	stream *stream
	remote *remote
	block  int
}

func (r *Reader) popDemand() {
	r.demands[0] = demand{}
	r.demands = r.demands[1:]
}

// beginDemand begins the download of a block, unless it is here or on its way by now.
func (r *Reader) beginDemand(d demand) begun {
	if !d.stream.awaits(d.remote, d.block) {
		return nothing // it was answered, or forgotten
	}
	if sl := d.remote.slabs[d.block]; sl != nil {
		d.stream.want(r, sl)
		return nothing
	}
	to := r.span(d.stream, d.remote, d.block, d.stream.window, true)
	outcome := r.beginSlab(d.stream, d.remote, d.block, to)
	if outcome == blocked && to > d.block+1 {
		outcome = r.beginSlab(d.stream, d.remote, d.block, d.block+1)
	}
	return outcome
}

// beginAhead walks the stream's window, from where it reads on, to the first
// block that nobody has, and begins its download.
func (r *Reader) beginAhead(s *stream) begun {
	m := s.manifest
	i, ok := m.Find(s.next)
	if !ok {
		return nothing
	}
	held := int64(0) // bytes from s.next on that are here or on their way
	for ; i < m.Len() && held < s.window; i++ {
		rm := r.remote(s.partition, m.At(i))
		if rm.footer == nil {
			if rm.failure(footerBlock) == nil && !slices.Contains(rm.curious, s) {
				rm.curious = append(rm.curious, s)
				r.queueLoad(rm)
			}
			return nothing
		}
		for b := rm.block(s.next); b < rm.count() && held < s.window; {
			if sl := rm.slabs[b]; sl != nil {
				s.want(r, sl)
				held += rm.size(b, sl.to)
				b = sl.to
				continue
			}
			to := r.span(s, rm, b, s.window-held, false)
			if to == b {
				return nothing
			}
			return r.beginSlab(s, rm, b, to)
		}
	}
	return nothing
}

// span decides how many blocks from b on one GET asks for; none (b) when it is
// better to wait until there is room for a range of the size that the window
// calls for, lest every read begins a small GET. must says that a reader waits.
func (r *Reader) span(s *stream, rm *remote, b int, window int64, must bool) int {
	rest := b // end of the run of blocks that nobody has
	for rest < rm.count() && rm.slabs[rest] == nil && rm.failure(rest) == nil {
		rest++
	}
	share := r.share() - s.charge()
	goal := max(min(s.window/5, r.cfg.RangeSize, r.share()), blockSize)
	if left := rm.size(b, rest); left > goal && left < 2*goal {
		goal = max((left+1)/2, blockSize) // two of a size rather than one and a rest
	}
	room := min(window, share)
	to := b
	for to < rest && rm.size(b, to+1) <= goal {
		if !must && rm.size(b, to+1) > room {
			return b
		}
		if must && to > b && rm.size(b, to+1) > room {
			break
		}
		to++
	}
	if to == b && b < rest && (must || rm.size(b, b+1) <= room) {
		to++ // a block larger than the goal
	}
	return to
}

// share is what each stream may hold: an equal part for each that holds or
// waits for something.
func (r *Reader) share() int64 {
	n := int64(0)
	for _, of := range r.streams {
		for _, s := range of {
			if len(s.slabs) > 0 || s.waiting > 0 {
				n++
			}
		}
	}
	return r.cfg.MaxInFlight / max(n, 1)
}

// beginSlab takes memory for blocks [from, to) and begins their download.
func (r *Reader) beginSlab(s *stream, rm *remote, from, to int) begun {
	buf, size, ok := r.memory.take(rm.size(from, to))
	if !ok {
		return blocked
	}
	sl := &slab{
		r: r, remote: rm, from: from, to: to, ready: from, start: rm.blocks[from].pos,
		buf: buf, size: size, reread: footerBlock, loading: true,
	}
	for b := from; b < to; b++ {
		rm.slabs[b] = sl
	}
	rm.live++
	s.want(r, sl)
	r.begin(sl)
	return started
}

// begin hands the slab's GET to Run.
func (r *Reader) begin(sl *slab) {
	sl.refs++
	r.busy++
	r.tasks <- func(ctx context.Context) { r.download(ctx, sl) }
}

// queueLoad asks for a footer.
func (r *Reader) queueLoad(rm *remote) {
	if rm.load == loadNone {
		rm.load = loadQueued
		r.loads = append(r.loads, rm)
	}
}

func (r *Reader) beginLoad(rm *remote) {
	rm.load = loadRunning
	r.busy++
	r.tasks <- func(ctx context.Context) {
		r.loadFooter(ctx, rm)
		r.mu.Lock()
		r.busy--
		r.pump()
		r.unlock()
	}
}

// rob takes memory from another stream for one that has nothing: what one
// stalled holds, else the farthest readahead of the one that has most above its
// share. It is false when there is nothing to take.
func (r *Reader) rob(poor *stream) bool {
	share, now := r.share(), time.Now()
	var rich *stream
	most := int64(0)
	for _, of := range r.streams {
		for _, s := range of {
			if s == poor || len(s.slabs) == 0 {
				continue
			}
			if now.Sub(s.used) > stalledAfter {
				before := r.memory.used
				s.release(r, func(*slab) bool { return true })
				r.memory.evictIdle()
				if r.memory.used < before {
					return true
				}
				continue
			}
			if c := s.charge(); c > share && c > most && len(s.slabs) > 1 {
				rich, most = s, c
			}
		}
	}
	if rich == nil {
		return false
	}
	last := rich.slabs[len(rich.slabs)-1]
	if last.loading || last.refs > 0 || last.wanted > 1 {
		return false
	}
	rich.release(r, func(sl *slab) bool { return sl == last })
	r.memory.evictIdle()
	return true
}

// idleAfter is how long a stream that does not read is remembered, and how
// often what is idle is let go of.
const idleAfter = 30 * time.Second

func (r *Reader) armJanitor() {
	if r.janitor == nil && !r.closed {
		r.janitor = time.AfterFunc(idleAfter, r.clean)
	}
}

// clean forgets streams that have not read for long, and gives memory back that
// nobody has needed meanwhile. It runs only while there is something to clean.
func (r *Reader) clean() {
	r.mu.Lock()
	defer r.unlock()
	r.janitor = nil
	now := time.Now()
	if len(r.streams) == 0 {
		r.memory.evictIdle()
		r.memory.dropSpare()
	}
	for key, of := range r.streams {
		for p, s := range of {
			if s.waiting == 0 && now.Sub(s.used) > idleAfter {
				s.forget(r)
				delete(of, p)
			}
		}
		if len(of) == 0 {
			delete(r.streams, key)
		}
	}
	for key, rm := range r.remotes {
		if rm.footer == nil && rm.load == loadNone && len(rm.waiters) == 0 && len(rm.curious) == 0 && rm.failure(footerBlock) == nil {
			delete(r.remotes, key)
		}
	}
	if len(r.streams) > 0 || r.memory.used > 0 || r.memory.spare > 0 {
		r.armJanitor()
	}
	r.pump()
}
