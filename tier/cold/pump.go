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

// patience is how long a client whose reads wait for memory gets none at all before one of them is served with less than a whole
// range, and others are robbed for it. While it reads what it has, memory comes back much sooner.
const patience = 500 * time.Millisecond

// stalledAfter is how long a stream that does not read what it has keeps it
// when another one has nothing.
const stalledAfter = 5 * time.Second

// pump begins as many GETs as limits allow: what was interrupted first, then
// footers, then what readers wait for, then readahead, the last two in turns
// among streams. Called under mu after every event that may have made room or work.
func (r *Reader) pump() {
	r.measure()
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
	if r.beginDemands() {
		return true
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

// demand asks for the block that the stream waits for, which nobody had when it was read.
func (r *Reader) demand(s *stream) {
	s.since = time.Now()
	if !s.demanded {
		s.demanded = true
		r.demands = append(r.demands, s)
	}
}

// beginDemands begins the oldest demand that there is memory for; those that nobody waits for any more are dropped. Who has
// its share waits until it has read some of it, and does not keep others waiting.
func (r *Reader) beginDemands() bool {
	kept := r.demands[:0]
	done := false
	for i, s := range r.demands {
		outcome := r.beginDemand(s)
		if outcome == blocked {
			kept = append(kept, s)
			continue
		}
		s.demanded = false
		if outcome == started {
			r.ahead.push(s)
			kept = append(kept, r.demands[i+1:]...)
			done = true
			break
		}
	}
	clear(r.demands[len(kept):])
	r.demands = kept
	if len(kept) > 0 && !done {
		r.wakeIn(patience)
	}
	return done
}

// beginDemand begins the download of the block that the stream waits for, unless it is here or on its way by now.
func (r *Reader) beginDemand(s *stream) begun {
	rm, b := s.at, s.block
	if rm == nil || b == footerBlock {
		return nothing // it was answered, or forgotten, or it reads elsewhere
	}
	if sl := rm.slabs[b]; sl != nil {
		s.want(r, sl)
		return nothing
	}
	to := r.span(s, rm, b)
	for rm.size(b, to) > r.share && to > b+1 && !r.mayDemand(s.client, rm.size(b, to)) {
		to = b + (to-b)/2 // more clients than ranges that fit
	}
	outcome := blocked
	if r.mayDemand(s.client, rm.size(b, to)) {
		outcome = r.beginSlab(s, rm, b, to)
	}
	for outcome == blocked && time.Since(s.since) >= patience && time.Since(s.client.fed) >= patience {
		if outcome = r.beginSlab(s, rm, b, b+1); outcome == blocked && !r.rob(s) {
			break
		}
	}
	if outcome == started {
		s.client.fed = time.Now()
	}
	return outcome
}

// join wants what is here or on its way of the stream's window, as far as there is memory for it: what another reader has
// loaded is kept for this one, who is a little behind.
func (r *Reader) join(s *stream) {
	r.eachAhead(s, func(rm *remote, b int, _ int64) bool {
		if b == footerBlock {
			return false
		}
		if sl := rm.slabs[b]; sl != nil && (r.mayAhead(s, sl.size) || r.plenty(0)) {
			s.want(r, sl)
		}
		return true
	})
}

// eachAhead calls f for each slab of the stream's window, and for each block without one; held is how many bytes of the window
// lie before it. It ends when f says no, or where a footer is missing, with f's call for that.
func (r *Reader) eachAhead(s *stream, f func(rm *remote, b int, held int64) bool) {
	m, held := s.manifest, int64(0)
	i, ok := m.Find(s.next)
	for ; ok && i < m.Len() && held < s.window; i++ {
		rm := r.remote(s.partition, m.At(i))
		if rm.footer == nil {
			f(rm, footerBlock, held)
			return
		}
		for b := rm.block(s.next); b < rm.count() && held < s.window; {
			to := b + 1
			if sl := rm.slabs[b]; sl != nil {
				to = sl.to
			}
			if !f(rm, b, held) {
				return
			}
			held += rm.size(b, to)
			b = to
		}
	}
}

// beginAhead begins the download of the first block of the stream's window that nobody has, if there is room for the whole
// range: or every read would begin a small GET.
func (r *Reader) beginAhead(s *stream) begun {
	outcome := nothing
	r.eachAhead(s, func(rm *remote, b int, held int64) bool {
		if b == footerBlock {
			if rm.failure(b) == nil && !slices.Contains(rm.curious, s) {
				rm.curious = append(rm.curious, s)
				r.queueLoad(rm)
			}
			return false
		}
		if rm.slabs[b] != nil {
			return true
		}
		to := r.span(s, rm, b)
		size := rm.size(b, to)
		if to > b && held+size <= min(s.window+size/2, r.cfg.MaxReadahead) && r.mayAhead(s, size) {
			outcome = r.beginSlab(s, rm, b, to)
		}
		return false
	})
	return outcome
}

// span is the end of what one GET asks for from block b on: the rest of the range, as far as nobody has it; less at
// the beginning, while the window is small; none where what comes failed a moment ago.
func (r *Reader) span(s *stream, rm *remote, b int) int {
	to, end := b, rm.rangeEnd(b)
	for to < end && rm.slabs[to] == nil && (rm.failure(to) == nil) {
		to++
	}
	goal := max(s.window, blockSize)
	if rm.size(b, to) > goal+goal/2 {
		for to = b + 1; rm.size(b, to+1) <= goal; to++ {
		}
	}
	return to
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

// rob takes memory from another stream for one that has nothing: what one stalled holds, else the farthest readahead of the one that
// has most, of the same client's and of those whose client has more than its share. It is false when there is nothing to take.
func (r *Reader) rob(poor *stream) bool {
	now := time.Now()
	var rich *stream
	for _, c := range r.clients {
		for _, s := range c.streams {
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
			if len(s.slabs) > 1 && (c == poor.client || c.held > r.share) && (rich == nil || s.held > rich.held) {
				rich = s
			}
		}
	}
	if rich == nil {
		return false
	}
	last := rich.slabs[len(rich.slabs)-1]
	if last.loading || last.refs > 0 || len(last.wanted) > 1 {
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
	if len(r.clients) == 0 {
		r.memory.evictIdle()
		r.memory.dropSpare()
	}
	for key, c := range r.clients {
		for p, s := range c.streams {
			if !s.waits() && now.Sub(s.used) > idleAfter {
				s.forget(r)
				delete(c.streams, p)
			}
		}
		if len(c.streams) == 0 {
			delete(r.clients, key)
		}
	}
	for key, rm := range r.remotes {
		if rm.footer == nil && rm.load == loadNone && len(rm.waiters) == 0 && len(rm.asked) == 0 && len(rm.curious) == 0 && rm.failure(footerBlock) == nil {
			delete(r.remotes, key)
		}
	}
	if len(r.clients) > 0 || r.memory.used > 0 || r.memory.spare > 0 {
		r.armJanitor()
	}
	r.pump()
}
