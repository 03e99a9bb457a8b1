package cold

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// stream is one client's progress in one partition. Guarded by Reader.mu.
type stream struct {
	client    *client
	partition kafka.Partition
	manifest  manifest.Manifest // as of its last read
	used      time.Time         // its last read

	last     kafka.Offset // where the last run began
	next     kafka.Offset // where the next read is expected
	window   int64        // how many bytes from next on are wanted
	consumed int64        // bytes read since the window last grew
	slabs    []*slab      // wanted, in offset order
	held     int64        // bytes that it answers for, of what it wants or what is being sent

	// The read that was told ErrLoading and not yet called; at nil for none.
	at       *remote
	block    int
	ready    func()
	since    time.Time // when it asked for a block that nobody had
	demanded bool      // it is in Reader.demands

	active, forgotten bool
}

// want puts a slab into the stream's window.
func (s *stream) want(r *Reader, sl *slab) {
	at := len(s.slabs)
	for i, o := range s.slabs {
		if o == sl {
			return
		}
		if o.remote.entry.Base > sl.remote.entry.Base || o.remote == sl.remote && o.from > sl.from {
			at = min(at, i)
		}
	}
	s.slabs = append(s.slabs, nil)
	copy(s.slabs[at+1:], s.slabs[at:])
	s.slabs[at] = sl
	if !slices.Contains(sl.wanted, sl.owner) {
		sl.owe(s)
	}
	sl.wanted = append(sl.wanted, s)
	s.count()
	r.memory.settle(sl)
}

// unwant takes the slab out of the window. A download that nobody else wants ends.
func (s *stream) unwant(r *Reader, sl *slab) {
	sl.wanted = slices.DeleteFunc(sl.wanted, func(o *stream) bool { return o == s })
	if sl.owner == s && len(sl.wanted) > 0 {
		sl.owe(sl.wanted[0])
	}
	if len(sl.wanted) == 0 && sl.loading && sl.ready < sl.to { // else the GET is at its end, and its connection of use
		r.stats.cancelled.Add(1)
		sl.truncate()
	}
	r.memory.settle(sl)
}

// release lets go of the slabs that drop says.
func (s *stream) release(r *Reader, drop func(*slab) bool) {
	kept := s.slabs[:0]
	var dropped []*slab
	for _, sl := range s.slabs {
		if drop(sl) {
			dropped = append(dropped, sl)
		} else {
			kept = append(kept, sl)
		}
	}
	clear(s.slabs[len(kept):])
	s.slabs = kept
	for _, sl := range dropped {
		s.unwant(r, sl)
	}
	s.count()
}

// end is the offset behind what the slab holds or will hold.
func (sl *slab) end() kafka.Offset { return sl.remote.blocks[sl.to].first }

// begin is the slab's first offset.
func (sl *slab) begin() kafka.Offset { return sl.remote.blocks[sl.from].first }

// behind lets go of what the reader has left behind: slabs that end at or below offset.
func (s *stream) behind(r *Reader, offset kafka.Offset) {
	s.release(r, func(sl *slab) bool { return sl.end() <= offset && (!sl.loading || !s.waits()) })
}

// seek notes that from is asked for and is not here. When that is neither
// where the stream was nor within what it wants, the window begins anew.
func (s *stream) seek(r *Reader, from kafka.Offset) {
	if from != s.next && !s.within(from) {
		s.restart(r)
	}
	s.behind(r, from)
	s.last, s.next = from, from
}

// restart begins the window anew. What a read still waits for goes on.
func (s *stream) restart(r *Reader) {
	s.window, s.consumed = r.cfg.MinReadahead, 0
	s.release(r, func(sl *slab) bool { return !s.awaits(sl.remote, sl.ready, sl.to) })
}

// wait parks the read: ready is called when it is worth another try. A stream has one read that waits: who reads on has
// answered the one before, so that however often a client asks while the bucket is stalled, one callback is kept for it.
func (s *stream) wait(rm *remote, block int, ready func()) {
	s.awake()
	s.at, s.block, s.ready = rm, block, ready
	rm.waiters[block] = append(rm.waiters[block], s)
	s.count()
}

// awake lets go of the read that waits, and returns what is to be called for it; nil when there is none.
func (s *stream) awake() func() {
	ready := s.ready
	if rm := s.at; rm != nil {
		left := slices.DeleteFunc(rm.waiters[s.block], func(o *stream) bool { return o == s })
		if rm.waiters[s.block] = left; len(left) == 0 {
			delete(rm.waiters, s.block)
		}
		s.at, s.ready = nil, nil
		s.count()
	}
	return ready
}

func (s *stream) waits() bool { return s.at != nil }

// awaits tells whether a read of the stream waits for one of the blocks [from, to).
func (s *stream) awaits(rm *remote, from, to int) bool {
	return s.at == rm && from <= s.block && s.block < to
}

// within tells whether the offset is one that the stream has just read, or has wanted.
func (s *stream) within(offset kafka.Offset) bool {
	if s.last <= offset && offset <= s.next && s.last >= 0 {
		return true
	}
	for _, sl := range s.slabs {
		if sl.begin() <= offset && offset < sl.end() {
			return true
		}
	}
	return false
}

// advanced notes that a run of n bytes, [from, next), was cut out of sl. Each
// time half the window has been read it doubles.
func (s *stream) advanced(r *Reader, sl *slab, from, next kafka.Offset, n int64) {
	switch {
	case from == s.next:
		s.consumed += n
		if s.consumed >= s.window/2 && s.window < r.cfg.MaxReadahead {
			s.window, s.consumed = min(2*s.window, r.cfg.MaxReadahead), 0
		}
	case !s.within(from):
		s.restart(r)
	}
	s.want(r, sl)
	s.behind(r, next) // what was read to its end is idle: a retry finds it there, a reader that ends here keeps nothing
	s.last, s.next = from, next
	r.join(s)
	r.ahead.push(s)
}

// forget ends the stream. A read that waits is called.
func (s *stream) forget(r *Reader) {
	s.forgotten = true
	if ready := s.awake(); ready != nil {
		r.calls = append(r.calls, ready)
	}
	s.release(r, func(*slab) bool { return true })
	r.ahead.remove(s)
}
