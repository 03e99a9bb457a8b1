package cold

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A replay returns every batch, byte for byte, in order, across segments,
// whatever the sizes of batches, segments and reads.
func TestReplay(t *testing.T) {
	for i, sh := range []shape{
		{segments: 3, segmentBytes: 2 << 20, batchBytes: 50_000},
		{segments: 30, segmentBytes: 2000, batchBytes: 900},
		{segments: 2, segmentBytes: 4 << 20, batchBytes: 3 << 20},
		{segments: 2, segmentBytes: 500_000, batchBytes: 100_000, gzip: true},
	} {
		for _, most := range []int{0, 10_000, 1 << 20, 50 << 20} {
			t.Run(fmt.Sprint(i, "/", most), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := object.NewMem(nil)
					w := build(t, b, uint64(i), partition(0), sh)
					if err := w.replay(start(t, b, Config{}), "a", 0, most); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}
}

// faults are what a store does to requests, none of it for ever.
func faults(rng *rand.Rand) []object.Rule {
	n := func() int { return 1 + rng.IntN(3) }
	at := func() int64 { return rng.Int64N(2 << 20) }
	broken := errors.New("connection refused")
	all := []object.Rule{
		{Verb: object.Get, Count: n(), Fault: object.Fault{Err: object.ErrThrottled}},
		{Verb: object.Get, Count: n(), Fault: object.Fault{Err: broken}},
		{Verb: object.Get, Count: 1, Fault: object.Fault{Hang: true}},
		{Verb: object.Get, Count: n(), Fault: object.Fault{Stall: true, Bytes: at()}},
		{Verb: object.Get, Count: n(), Fault: object.Fault{Break: true, Bytes: at()}},
		{Verb: object.Get, Count: n(), Fault: object.Fault{Truncate: true, Bytes: at()}},
		{Verb: object.Get, Count: 1, Fault: object.Fault{Corrupt: true, Bytes: at()}},
	}
	for i := range all {
		all[i].Skip = rng.IntN(10)
	}
	return all
}

// Random reads and replays by several streams over two partitions, through a
// store that throttles, fails, hangs, stalls, truncates and corrupts, return
// what a flat model of the log holds; ready is called once for every ErrLoading
// (a second call would panic, a missing one would deadlock the test).
func TestDifferentialUnderFaults(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 4))
				mem := object.NewMem(nil)
				var ws []*flat
				for i := range 2 {
					ws = append(ws, build(t, mem, seed, partition(i), shape{
						segments: 1 + rng.IntN(4), segmentBytes: 1 + rng.IntN(2<<20), batchBytes: 1 + rng.IntN(200_000), gzip: rng.IntN(2) == 0,
					}))
				}
				b := object.NewFaulty(mem)
				for _, f := range faults(rng) {
					b.Add(f)
				}
				r := start(t, b, Config{
					MaxInFlight: 1 + rng.Int64N(20<<20), MinReadahead: 1 + rng.Int64N(4<<20), RangeSize: 1 + rng.Int64N(16<<20),
					Workers: 1 + rng.IntN(8), CacheBytes: rng.Int64N(3) - 1,
				})
				var readers sync.WaitGroup
				for i := range 6 {
					w, rng := ws[i%2], rand.New(rand.NewPCG(seed, uint64(i)))
					readers.Go(func() { wander(t, r, w, i/2, rng) })
				}
				readers.Wait()
			})
		})
	}
}

// wander reads at random places, and on from there for a while.
func wander(t *testing.T, r *Reader, w *flat, stream any, rng *rand.Rand) {
	for range 10 {
		from := kafka.Offset(rng.Int64N(int64(w.manifest.End())))
		for range rng.IntN(30) {
			if from == w.manifest.End() {
				break
			}
			most := rng.IntN(2 << 20)
			run, err := w.wait(r, stream, from, most)
			if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt) {
				time.Sleep(corruptCooldown) // a client's back-off; the clock is the test's own
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			next, err := w.check(run, from, most)
			if rng.IntN(4) == 0 {
				time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
			}
			run.Release()
			if err != nil {
				t.Error(err)
				return
			}
			from = next
		}
		if rng.IntN(5) == 0 {
			r.Forget(stream)
		}
	}
}

// A hundred readers of a hundred partitions all come to their end, and at no
// time is more memory held than MaxInFlight allows.
func TestMemoryIsCapped(t *testing.T) {
	for _, limit := range []int64{3 << 20, 60 << 20} {
		s := newSynthetic(t, 16<<10)
		ms := []manifest.Manifest{s.partition(t, partition(0), 2, 3<<20)}
		for i := 1; i < 100; i++ {
			ms = append(ms, s.copy(t, ms[0], partition(0), partition(i)))
		}
		r := start(t, s, Config{MaxInFlight: limit})
		var readers sync.WaitGroup
		for i := range 100 {
			readers.Go(func() {
				if err := s.replay(r, partition(i), ms[i], i, 1<<20); err != nil {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		if st := r.Stats(); st.HeldPeak > limit || st.Streams != 100 {
			t.Fatalf("limit %d: %+v", limit, st)
		}
	}
}

// Twenty readers of one partition cause the downloads of one.
func TestSingleFlight(t *testing.T) {
	s := newSynthetic(t, 16<<10)
	m := s.partition(t, partition(0), 2, 20<<20)
	r := start(t, s, Config{})
	var readers sync.WaitGroup
	for i := range 20 {
		readers.Go(func() {
			if err := s.replay(r, partition(0), m, i, 1<<20); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	if s.down.Load() > m.Bytes() {
		t.Fatalf("%d bytes downloaded of %d: %+v", s.down.Load(), m.Bytes(), r.Stats())
	}
}
