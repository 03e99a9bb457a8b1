package hot

import (
	"math/rand/v2"
	"sort"
	"sync/atomic"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// tail is what memory knows of the active segment: where its latest batches
// lie (a ring of borders) and a sparse index. One writer, under the log's
// mutex; any number of readers without a lock.
//
//	file   |········|····index entries, ≥ 64 KiB apart····|··|··|··|··|··|
//	       0       floor                                   └─ ring: every border ─┘ end
//
// Invariant: every border in the ring and every index entry is a true batch
// border at or above floor. Below floor (a log reopened, or cut) index.Index
// or a scan must be asked.
type tail struct {
	seg   *localSegment
	file  *handle // open for writing; one reference is the tail's
	floor border
	// reserved is up to where the file has room on disk, as far as is known. The writer's.
	reserved int64
	jitter   float64 // in [0, 1): how much of Config.SegmentJitter this segment takes off its age

	cleaned atomic.Int64 // up to where the flusher has written it back

	ring    atomic.Pointer[ring]                 // nil until the first append
	index   atomic.Pointer[[]segment.IndexEntry] // what readers see of entries
	entries []segment.IndexEntry

	// The writer's own view of the end and the facts.
	end   border
	known facts

	created      atomic.Int64 // facts for readers
	maxTimestamp atomic.Int64
	maxAt        atomic.Int64
}

func newTail(seg *localSegment, file *handle, at border, f facts) *tail {
	t := &tail{seg: seg, file: file, floor: at, end: at, known: f, jitter: rand.Float64()}
	t.publishFacts()
	seg.size.Store(at.pos)
	seg.next.Store(int64(at.offset))
	return t
}

func (t *tail) publishFacts() {
	t.maxAt.Store(int64(t.known.maxAt))
	t.maxTimestamp.Store(t.known.maxTimestamp)
	t.created.Store(t.known.created)
}

// add publishes a batch that lies at the end.
func (t *tail) add(v batch.View) {
	t.addIndex(v.BaseOffset())
	t.known.add(v.BaseOffset(), v.MaxTimestamp())
	if t.known.maxTimestamp != t.maxTimestamp.Load() {
		t.maxAt.Store(int64(t.known.maxAt))
		t.maxTimestamp.Store(t.known.maxTimestamp)
	}
	r := t.ring.Load()
	if r == nil {
		r = newRing(t.end)
		t.ring.Store(r)
	}
	t.end = border{v.NextOffset(), t.end.pos + int64(len(v))}
	r.push(t.end)
	t.seg.size.Store(t.end.pos)
	t.seg.next.Store(int64(t.end.offset))
}

// addIndex makes an entry of the batch that begins at the end, if the last one is far enough away.
func (t *tail) addIndex(offset kafka.Offset) {
	if n := len(t.entries); n > 0 && t.end.pos-t.entries[n-1].Pos < segment.IndexInterval {
		return
	}
	t.entries = append(t.entries, segment.IndexEntry{Offset: offset, Pos: t.end.pos, MaxTimestamp: t.known.maxTimestamp})
	shown := t.entries
	t.index.Store(&shown)
}

// shown is the index as published.
func (t *tail) shown() []segment.IndexEntry {
	if p := t.index.Load(); p != nil {
		return *p
	}
	return nil
}

// recent finds the nearest border at or below offset in the ring: where the batch that holds offset begins, or the end.
func (t *tail) recent(offset kafka.Offset) (border, bool) {
	if r := t.ring.Load(); r != nil {
		return r.search(func(b border) bool { return b.offset <= offset })
	}
	return t.floor, t.floor.offset == offset
}

// recentPos finds the nearest border at or below pos in the ring.
func (t *tail) recentPos(pos int64) (border, bool) {
	if r := t.ring.Load(); r != nil {
		return r.search(func(b border) bool { return b.pos <= pos })
	}
	return border{}, false
}

// ringSize is a power of two. 128 borders are 2 KiB for each log that is being written to.
const ringSize = 128

// ring holds the latest borders of a tail.
//
// push writes slot head+1 and then moves head; a reader that finds, after
// reading slot i, that head is still so near that i was not being overwritten
// has read it whole.
type ring struct {
	head  atomic.Int64
	slots [ringSize]struct{ offset, pos atomic.Int64 }
}

func newRing(first border) *ring {
	r := new(ring)
	r.slots[0].offset.Store(int64(first.offset))
	r.slots[0].pos.Store(first.pos)
	return r
}

func (r *ring) push(b border) {
	at := r.head.Load() + 1
	slot := &r.slots[at%ringSize]
	slot.offset.Store(int64(b.offset))
	slot.pos.Store(b.pos)
	r.head.Store(at)
}

// search returns the last border for which low holds; low holds for a prefix of the borders. It misses when even
// the oldest one kept is too far, or was overwritten meanwhile.
func (r *ring) search(low func(border) bool) (border, bool) {
	head := r.head.Load()
	first := max(0, head+2-ringSize)
	n := sort.Search(int(head-first+1), func(i int) bool { return !low(r.at(first + int64(i))) })
	if n == 0 {
		return border{}, false
	}
	at := first + int64(n-1)
	b := r.at(at)
	return b, low(b) && at >= r.head.Load()+2-ringSize
}

func (r *ring) at(i int64) border {
	slot := &r.slots[i%ringSize]
	return border{kafka.Offset(slot.offset.Load()), slot.pos.Load()}
}
