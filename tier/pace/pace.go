package pace

import (
	"context"
	"sync"
	"time"
)

const (
	// burst is how far work may run ahead after a pause; what was not used before is not saved up.
	burst = 100 * time.Millisecond
	// lookAgain is how soon who waits finds out that the rate has changed.
	lookAgain = time.Second
)

// Budget is so many bytes a second, which all who take from it share. Safe for concurrent use.
type Budget struct {
	rate func() int64

	mu            sync.Mutex
	taken, earned float64   // bytes, since the beginning; earned may be ahead by a burst
	at            time.Time // when earned was last counted
}

// Fixed is a rate that does not change.
func Fixed(bytesPerSecond int64) func() int64 { return func() int64 { return bytesPerSecond } }

// New returns a budget of so many bytes a second; without limit while that is not positive. The rate is asked for with each Take, and each second
// while one waits.
func New(rate func() int64) *Budget { return &Budget{rate: rate} }

// Take waits until n more bytes may be read, after what others took before, or ctx ends: then its cause is returned.
func (b *Budget) Take(ctx context.Context, n int) error {
	b.mu.Lock()
	b.earn()
	b.taken += float64(n)
	mark := b.taken
	b.mu.Unlock()
	for {
		wait := b.until(mark)
		if wait <= 0 || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// until is how long to wait before the next look at whether the mark is earned; 0: it is.
func (b *Budget) until(mark float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := b.earn()
	if b.earned >= mark {
		return 0
	}
	seconds := min((mark-b.earned)/rate, lookAgain.Seconds())
	return max(time.Duration(seconds*float64(time.Second)), time.Millisecond)
}

// earn counts what was earned since it was last asked, and returns the rate. Without limit all that was taken is earned. Under mu.
func (b *Budget) earn() (rate float64) {
	now := time.Now()
	since := now.Sub(b.at).Seconds()
	b.at = now
	if rate = float64(b.rate()); rate <= 0 {
		b.earned = b.taken
		return rate
	}
	b.earned = min(b.earned+rate*since, b.taken+rate*burst.Seconds())
	return rate
}
