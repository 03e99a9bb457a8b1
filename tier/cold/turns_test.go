package cold

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// full always has something to read.
type full struct{}

func (full) Read(p []byte) (int, error) { return len(p), nil }

// Downloads that never wait for the bucket would take every processor; or one that does wait would keep its turn from the others.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var now, most atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				r := turns.reading()
				defer r.end()
				for range 100 {
					if _, err := r.read(full{}, make([]byte, 10)); err != nil {
						t.Error(err)
					}
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Microsecond) // verifies
					now.Add(-1)
				}
			})
		}
		all.Wait()
		if most.Load() > int64(cap(turns)) {
			t.Fatalf("%d at a time, %d turns", most.Load(), cap(turns))
		}

		// As many as there are turns expect more, and get nothing.
		hang, w := io.Pipe()
		for range cap(turns) {
			all.Go(func() {
				r := turns.reading()
				defer r.end()
				_, _ = r.read(io.MultiReader(bytes.NewReader(make([]byte, 10)), hang), make([]byte, 10))
				_, _ = r.read(hang, make([]byte, 10))
			})
		}
		time.Sleep(2 * lent)
		began := time.Now()
		r := turns.reading()
		if _, err := r.read(full{}, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		r.end()
		if d := time.Since(began); d > 0 {
			t.Fatalf("waited %v for a turn", d)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if len(turns) != 0 {
			t.Fatalf("%d turns are not given back", len(turns))
		}
	})
}
