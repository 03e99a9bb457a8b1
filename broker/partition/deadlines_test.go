package partition

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A produce would wait beyond its own timeout for a disk that does not flush, or fail others that may still wait, or what
// timed out would not be what a retry finds.
func TestProduceTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		release := w.hold()
		began := time.Now()
		short, long := make(timed, 1), make(timed, 1)
		w.p.Produce(from(9, 0, 0, 2), nil, -1, 300*time.Millisecond, short, 0)
		w.p.Produce(plain(1), nil, -1, time.Hour, long, 0)
		if got := <-short; !errors.Is(got.r.Err, ErrTimedOut) || got.r.Base != 1 || got.at.Sub(began) < 300*time.Millisecond || got.at.Sub(began) > 300*time.Millisecond+deadlineTick {
			t.Fatalf("after %v: %+v", got.at.Sub(began), got.r)
		}
		retried := make(timed, 1)
		w.p.Produce(from(9, 0, 0, 2), nil, -1, 0, retried, 0)
		if got := <-retried; !errors.Is(got.r.Err, ErrTimedOut) || got.r.Base != 1 {
			t.Fatalf("retried: %+v", got.r)
		}
		synctest.Wait()
		if len(long) != 0 {
			t.Fatalf("what may wait an hour was answered: %+v", <-long)
		}
		w.p.Produce(from(9, 0, 0, 2), nil, -1, time.Hour, retried, 0)
		release()
		if got := <-long; got.r.Err != nil || got.r.Base != 3 {
			t.Fatalf("flushed: %+v", got.r)
		}
		if got := <-retried; got.r.Err != nil || got.r.Base != 1 {
			t.Fatalf("retried and flushed: %+v", got.r)
		}
		if got := len(w.read(0)); got != 3 {
			t.Errorf("the log holds %d batches of 3", got)
		}
		// Nothing waits: nothing is looked at, and a later produce is watched again.
		time.Sleep(10 * deadlineTick)
		synctest.Wait()
		if d := w.p.env.Deadlines; d.armed || len(d.watched) > 0 {
			t.Errorf("%d partitions are watched although nobody waits", len(d.watched))
		}
		release = w.hold()
		w.p.Produce(plain(1), nil, -1, time.Second, short, 0)
		if got := <-short; !errors.Is(got.r.Err, ErrTimedOut) {
			t.Errorf("watched again: %+v", got.r)
		}
		release()
	})
}

// timed takes answers with when they came.
type timed chan struct {
	r  Produced
	at time.Time
}

func (c timed) Produced(_ int, r Produced) {
	c <- struct {
		r  Produced
		at time.Time
	}{r, time.Now()}
}
