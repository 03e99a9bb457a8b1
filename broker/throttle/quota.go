package throttle

import (
	"math"
	"sync"
	"time"
)

// window is how much of its rate replication's quota that was at rest gives at once.
const window = time.Second

// Waits are never shorter, or a full quota would be asked without pause; nor longer, since the rate may change meanwhile.
const (
	shortestWait = 50 * time.Millisecond
	longestWait  = time.Second
)

// Quota bounds a rate, of bytes or of whatever is spent. What went beyond it, because a batch does not come in pieces, is paid off before
// more may go: over any time t no more than rate × (t + window) goes, and one batch for each who spends. Safe for concurrent use.
type Quota struct {
	clock  func() time.Time
	window time.Duration

	mu   sync.Mutex
	rate float64   // a second; 0: without limit
	paid time.Time // when all that went is paid for
}

// NewQuota returns a quota without limit, which, once it has one and was at rest, gives so much of its rate at once.
func NewQuota(clock func() time.Time, window time.Duration) *Quota {
	return &Quota{clock: clock, window: window}
}

// Set changes the rate; 0 is without limit. What went under another one is forgotten: it may have been so low that paying it off took days.
func (q *Quota) Set(rate float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate != rate {
		q.rate, q.paid = rate, time.Time{}
	}
}

// room is how much may go now: none while earlier ones are being paid off.
func (q *Quota) room() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 {
		return math.MaxInt64
	}
	saved := min(q.clock().Sub(q.paid), q.window)
	if saved <= 0 {
		return 0
	}
	return int64(saved.Seconds() * q.rate)
}

// Spend notes what went.
func (q *Quota) Spend(n float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 || n == 0 {
		return
	}
	if now := q.clock(); now.Sub(q.paid) > q.window {
		q.paid = now.Add(-q.window)
	}
	cost := n / q.rate * float64(time.Second)
	q.paid = q.paid.Add(time.Duration(min(cost, float64(365*24*time.Hour))))
}

// Owed is how long it takes to pay off what went beyond the rate; 0 when nothing did.
func (q *Quota) Owed() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rate == 0 {
		return 0
	}
	return max(q.paid.Sub(q.clock()), 0)
}

// AtRest tells whether nothing is remembered that a new quota would not know.
func (q *Quota) AtRest() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rate == 0 || q.clock().Sub(q.paid) >= q.window
}

// wait is how long from now it is worth asking again.
func (q *Quota) wait() time.Duration {
	return min(max(q.Owed(), shortestWait), longestWait)
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
			q.Spend(float64(n))
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
