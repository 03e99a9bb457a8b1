package server

import (
	"math"
	"sync"
)

// budgets divide the bytes of requests in flight by the requests' sizes: whoever announces large requests and comes back when cut off would
// otherwise be in front of each small one, in one queue.
//
// Invariant: a request waits for requests of its own class only. So small ones are not delayed by large ones, and these are not
// starved by small ones that come without pause.
type budgets [len(classes)]*budget

// classes are the sizes that requests have up to, and the eighths of all bytes that they may have: what comes for a group or with linger.ms=0,
// batches up to max.request.size of producers (and a header), and what somebody has allowed.
var classes = [...]struct{ most, eighths int64 }{{64 << 10, 1}, {1<<20 + 64<<10, 4}, {math.MaxInt64, 3}}

func newBudgets(total int64) (b budgets) {
	for i, c := range classes {
		b[i] = newBudget(total / 8 * c.eighths)
	}
	return b
}

// of is the budget for requests of n bytes.
func (b *budgets) of(n int64) *budget {
	i := 0
	for n > classes[i].most {
		i++
	}
	return b[i]
}

func (b *budgets) inFlight() (n int64) {
	for _, c := range b {
		n += c.inFlight()
	}
	return n
}

// budget is the bytes of requests in flight of all connections, of one class. It is given out first come, first served, so that a large
// request is not starved by small ones; one that is larger than the whole budget goes alone. A connection asks for one
// piece at a time, so there are no more waiters than connections.
type budget struct {
	mu    sync.Mutex
	total int64
	used  int64
	head  *claim // waiting, oldest first
	tail  *claim
}

// claim is a connection's place in the queue, guarded by the budget's lock.
type claim struct {
	n         int64
	next      *claim
	granted   bool
	withdrawn bool
	wake      func() // called without the lock when granted
}

func newBudget(total int64) *budget { return &budget{total: total} }

// acquire takes n bytes and returns nil, or queues for them and returns the claim: it is granted later, which wake tells,
// or dropped.
func (b *budget) acquire(n int64, wake func()) *claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == nil && b.fits(n) {
		b.used += n
		return nil
	}
	cl := &claim{n: n, wake: wake}
	if b.tail == nil {
		b.head = cl
	} else {
		b.tail.next = cl
	}
	b.tail = cl
	return cl
}

func (b *budget) fits(n int64) bool { return b.used == 0 || b.used+n <= b.total }

// granted tells whether a queued claim has its bytes.
func (b *budget) granted(cl *claim) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cl.granted
}

// isFirst tells whether a claim is the next to be granted.
func (b *budget) isFirst(cl *claim) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head == cl
}

// drop ends a queued claim: its bytes, if it was granted, go back.
func (b *budget) drop(cl *claim) {
	b.mu.Lock()
	granted := cl.granted
	cl.withdrawn = !granted // it stays in the queue and is passed over
	woken := b.grant()
	b.mu.Unlock()
	wakeAll(woken)
	if granted {
		b.release(cl.n)
	}
}

// release returns n bytes.
func (b *budget) release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	if b.used -= n; b.used < 0 {
		panic("server: more bytes returned to the budget than taken")
	}
	woken := b.grant()
	b.mu.Unlock()
	wakeAll(woken)
}

// grant serves the head of the queue while it fits, and returns whom to wake, as a list.
func (b *budget) grant() (woken *claim) {
	for b.head != nil && (b.head.withdrawn || b.fits(b.head.n)) {
		cl := b.head
		if b.head = cl.next; b.head == nil {
			b.tail = nil
		}
		cl.next = nil
		if !cl.withdrawn {
			b.used += cl.n
			cl.granted = true
			cl.next, woken = woken, cl
		}
	}
	return woken
}

func wakeAll(cl *claim) {
	for ; cl != nil; cl = cl.next {
		cl.wake()
	}
}

func (b *budget) inFlight() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
