package partition

import (
	"sync"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Deadlines answers produces whose own timeout has passed before the high watermark has: one for all partitions of a
// broker. Nothing is timed for each request, and nothing at all while nobody waits: a partition is watched from its first
// waiter on until a look, once a tick, finds none.
//
//	await ── first waiter ──▸ watched ── each tick ──▸ expire: who is late is answered ──▸ none left: forgotten
//
// Lock order: Deadlines.mu is never held with a partition's.
type Deadlines struct {
	clock func() time.Time
	began time.Time

	mu      sync.Mutex
	watched []*Partition
	armed   bool // a look is due, or under way
}

// deadlineTick is how much later than its timeout a produce is answered, at most, and what shorter timeouts count as: a flush
// takes time here that Kafka's page cache does not.
const deadlineTick = 100 * time.Millisecond

// NewDeadlines returns what watches over a broker's produces. It needs no stopping: partitions that are closed have no waiters.
func NewDeadlines(clock func() time.Time) *Deadlines {
	return &Deadlines{clock: clock, began: clock()}
}

// after is the deadline of what began at now. Deadlines are durations since the start: a wall clock that is set moves none of them.
func (d *Deadlines) after(now time.Time, timeout time.Duration) time.Duration {
	return now.Sub(d.began) + max(timeout, deadlineTick)
}

// watch makes looks until the partition has no waiters.
func (d *Deadlines) watch(p *Partition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched = append(d.watched, p)
	d.arm()
}

// arm plans the next look; mu is held.
func (d *Deadlines) arm() {
	if !d.armed && len(d.watched) > 0 {
		d.armed = true
		time.AfterFunc(deadlineTick, d.look)
	}
}

// look answers who is late, in every watched partition.
func (d *Deadlines) look() {
	d.mu.Lock()
	list := d.watched
	d.watched = nil
	d.mu.Unlock()
	now := d.clock().Sub(d.began)
	waiting := list[:0]
	for _, p := range list {
		if p.expire(now) {
			waiting = append(waiting, p)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched = append(waiting, d.watched...)
	d.armed = false
	d.arm()
}

// expire answers the waiters whose deadline has passed with ErrTimedOut, and tells whether others are left; when none are,
// the next one has the partition watched again. What they wrote stays written: it may yet be committed, as in Kafka.
func (p *Partition) expire(now time.Duration) (waiting bool) {
	p.ackMu.Lock()
	late := p.waiters.late(now)
	p.watched = p.waiters.head < len(p.waiters.queue)
	waiting = p.watched
	p.ackMu.Unlock()
	for _, w := range late {
		w.r.Err = ErrTimedOut
		w.to.Produced(w.slot, w.r)
	}
	return waiting
}

// late takes the waiters out whose deadline is not after now.
func (q *waiters) late(now time.Duration) (list []waiter) {
	kept := q.queue[:q.head]
	for _, w := range q.queue[q.head:] {
		if w.deadline <= now {
			list = append(list, w)
			continue
		}
		kept = append(kept, w)
	}
	clear(q.queue[len(kept):])
	q.queue, q.marked = kept, q.head
	if q.head == len(q.queue) {
		q.queue, q.head, q.marked = q.queue[:0], 0, 0
	}
	return list
}

// await answers w now if the high watermark has passed it, else when it does or its deadline has passed.
func (p *Partition) await(w waiter) {
	p.ackMu.Lock()
	if p.env.Traced && w.next <= p.log.DurableEnd() {
		w.r.Flushed = p.env.Clock()
	}
	switch {
	case p.LeaderEpoch() < 0 || p.tenure != w.tenure: // what it has appended may be gone, and another record in its place
		p.ackMu.Unlock()
		fail([]waiter{w}, ErrNotLeader)
		return
	case p.waiters.head == len(p.waiters.queue) && w.next <= kafka.Offset(p.highWatermark.Load()):
		p.ackMu.Unlock()
		w.to.Produced(w.slot, w.r)
		return
	case int(p.isrSize.Load()) < p.MinISR():
		p.ackMu.Unlock()
		fail([]waiter{w}, ErrNotEnoughReplicasAfterAppend)
		return
	}
	p.waiters.push(w)
	watch := !p.watched
	p.watched = true
	p.ackMu.Unlock()
	if watch {
		p.env.Deadlines.watch(p)
	}
}
