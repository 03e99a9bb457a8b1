package cold

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// spill moves the world's oldest entries to pages of n, until fewer than n+1 are in memory.
func (w *flat) spill(t testing.TB, b object.Bucket, n int) {
	t.Helper()
	for i := 0; w.manifest.Len() > n; i++ {
		page, obj := w.manifest.NewPage(w.partition, n, [16]byte{byte(i), 42, byte(w.partition.Index)})
		if err := b.Put(context.Background(), page.Key(cluster, w.partition), bytes.NewReader(obj), int64(len(obj))); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.manifest, err = w.manifest.Spill(page); err != nil {
			t.Fatal(err)
		}
	}
}

// A replay, a seek or a lookup by time would find something else when the manifest has spilled its entries, or a page be read more than once.
func TestSpilledManifestReadsAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 7, partition(0), shape{segments: 11, segmentBytes: 60_000, batchBytes: 4000, gzip: true})
		plain := w.manifest
		w.spill(t, mem, 3)
		b := object.NewCounting(mem)
		r := start(t, b, Config{})
		if err := w.replay(r, "a", 0, 10_000); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		end := int64(len(w.stamps))
		for range 200 {
			from := kafka.Offset(rng.Int64N(end))
			run, err := w.wait(r, "b", from, 5000)
			if err == nil {
				_, err = w.check(run, from, 5000)
				run.Release()
			}
			if err != nil {
				t.Fatal(err)
			}
			ts := w.stamps[rng.Int64N(end)]
			o1, t1, _, ok1, err1 := r.FindTime(t.Context(), w.partition, w.manifest, ts, from)
			o2, t2, _, ok2, err2 := r.FindTime(t.Context(), w.partition, plain, ts, from)
			if o1 != o2 || t1 != t2 || ok1 != ok2 || err1 != nil || err2 != nil {
				t.Fatalf("time %d from %d: %d at %d, %v %v; without pages %d at %d, %v %v", ts, from, o1, t1, ok1, err1, o2, t2, ok2, err2)
			}
			limit := w.first[w.index(from+kafka.Offset(rng.Int64N(end-int64(from))))]
			m1, err1 := r.MaxTimestamp(t.Context(), w.partition, w.manifest, from, limit, -1)
			m2, err2 := r.MaxTimestamp(t.Context(), w.partition, plain, from, limit, -1)
			if m1 != m2 || err1 != nil || err2 != nil {
				t.Fatalf("largest in [%d, %d): %d %v, without pages %d %v", from, limit, m1, err1, m2, err2)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := r.pages.used.Len(); n != len(w.manifest.Pages()) || len(r.pages.waiting) > 0 {
			t.Errorf("%d pages of %d are in memory, %d reads wait", n, len(w.manifest.Pages()), len(r.pages.waiting))
		}
	})
}

// A page that cannot be read, or is another, would be waited for for ever, be taken, or not be tried again.
func TestBrokenPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 8, partition(0), shape{segments: 4, segmentBytes: 9000, batchBytes: 2000})
		w.spill(t, mem, 3)
		faulty := object.NewFaulty(mem)
		faulty.Add(object.Rule{Verb: object.Get, Fault: object.Fault{Corrupt: true, Bytes: 50}})
		r := start(t, faulty, Config{})
		if _, err := w.wait(r, "a", 0, 1000); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("read: %v", err)
		}
		if _, err := r.Page(t.Context(), w.partition, w.manifest.Pages()[0]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("page: %v", err)
		}
		faulty.Clear()
		time.Sleep(2 * corruptCooldown)
		if err := w.replay(r, "a", 0, 1000); err != nil {
			t.Fatal(err)
		}
		gone := w.manifest.Pages()[0]
		if err := mem.Delete(t.Context(), gone.Key(cluster, w.partition)); err != nil {
			t.Fatal(err)
		}
		other := NewReader(mem, cluster, Config{}, quiet)
		if _, err := other.Page(t.Context(), w.partition, gone); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("a page that is gone: %v", err)
		}
	})
}

// While a bucket stalls, a reader that asks again and again for what a page speaks of would be kept once for each time.
func TestWaitersForPagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 9, partition(0), shape{segments: 5, segmentBytes: 5000, batchBytes: 2000})
		w.spill(t, mem, 2)
		faulty := object.NewFaulty(mem)
		faulty.Add(object.Rule{Verb: object.Get, Fault: object.Fault{Hang: true}})
		r := start(t, faulty, Config{})
		called := 0
		for range 50 {
			_, err := r.Read(w.partition, w.manifest, "a", 0, 1000, func() { called++ })
			if !errors.Is(err, ErrLoading) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		r.mu.Lock()
		waiting := len(r.pages.waiting)
		r.mu.Unlock()
		if waiting != 1 || called != 0 {
			t.Fatalf("%d reads wait, %d were called", waiting, called)
		}
		r.Forget("a")
		synctest.Wait()
		if called != 1 {
			t.Fatalf("%d were called when the reader left", called)
		}
	})
}

// More pages than are kept are read, and the oldest forgotten.
func TestPagesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 10, partition(0), shape{segments: pagesKept + 6, segmentBytes: 10, batchBytes: 100})
		w.spill(t, mem, 1)
		r := start(t, mem, Config{})
		for range 2 {
			if err := w.replay(r, "a", 0, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := r.pages.used.Len(); n != pagesKept || len(r.pages.known) != n {
			t.Errorf("%d pages are kept, %d known", n, len(r.pages.known))
		}
	})
}
