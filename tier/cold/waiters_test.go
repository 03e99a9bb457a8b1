package cold

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// However often a client asks while the bucket hangs, the reader keeps one callback for each partition it reads, and none once
// it has gone.
func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		a, b := build(t, mem, 1, partition(0), small), build(t, mem, 2, partition(1), small)
		g := newGate(mem, a, b)
		r := start(t, g, Config{Workers: 1})
		var called atomic.Int64
		ask := func(from kafka.Offset) {
			a.ask(t, r, "impatient", from, &called)
			b.ask(t, r, "impatient", from, &called)
			synctest.Wait()
		}
		ask(0) // for the footers
		called.Store(0)
		for i := range 1000 {
			ask(kafka.Offset(i) % a.manifest.End())
		}
		kept := func() (n int) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, rm := range r.remotes {
				for _, ws := range rm.waiters {
					n += len(ws)
				}
			}
			if len(r.demands) > 2 {
				t.Errorf("%d demands of two streams", len(r.demands))
			}
			return n
		}
		if n := kept(); n != 2 || called.Load() != 0 {
			t.Fatalf("%d callbacks are kept, %d were called", n, called.Load())
		}
		r.Forget("impatient")
		synctest.Wait()
		if n := kept(); n != 0 || called.Load() != 2 || g.running.Load() != 0 {
			t.Fatalf("after it has gone %d are kept, %d were called, %d GETs run", n, called.Load(), g.running.Load())
		}
		close(g.open)
	})
}
