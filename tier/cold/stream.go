package cold

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// stream is one reader's progress in one partition. Guarded by Reader.mu.
type stream struct {
	partition kafka.Partition
	manifest  manifest.Manifest // as of its last read
	used      time.Time         // its last read

	last      kafka.Offset // where the last run began
	next      kafka.Offset // where the next read is expected
	window    int64        // how many bytes from next on are wanted
	consumed  int64        // bytes read since the window last grew
	slabs     []*slab      // wanted, in offset order
	waiting   int          // reads that were told ErrLoading and not yet called
	forgotten bool
}

// stream returns the reader's state in the partition.
func (r *Reader) stream(key any, p kafka.Partition) *stream {
	of := r.streams[key]
	if of == nil {
		of = map[kafka.Partition]*stream{}
		r.streams[key] = of
	}
	s := of[p]
	if s == nil {
		s = &stream{partition: p, last: -1, next: -1, window: r.cfg.MinReadahead}
		of[p] = s
		r.armJanitor()
	}
	return s
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
	sl.wanted++
	r.memory.settle(sl)
}

// unwant takes the slab out of the window. A download that nobody else wants ends.
func (s *stream) unwant(r *Reader, sl *slab) {
	sl.wanted--
	if sl.wanted == 0 && sl.loading && sl.ready < sl.to { // else the GET is at its end, and its connection of use
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
}

// end is the offset behind what the slab holds or will hold.
func (sl *slab) end() kafka.Offset { return sl.remote.blocks[sl.to].first }

// begin is the slab's first offset.
func (sl *slab) begin() kafka.Offset { return sl.remote.blocks[sl.from].first }

// behind lets go of what the reader has left behind: slabs that end at or below offset.
func (s *stream) behind(r *Reader, offset kafka.Offset) {
	s.release(r, func(sl *slab) bool { return sl.end() <= offset && (!sl.loading || s.waiting == 0) })
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
	s.release(r, func(sl *slab) bool {
		for b := sl.ready; b < sl.to && s.waiting > 0; b++ {
			if s.awaits(sl.remote, b) {
				return false
			}
		}
		return true
	})
}

// awaits tells whether a read of the stream was told that the block is loading.
func (s *stream) awaits(rm *remote, b int) bool {
	return s.waiting > 0 && slices.ContainsFunc(rm.waiters[b], func(w waiter) bool { return w.stream == s })
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
	r.ahead.push(s)
}

// forget ends the stream.
func (s *stream) forget(r *Reader) {
	s.forgotten = true
	if s.waiting > 0 {
		for _, rm := range r.remotes {
			rm.callStream(r, s)
		}
	}
	s.release(r, func(*slab) bool { return true })
	r.ahead.remove(s)
}

// charge is the memory that the stream is answerable for: what it shares with
// others is divided.
func (s *stream) charge() int64 {
	n := int64(0)
	for _, sl := range s.slabs {
		n += sl.size / int64(sl.wanted)
	}
	return n
}
