package pace

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// False if: more than the rate and a burst is given, or an idle hour is saved up.
func TestTheRateHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Fixed(1000))
		for range 2 {
			d := took(func() {
				for range 100 {
					if err := b.Take(t.Context(), 100); err != nil {
						t.Fatal(err)
					}
				}
			})
			if d < 9900*time.Millisecond || d > 10*time.Second {
				t.Errorf("10,000 bytes at 1,000 a second took %v", d)
			}
			time.Sleep(time.Hour)
		}
	})
}

// False if: who waits at a rate that was set too low by mistake still waits when it has been set right.
func TestARateMayChangeWhileOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rate atomic.Int64
		rate.Store(1)
		b := New(rate.Load)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := b.Take(t.Context(), 1<<20); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Minute)
		select {
		case <-done:
			t.Error("a megabyte in a minute, at a byte a second")
		default:
		}
		rate.Store(1 << 20)
		if d := took(func() { <-done }); d > 3*time.Second {
			t.Errorf("waited for %v more at a megabyte a second", d)
		}
		rate.Store(1)
		go func() { time.Sleep(time.Minute); rate.Store(0) }()
		if d := took(func() { _ = b.Take(t.Context(), 1<<30) }); d < time.Minute || d > time.Minute+3*time.Second {
			t.Errorf("without limit after a minute, and waited for %v", d)
		}
	})
}

// False if: who waits does not notice that nobody wants it any more, or does not say why.
func TestTheEndIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, why := New(Fixed(1)), errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(time.Minute); cancel(why) }()
		if err := b.Take(ctx, 1<<20); !errors.Is(err, why) {
			t.Error(err)
		}
	})
}
