package api

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/quota"
	"github.com/qanat-io/qanat/wire"
)

// fetcher carries fetches out, one at a time: a session's, one after the other, or (pooled) a single one without a session.
//
//	request ──▶ ready queue ──▶ read, in turn ──▶ answer, slots in the order read
//	                ▲                 │ too little yet
//	    news ───────┘                 ▼
//	     ▲ tell()                  parked: asleep, a timer, no goroutine
//	     └── partitions: Advanced, Ready
//
// A slot is examined only when it is in the ready queue, and gets there by the request (new, or another offset), by news of
// its partition, or because it had data, or an error, last time: so an incremental fetch costs what changed, not what is
// subscribed. Slots that were answered go to the back: a busy partition cannot starve the others.
//
// No wake-up is lost: told is cleared before the slot is read; a fetch falls asleep under newsMu only if there are no news;
// a slot without a session subscribes first and compares what it read with the partition afterwards.
//
// Locks: mu, then newsMu. Partitions are read under mu, and call tell, which takes newsMu alone. Nothing is replied to and
// no goroutine is waited for under either.
type fetcher struct {
	h       *Handler
	session *session // nil: without

	mu     sync.Mutex
	slots  []*slot // without a session: slots[:n] are in use. A session's are in its map, and in order here for a full answer
	n      int
	ready  slotQueue
	x      *wire.Exchange // the fetch in progress; nil when there is none
	answer []*slot        // slots held for the answer, in the order they were read
	bytes  int            // held
	slowed int            // of these, those that a throttle bounds
	full   bool           // something did not fit: the answer goes out
	urgent bool           // something must be told at once
	meter  *quota.Meter   // what bounds the client; nil when nothing does
	owing  bool           // the client has had too much: it is told, and gets nothing
	all    bool           // a full answer lists every slot; an incremental one those that changed

	minBytes, maxBytes int
	committed          bool
	replica            *partition.Replica // who fetches, a session's always the same; nil: a consumer
	rack               string             // where the consumer is; "" when it does not say
	deadline           time.Time
	timer              *time.Timer
	unwatch            func() bool // stops watching for the connection's end; nil when not watched
	hurryAsked         bool

	newsMu  sync.Mutex
	news    *slot // a stack; each slot on it has told set
	asleep  bool  // parked, and nobody has been sent to wake it
	hurried bool  // another request waits behind this one

	wakeFn, hurryFn func() // methods, made once

	// Of a fetch that is traced, see trace.go.
	parkedAt      time.Duration
	parkedLoading bool
}

func newFetcher(h *Handler) *fetcher {
	f := &fetcher{h: h}
	f.wakeFn, f.hurryFn = f.wake, f.hurry
	return f
}

// outgoing is an answer on its way out of the lock.
type outgoing struct {
	x        *wire.Exchange
	response *wire.FetchResponse
}

func (o outgoing) send() {
	if o.x != nil {
		o.x.Reply(wire.Reply{Fetch: o.response})
	}
}

// begin starts a fetch; the slots it asks for are in the ready queue. mu is held, no other fetch is in progress.
func (f *fetcher) begin(x *wire.Exchange, req *kmsg.FetchRequest, all bool) {
	f.x, f.all = x, all
	f.maxBytes = max(min(int(req.MaxBytes), f.h.settings.fetchMaxBytes), 0)
	f.minBytes = min(max(int(req.MinBytes), 0), f.maxBytes)
	f.committed = req.IsolationLevel == 1
	f.rack = req.Rack
	f.traceBegin()
	f.report()
	f.meter = f.h.meter(x)
	owed := f.meter.FetchOwed()
	f.owing = owed > 0
	holdOff(x, owed)
	f.deadline = time.Time{}
	if req.MaxWaitMillis > 0 {
		f.deadline = time.Now().Add(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	}
	f.newsMu.Lock()
	f.hurried = false
	f.newsMu.Unlock()
}

// run reads what is ready and answers, or parks. mu is held.
func (f *fetcher) run() outgoing {
	for {
		f.drainNews()
		f.readReady()
		f.traceRead()
		if f.done() {
			return f.finish()
		}
		if f.park() {
			return outgoing{}
		}
	}
}

// drainNews moves slots with news to the ready queue.
func (f *fetcher) drainNews() {
	f.newsMu.Lock()
	s := f.news
	f.news = nil
	f.newsMu.Unlock()
	for s != nil {
		next := s.nextNews
		s.nextNews = nil
		s.told.Store(notTold) // before it is read: later news come again
		if s.used {
			f.ready.push(s)
		}
		s = next
	}
}

// readReady reads the slots in the queue, each at most once, until the answer is full.
func (f *fetcher) readReady() {
	if f.owing {
		return // they stay in the queue
	}
	for range f.ready.len {
		if f.bytes > 0 && f.bytes >= f.maxBytes {
			f.full = true
			return
		}
		s := f.ready.pop()
		if !s.used {
			continue // forgotten while it was queued
		}
		if !f.readSlot(s) {
			f.ready.push(s)
		}
	}
}

// readSlot reads one slot into the answer. It returns false when there was data for which the answer had no room.
func (f *fetcher) readSlot(s *slot) bool {
	again := s.held
	f.bytes -= s.result.Run.Len()
	if !s.limit.None() {
		f.slowed -= s.result.Run.Len()
	}
	s.drop()
	if s.leader == nil {
		if err := s.resolve(f.h, f.h.quorum.Image(), f.byID()); err != nil {
			f.failSlot(s, err, again)
			return true
		}
	}
	if f.session != nil {
		s.subscribe() // before the read: what comes after it is news
	}
	limit := min(int(s.maxBytes), f.maxBytes-f.bytes)
	room := f.room(s)
	if !f.sendNear(s) {
		s.read(max(min(limit, room), 1), f.committed, f.x.Client)
	}
	if room == 0 && s.result.Run.Len() > 0 {
		s.result.Run.Release()
		s.result.Run = emptyRun
		s.wait(s.limit.Wait())
	}
	if s.result.Cold || s.loading {
		f.h.forgetWhenGone(f.x.Client)
	}
	if s.err != nil && known(s.err) == kerr.NotLeaderForPartition {
		// Moved, or deleted and perhaps made again: look once more in the newest image.
		err := s.err
		s.unsubscribe()
		s.leader = nil
		if gone := s.resolve(f.h, f.h.quorum.Image(), f.byID()); gone != nil {
			err = gone
		}
		s.leader = nil // the next fetch resolves it
		f.failSlot(s, err, again)
		return true
	}
	fits := s.result.Run.Len() <= limit || f.bytes == 0
	if !fits {
		// A first batch beyond the limits goes out only when nothing else does.
		s.result.Run.Release()
		s.result.Run = emptyRun
		f.full = true
	}
	f.bytes += s.result.Run.Len()
	if !s.limit.None() {
		f.slowed += s.result.Run.Len()
	}
	if s.stillFails() {
		s.wait(failureAgain)
	}
	f.urgent = f.urgent || s.urgent() || s.result.Cold && s.result.Run.Len() > 0
	f.list(s, again)
	return fits
}

// failSlot makes an error the slot's answer.
func (f *fetcher) failSlot(s *slot, err error, again bool) {
	s.result = partition.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1}
	s.err, s.held, s.loading = err, true, false
	f.urgent = true
	f.list(s, again)
}

// list adds the slot to the answer, unless it is there.
func (f *fetcher) list(s *slot, again bool) {
	if !again {
		f.answer = append(f.answer, s)
	}
}

// byID tells whether the fetch names topics by id.
func (f *fetcher) byID() bool { return f.x.Version >= fetchTopicIDVersion }

// done tells whether to answer now.
func (f *fetcher) done() bool {
	switch {
	case f.owing, f.urgent, f.full, f.bytes > 0 && f.bytes >= f.minBytes, f.minBytes == 0:
		return true
	case f.deadline.IsZero() || !time.Now().Before(f.deadline):
		return true
	case f.empty():
		return true
	case gone(f.x).Err() != nil:
		return true // nobody listens
	case f.h.stopping.Load() && f.replica == nil:
		return true
	}
	f.newsMu.Lock()
	defer f.newsMu.Unlock()
	return f.hurried
}

// empty tells whether there is nothing to wait for.
func (f *fetcher) empty() bool {
	if f.session != nil {
		return len(f.session.slots) == 0
	}
	return f.n == 0
}

// watchedWait is how long a fetch must still be going to wait for its connection's end to be worth watching: shorter ones
// end by themselves soon enough.
const watchedWait = 2 * time.Second

// park puts the fetch to sleep; false when there are news and it has to run again.
func (f *fetcher) park() bool {
	if f.session == nil && f.subscribeAll() {
		return false
	}
	if !f.hurryAsked && f.anyLoading() {
		f.hurryAsked = true
		f.x.OnHurry(f.hurryFn)
	}
	left := time.Until(f.deadline)
	if f.unwatch == nil && left > watchedWait && f.x.Client != nil && f.x.Client.Gone != nil {
		f.unwatch = context.AfterFunc(f.x.Client.Gone, f.wakeFn)
	}
	f.newsMu.Lock()
	defer f.newsMu.Unlock()
	if f.news != nil || f.hurried {
		return false
	}
	f.asleep = true
	f.traceParked()
	if f.timer == nil {
		f.timer = time.AfterFunc(left, f.wakeFn)
	} else {
		f.timer.Reset(left)
	}
	return true
}

// subscribeAll makes the slots of a sessionless fetch hear of their partitions. It returns true when one has moved since it
// was read.
func (f *fetcher) subscribeAll() bool {
	moved := false
	for _, s := range f.slots[:f.n] {
		if s.cancel != nil || s.leader == nil {
			continue
		}
		s.subscribe()
		if s.stale(f.committed) {
			f.ready.push(s)
			moved = true
		}
	}
	return moved
}

func (f *fetcher) anyLoading() bool {
	for _, s := range f.answer {
		if s.loading {
			return true
		}
	}
	return false
}

// wake goes on with a parked fetch. Called on its own goroutine, by news, the timer, a hurry, or the connection's end; a call
// that comes too late, for a fetch that has been answered, finds another one or none and does no harm.
func (f *fetcher) wake() {
	f.mu.Lock()
	if f.x == nil {
		f.mu.Unlock()
		return
	}
	f.newsMu.Lock()
	f.asleep = false
	f.newsMu.Unlock()
	f.traceWoken()
	out := f.run()
	f.mu.Unlock()
	out.send()
}

// awake is wake for news. They come in bursts, one partition after the other behind a flush: whoever brings them goes first, or the
// answer would hold the first and the next fetch the rest.
func (f *fetcher) awake() {
	runtime.Gosched()
	f.wake()
}

// hurry is told that another request waits behind this one. It may be called from within OnHurry.
func (f *fetcher) hurry() {
	f.newsMu.Lock()
	f.hurried = true
	wake := f.asleep
	f.asleep = false
	f.newsMu.Unlock()
	if wake {
		go f.wake()
	}
}

// answerNow ends the fetch in progress with what it has. mu is held.
func (f *fetcher) answerNow() outgoing {
	if f.x == nil {
		return outgoing{}
	}
	f.traceWoken()
	return f.finish()
}

// finish makes the answer and leaves the fetcher ready for the next fetch. mu is held.
func (f *fetcher) finish() outgoing {
	f.meter.Fetched(f.bytes)
	out := outgoing{f.x, f.respond()}
	f.rack, f.meter, f.owing = "", nil, false
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.unwatch != nil {
		f.unwatch()
		f.unwatch = nil
	}
	f.newsMu.Lock()
	f.asleep = false
	f.newsMu.Unlock()
	clear(f.answer)
	f.answer = f.answer[:0]
	f.x, f.bytes, f.slowed, f.full, f.urgent, f.hurryAsked = nil, 0, 0, false, false, false
	switch {
	case f.session == nil:
		f.retire()
	case f.all:
		f.slots, f.n = nil, 0 // its order served the full answer only
	}
	return out
}

// retire returns a sessionless fetcher to the pool.
func (f *fetcher) retire() {
	f.ready.clear()
	for _, s := range f.slots[:f.n] {
		s.leave()
	}
	f.n, f.replica = 0, nil
	f.h.fetchers.Put(f)
}

// slotQueue is a bounded ring: a slot is in it at most once.
type slotQueue struct {
	ring []*slot // length is a power of two, or zero
	head int
	len  int
}

// push appends s, unless it is queued.
func (q *slotQueue) push(s *slot) {
	if s.queued {
		return
	}
	if q.len == len(q.ring) {
		grown := make([]*slot, max(8, 2*len(q.ring)))
		for i := range q.len {
			grown[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.len)&(len(q.ring)-1)] = s
	q.len++
	s.queued = true
}

// pop removes the first; the queue must not be empty.
func (q *slotQueue) pop() *slot {
	s := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.len--
	s.queued = false
	return s
}

// each calls do for all that are queued.
func (q *slotQueue) each(do func(*slot)) {
	for i := range q.len {
		do(q.ring[(q.head+i)&(len(q.ring)-1)])
	}
}

func (q *slotQueue) clear() {
	for q.len > 0 {
		q.pop()
	}
}

// forgetWhenGone ends the downloads that only this client wants when its connection ends.
func (h *Handler) forgetWhenGone(c *wire.Client) {
	if h.Forget == nil || c == nil || c.Gone == nil || c.ReadsBucket.Swap(true) {
		return
	}
	context.AfterFunc(c.Gone, func() { h.Forget(c) })
}
