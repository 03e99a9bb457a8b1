package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Who produces to a broker that refuses records would not be told, be told again and again, or be told while records are acknowledged or there are none.
func TestNoAcknowledgementsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		w := newPatience(&out)
		w.begin()
		var onTheirWay int64
		var acknowledged int
		ctx, cancel := context.WithCancel(t.Context())
		go w.acknowledgements(ctx, func() (int64, int) { return onTheirWay, acknowledged })
		told := func(after time.Duration, times int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := strings.Count(out.String(), "waiting: acknowledgements"); n != times {
				t.Errorf("told %d times, not %d: %s", n, times, out.String())
			}
		}
		told(time.Minute, 0) // there is nothing
		onTheirWay, acknowledged = 10, 1
		told(acknowledgementsMost, 0)
		told(time.Minute, 1)
		acknowledged = 5
		told(acknowledgementsMost, 1)
		told(time.Minute, 2) // it is another time
		cancel()
	})
}

// A partition that cannot be read would be asked for again and again without a pause, or for ever longer pauses; or records that come beside it, or
// after it, would wait.
func TestRest(t *testing.T) {
	var r rest
	for i, c := range []struct {
		failed  bool
		records int
		want    time.Duration
	}{
		{false, 0, 0}, {true, 0, firstRest}, {true, 0, 2 * firstRest}, {true, 0, 4 * firstRest}, {true, 0, 8 * firstRest}, {true, 0, lastRest}, {true, 0, lastRest},
		{true, 5, 0}, {true, 0, firstRest}, {false, 5, 0}, {true, 0, firstRest},
	} {
		if got := r.after(c.failed, c.records); got != c.want {
			t.Errorf("answer %d: rests for %v, want %v", i, got, c.want)
		}
	}
}
