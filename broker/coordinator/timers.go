package coordinator

import (
	"container/heap"
	"sync"
	"time"
)

// timers is every group's deadline: one heap, looked after by Run with one timer. Its lock is taken inside shards'
// locks and never around them.
type timers struct {
	mu   sync.Mutex
	heap deadlines
	wake chan struct{} // the earliest deadline has moved forward
}

// slot is an entry's place in the heap; guarded by timers.mu.
type slot struct {
	at    time.Time
	index int // -1: not in the heap
}

// set moves an entry's deadline; zero removes it.
func (t *timers) set(e *entry, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case at.IsZero():
		if e.slot.index >= 0 {
			heap.Remove(&t.heap, e.slot.index)
		}
		return
	case e.slot.index >= 0:
		e.slot.at = at
		heap.Fix(&t.heap, e.slot.index)
	default:
		e.slot.at = at
		heap.Push(&t.heap, e)
	}
	if e.slot.index == 0 {
		signal(t.wake)
	}
}

// due removes and returns up to max entries whose time has come, and the next deadline after them (zero: none).
func (t *timers) due(now time.Time, max int) (es []*entry, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.heap) > 0 && len(es) < max && !now.Before(t.heap[0].slot.at) {
		es = append(es, heap.Pop(&t.heap).(*entry))
	}
	if len(t.heap) > 0 {
		next = t.heap[0].slot.at
	}
	return es, next
}

type deadlines []*entry

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].slot.at.Before(d[j].slot.at) }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].slot.index, d[j].slot.index = i, j
}
func (d *deadlines) Push(x any) {
	e := x.(*entry)
	e.slot.index = len(*d)
	*d = append(*d, e)
}
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	e.slot.index = -1
	return e
}

// signal wakes a loop that has a one-place channel; a signal that is pending already says the same.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// note is the outcome of a proposal: of a group's state, or, where deleted is set, of its deletion. A group has at most one note for each of its
// proposals, and proposes again only for what clients ask of it.
type note struct {
	e       *entry
	g       machine // whose state it is
	seq     uint64
	err     error
	deleted func(error)
}
