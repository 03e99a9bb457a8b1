package pace

import (
	"context"
	"time"
)

// Budget is so many bytes a second. It belongs to one goroutine.
type Budget struct {
	rate int64     // bytes per second; 0 without limit
	free time.Time // when what was taken so far has been paid for
}

// New returns a budget of so many bytes a second; without limit when that is not positive.
func New(bytesPerSecond int64) *Budget { return &Budget{rate: max(bytesPerSecond, 0)} }

// Take waits until n more bytes may be read, or ctx ends. What was not used is not saved up.
func (b *Budget) Take(ctx context.Context, n int) error {
	if b.rate == 0 {
		return ctx.Err()
	}
	now := time.Now()
	wait := b.free.Sub(now)
	if wait < 0 {
		b.free, wait = now, 0
	}
	b.free = b.free.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	if wait == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
