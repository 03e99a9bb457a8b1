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
