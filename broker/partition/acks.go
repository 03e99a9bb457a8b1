package partition

import (
	"context"
	"slices"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Acks is the producer's wish: 0 none, 1 written by the leader, -1 durable on all in-sync replicas.
type Acks int16

// Produced is the outcome of one partition's produce.
type Produced struct {
	Err           error
	Base          kafka.Offset
	LogAppendTime int64 // milliseconds; -1 where records keep the producer's time
	LogStart      kafka.Offset
	Flushed       time.Time // when it was on this broker's disk; zero where Env.Traced is not set, or it was not waited for
	RecordErrors  []RecordError
}

// RecordError names a record of the batch that was refused (KIP-467).
type RecordError struct {
	Index   int32
	Message string
}

// Waiter hears of a produce's end; slot is what Produce was given. It is
// called once per slot, from any goroutine, also from within Produce; often from
// the one that flushes for all, so it must not block.
type Waiter interface{ Produced(slot int, r Produced) }

// waiter is an append whose answer waits for the high watermark to reach next.
type waiter struct {
	next     kafka.Offset
	to       Waiter
	slot     int
	r        Produced
	deadline time.Duration // see Deadlines
	tenure   uint64        // the leadership that appended it
}

// waiters is a queue in the order of appending. A duplicate waits behind later
// appends; since all of them are flushed together, that costs it nothing.
type waiters struct {
	queue []waiter
	head  int
	// marked is up to where they have been told when they were flushed, or less.
	marked int
}

func (q *waiters) push(w waiter) { q.queue = append(q.queue, w) }

// pop takes the first waiter if the high watermark has passed it.
func (q *waiters) pop(highWatermark kafka.Offset) (waiter, bool) {
	if q.head == len(q.queue) || q.queue[q.head].next > highWatermark {
		return waiter{}, false
	}
	w := q.queue[q.head]
	q.queue[q.head] = waiter{}
	q.head++
	switch {
	case q.head == len(q.queue):
		q.queue, q.head, q.marked = q.queue[:0], 0, 0
	case q.head > 1024 && q.head > len(q.queue)/2:
		// Never empty under steady load: give the front back.
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.marked, q.head = q.queue[:n], max(q.marked-q.head, 0), 0
	}
	return w, true
}

// take empties the queue.
func (q *waiters) take() []waiter {
	list := q.queue[q.head:]
	q.queue, q.head, q.marked = nil, 0, 0
	return list
}

// mark notes, for those whose batches end at or below durable, that they were flushed now.
func (q *waiters) mark(durable kafka.Offset, now time.Time) {
	for q.marked = max(q.marked, q.head); q.marked < len(q.queue) && q.queue[q.marked].next <= durable; q.marked++ {
		if r := &q.queue[q.marked].r; r.Flushed.IsZero() {
			r.Flushed = now
		}
	}
}

// flushed is called by the log each time its durable end has grown.
func (p *Partition) flushed(durable kafka.Offset) {
	if p.env.Traced {
		p.ackMu.Lock()
		p.waiters.mark(durable, p.env.Clock())
		p.ackMu.Unlock()
	}
	p.advance()
}

// advance moves the high watermark as far as it may go and answers whoever it passes.
func (p *Partition) advance() {
	p.ackMu.Lock()
	reached := p.reach()
	if reached <= kafka.Offset(p.highWatermark.Load()) {
		p.ackMu.Unlock()
		return
	}
	p.highWatermark.Store(int64(reached))
	p.unstable.passed(reached)
	p.log.SetStable(p.LastStable())
	for {
		// Read anew each time: between two answers the log may have been cut, and another leadership have begun, whose waiters
		// these are then.
		w, ok := p.waiters.pop(p.HighWatermark())
		p.ackMu.Unlock()
		if !ok {
			break
		}
		w.to.Produced(w.slot, w.r)
		p.ackMu.Lock()
	}
	p.listeners.notify(p)
	// Where something behind a segment is acknowledged the roll is done; at its very end it may be half done.
	p.sealed(min(reached-1, p.LastStable()))
}

// sealed tells the archive of closed segments that end at an offset or below it.
func (p *Partition) sealed(to kafka.Offset) {
	if p.rolls.passed(to) && p.env.Sealed != nil {
		p.env.Sealed(p.id)
	}
}

// HighWatermark is the end of what is durable on every in-sync replica.
func (p *Partition) HighWatermark() kafka.Offset { return kafka.Offset(p.highWatermark.Load()) }

// Unsettled tells whether Settle would wait.
func (p *Partition) Unsettled() bool {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	return p.alone() && p.HighWatermark() < p.log.End()
}

// alone tells whether the high watermark waits for this broker's disk and nothing else. ackMu is held.
func (p *Partition) alone() bool {
	if p.LeaderEpoch() < 0 || len(p.elr) > 0 || int(p.isrSize.Load()) < p.MinISR() {
		return false
	}
	return !slices.ContainsFunc(p.replicas, func(r replica) bool { return r.counted && r.id != p.env.Node })
}

// maxSettle is how long Settle waits for a disk at most, whatever its context allows.
const maxSettle = time.Minute

// Settle waits, at a leader that is the only in-sync replica, until what it has appended by now is below the high watermark, or ctx ends.
// In Kafka it is there by the time acks=1 is answered, and who has been answered goes on to ask for the end, or deletes up to it. With
// other replicas it need not be in Kafka either.
func (p *Partition) Settle(ctx context.Context) {
	p.ackMu.Lock()
	alone, tenure := p.alone(), p.tenure
	p.ackMu.Unlock()
	end := p.log.End()
	if !alone || p.HighWatermark() >= end {
		return
	}
	done := make(settled)
	p.await(waiter{next: end, tenure: tenure, to: done, deadline: p.env.Deadlines.after(p.env.Clock(), maxSettle)})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// settled is closed when what was waited for has come, or never will.
type settled chan struct{}

func (s settled) Produced(int, Produced) { close(s) }
