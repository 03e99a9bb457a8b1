package throttle

import (
	"math"
	"sync"
	"time"
)

// window is how much of its rate a quota that was at rest gives at once.
const window = time.Second

// Waits are never shorter, or a full quota would be asked without pause; nor longer, since the rate may change meanwhile.
const (
	shortestWait = 50 * time.Millisecond
	longestWait  = time.Second
)

// Quota bounds a rate. What went beyond it, because a batch does not come in pieces, is paid off before more may go: over any time t no
// more than rate × (t + window) goes, and one batch for each who fetches. The zero value is without limit; safe for concurrent use.
type Quota struct {
	clock func() time.Time

	mu   sync.Mutex
	rate int64     // bytes a second; 0: without limit
	paid time.Time // when all that went is paid for
}

// set changes the rate. What went under another one is forgotten: it may have been so low that paying it off took days.
func (q *Quota) set(rate int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate != rate {
		q.rate, q.paid = rate, time.Time{}
	}
}

// room is how many bytes may go now: none while earlier ones are being paid off.
func (q *Quota) room() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 {
		return math.MaxInt64
	}
	saved := min(q.clock().Sub(q.paid), window)
	if saved <= 0 {
		return 0
	}
	return int64(saved.Seconds() * float64(q.rate))
}

// spend notes bytes that went.
func (q *Quota) spend(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 || n == 0 {
		return
	}
	if now := q.clock(); now.Sub(q.paid) > window {
		q.paid = now.Add(-window)
	}
	cost := float64(n) / float64(q.rate) * float64(time.Second)
	q.paid = q.paid.Add(time.Duration(min(cost, float64(365*24*time.Hour))))
}

// wait is how long from now it is worth asking again.
func (q *Quota) wait() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 {
		return shortestWait
	}
	return min(max(q.paid.Sub(q.clock()), shortestWait), longestWait)
}

// Limit is what bounds one replica's fetches; the zero value bounds nothing.
type Limit struct{ quotas [2]*Quota }

// None tells that nothing is bounded.
func (l Limit) None() bool { return l.quotas == [2]*Quota{} }

// Room is how many bytes may go now.
func (l Limit) Room() int {
	room := int64(math.MaxInt)
	for _, q := range l.quotas {
		if q != nil {
			room = min(room, q.room())
		}
	}
	return int(room)
}

// Spend notes bytes that went.
func (l Limit) Spend(n int) {
	for _, q := range l.quotas {
		if q != nil {
			q.spend(n)
		}
	}
}

// Wait is how long to wait when there is no room.
func (l Limit) Wait() time.Duration {
	wait := shortestWait
	for _, q := range l.quotas {
		if q != nil {
			wait = max(wait, q.wait())
		}
	}
	return wait
}
