package partition

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// unstable are the transactions that keep the last stable offset back: those that are open, and those whose marker is not
// below the high watermark yet. Whoever reads looks at one number; whoever appends or advances takes the lock only when
// there is a transaction. A leaf lock: nothing is called under it.
//
//	before (the append) ─▸ appended ─▸ in the producers' state, and in the list of what was aborted ─▸ after
//	                          └ high watermark passes ─▸ passed
//
// What must stay true: a transaction is here before any of its records can lie below the high watermark, and until its marker
// does *and* readers can find it among the aborted.
type unstable struct {
	mu   sync.Mutex
	list []undecided
	// first is the least of the list's, none when there is nothing in it. Written under mu.
	first atomic.Int64
}

// undecided is a transaction from its first offset on; marker is its end's, or one of the two below.
type undecided struct {
	id     kafka.ProducerID
	first  kafka.Offset
	marker kafka.Offset
}

const (
	noMarker     kafka.Offset = -1
	markerToCome kafka.Offset = -2 // it is being appended

	// none stands for the first offset of no transaction.
	none = math.MaxInt64
)

func (u *unstable) settle() {
	first := int64(none)
	for i := range u.list {
		first = min(first, int64(u.list[i].first))
	}
	u.first.Store(first)
}

// before notes stamped batches that are about to be appended. undo takes it back when they were not; nil when there is nothing to
// take back.
func (u *unstable) before(batches []batch.View) (undo func(highWatermark kafka.Offset)) {
	if !slices.ContainsFunc(batches, func(v batch.View) bool { return v.Attributes().Transactional() }) {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	was := slices.Clone(u.list)
	for _, v := range batches {
		a := v.Attributes()
		if !a.Transactional() {
			continue
		}
		at := u.find(v.ProducerID(), noMarker)
		switch {
		case a.Control() && at != nil && isMarker(v):
			at.marker = markerToCome
		case !a.Control() && at == nil:
			u.list = append(u.list, undecided{v.ProducerID(), v.BaseOffset(), noMarker})
		}
	}
	u.settle()
	return func(highWatermark kafka.Offset) { u.rebuild(was, highWatermark) }
}

// after notes that a batch is in the log and all that follows from it known; for control batches.
func (u *unstable) after(v batch.View) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at := u.find(v.ProducerID(), markerToCome); at != nil {
		at.marker = v.BaseOffset()
	}
}

func isMarker(v batch.View) bool {
	_, ok, err := v.Marker()
	return ok && err == nil
}

// find finds the first of a producer's transactions with that marker. mu is held.
func (u *unstable) find(id kafka.ProducerID, marker kafka.Offset) *undecided {
	for i := range u.list {
		if t := &u.list[i]; t.id == id && t.marker == marker {
			return t
		}
	}
	return nil
}

// passed forgets the transactions whose marker is below the high watermark, and tells whether that moved the first.
func (u *unstable) passed(highWatermark kafka.Offset) (moved bool) {
	was := u.first.Load()
	if was == none {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = slices.DeleteFunc(u.list, func(t undecided) bool { return t.marker >= 0 && t.marker < highWatermark })
	u.settle()
	return u.first.Load() != was
}

// rebuild begins anew with a list.
func (u *unstable) rebuild(list []undecided, highWatermark kafka.Offset) {
	u.mu.Lock()
	u.list = list
	u.settle()
	u.mu.Unlock()
	u.passed(highWatermark)
}

// LastStable is the end of what a read_committed consumer may see: what lies below is below the high watermark, and the
// transactions that it belongs to are decided, and their markers below the high watermark, too. It costs two loads.
func (p *Partition) LastStable() kafka.Offset {
	// In this order: a transaction that was forgotten meanwhile is among the aborted, whoever looks there next.
	hw := p.HighWatermark()
	first := p.unstable.first.Load()
	if bugStable || first == none {
		return hw
	}
	return min(hw, max(kafka.Offset(first), p.log.Start())) // of a transaction of which retention has taken the beginning
}

// decided moves the last stable offset after markers have come below the high watermark before all was known of them.
func (p *Partition) decided() {
	if p.unstable.passed(p.HighWatermark()) {
		p.log.SetStable(p.LastStable())
		p.listeners.notify(p)
	}
}
