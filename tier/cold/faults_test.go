package cold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What arrives corrupt once is read again and nobody notices; what is corrupt
// twice is ErrCorrupt to every reader, for a while, and is tried again then.
func TestCorrupt(t *testing.T) {
	for _, what := range []string{"data", "footer"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := object.NewMem(nil)
				w := build(t, mem, 3, partition(0), shape{segments: 1, segmentBytes: 100_000, batchBytes: 900})
				b := object.NewFaulty(mem)
				skip := map[string]int{"data": 1, "footer": 0}[what]
				b.Add(object.Rule{Verb: object.Get, Skip: skip, Count: 1, Fault: object.Fault{Corrupt: true, Bytes: 20}})
				r := start(t, b, Config{CacheBytes: -1})
				if err := w.replay(r, "a", 0, 1<<20); err != nil {
					t.Fatal(err)
				}
				if st := r.Stats(); st.Corrupt != 1 || st.Gets != 3 {
					t.Fatalf("%+v", st)
				}

				r = start(t, b, Config{CacheBytes: -1})
				b.Clear()
				remove := b.Add(object.Rule{Verb: object.Get, Skip: skip, Fault: object.Fault{Corrupt: true, Bytes: 20}})
				for range 3 {
					if _, err := w.wait(r, "a", 0, 1<<20); !errors.Is(err, ErrCorrupt) {
						t.Fatal(err)
					}
				}
				if st := r.Stats(); st.Corrupt != 2 {
					t.Fatalf("%+v", st)
				}
				remove()
				time.Sleep(corruptCooldown + time.Second)
				if err := w.replay(r, "a", 0, 1<<20); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A sound object of another partition, under the name of this one, would be given out: whoever brings back a bucket's objects can mix them up.
func TestAnotherOnesObject(t *testing.T) {
	for name, other := range map[string]kafka.Partition{"partition": partition(1), "topic": {Topic: kafka.TopicID{8}}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := object.NewMem(nil)
				sh := shape{segments: 1, segmentBytes: 100_000, batchBytes: 900}
				w, wrong := build(t, mem, 3, partition(0), sh), build(t, mem, 3, other, sh)
				key := func(w *flat) string { return w.manifest.Entries()[0].Key(cluster, w.partition) }
				size := w.manifest.Entries()[0].Size
				body, err := mem.Get(t.Context(), key(wrong), 0, size)
				if err != nil {
					t.Fatal(err)
				}
				whole, err := io.ReadAll(body)
				if err := errors.Join(err, body.Close(), mem.Put(t.Context(), key(w), bytes.NewReader(whole), size)); err != nil {
					t.Fatal(err)
				}
				r := start(t, mem, Config{CacheBytes: -1})
				if _, err := w.wait(r, "a", 0, 1<<20); !errors.Is(err, ErrCorrupt) {
					t.Errorf("read: %v", err)
				}
			})
		})
	}
}

// A bucket that fails again and again is an error to the reader, after
// attempts with growing pauses; once it is back, reads go on by themselves.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), small)
		b := object.NewFaulty(mem)
		r := start(t, b, Config{})
		if _, err := r.Footer(context.Background(), w.partition, w.manifest.At(0)); err != nil {
			t.Fatal(err)
		}
		down := errors.New("no route to host")
		remove := b.Add(object.Rule{Verb: object.Get, Fault: object.Fault{Err: down}})
		began := time.Now()
		if _, err := w.wait(r, "a", 0, 1<<20); !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) {
			t.Fatal(err)
		}
		// 100+200+400+800+1600 ms, each less up to a half.
		if d := time.Since(began); d < 1550*time.Millisecond || d > 3100*time.Millisecond {
			t.Fatalf("gave up after %v", d)
		}
		if _, err := w.wait(r, "a", 0, 1<<20); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		remove()
		time.Sleep(2 * cooldown)
		if err := w.replay(r, "a", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
	})
}

// An object that is not there is reported at once, without hammering the store.
func TestMissingObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), small)
		b := object.NewCounting(mem)
		if err := mem.Delete(context.Background(), w.manifest.At(0).Key(cluster, w.partition)); err != nil {
			t.Fatal(err)
		}
		r := start(t, b, Config{})
		began := time.Now()
		for range 10 {
			if _, err := w.wait(r, "a", 0, 1<<20); !errors.Is(err, ErrUnavailable) || !errors.Is(err, object.ErrNotFound) {
				t.Fatal(err)
			}
		}
		if time.Since(began) > 0 || b.Counts().Gets != 1 {
			t.Fatalf("%v, %d GETs", time.Since(began), b.Counts().Gets)
		}
	})
}

// An object that is missing or damaged is not known by name, is still known when it has been read well, listed, or given up, is known
// because the bucket was away, or more are kept than anybody reads.
func TestBrokenObjectsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), shape{segments: 4, segmentBytes: 9000, batchBytes: 2000})
		b := object.NewFaulty(mem)
		r := start(t, b, Config{CacheBytes: -1})
		m, exists := w.manifest, true
		is := func(what string, want ...kafka.Offset) {
			t.Helper()
			var got []kafka.Offset
			for _, x := range r.Broken(func(kafka.Partition) (manifest.Manifest, bool) { return m, exists }) {
				if x.Key == "" || x.Err == nil || x.Partition != w.partition {
					t.Errorf("%s: %+v", what, x)
				}
				got = append(got, x.Base)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: broken are %v, want %v", what, got, want)
			}
		}
		first, second := w.manifest.At(0), w.manifest.At(1)
		read := func(at kafka.Offset, want error) {
			t.Helper()
			time.Sleep(2 * corruptCooldown)
			if _, err := w.wait(r, "a", at, 1<<20); !errors.Is(err, want) {
				t.Fatalf("read %d: %v, want %v", at, err, want)
			}
		}
		down := b.Add(object.Rule{Verb: object.Get, Fault: object.Fault{Err: errors.New("no route to host")}})
		read(0, ErrUnavailable)
		is("an outage")
		down()
		missing := func() func() {
			return b.Add(object.Rule{Verb: object.Get, Prefix: first.Key(cluster, w.partition), Fault: object.Fault{Err: object.ErrNotFound}})
		}
		back := missing()
		read(0, object.ErrNotFound)
		is("one that is gone", first.Base)
		damage := b.Add(object.Rule{Verb: object.Get, Prefix: second.Key(cluster, w.partition), Fault: object.Fault{Corrupt: true, Bytes: 50}})
		read(second.Base, ErrCorrupt)
		is("and one that is damaged", first.Base, second.Base)
		damage()
		read(second.Base, nil)
		is("which is read again", first.Base)
		r.Listed(time.Now(), func(p kafka.Partition) bool { return p == w.partition })
		is("a listing misses it, too", first.Base)
		r.Listed(time.Now().Add(-time.Hour), func(kafka.Partition) bool { return false })
		is("a listing before has shown it", first.Base)
		r.Listed(time.Now(), func(kafka.Partition) bool { return false })
		is("a listing since has shown it")
		read(0, object.ErrNotFound)
		back()
		read(0, nil)
		is("it is read again")
		back = missing()
		defer back()
		r.Forget("a")
		if _, err := NewReader(b, cluster, Config{}, quiet).Footer(t.Context(), w.partition, first); !errors.Is(err, object.ErrNotFound) {
			t.Fatal(err)
		}
		r = start(t, b, Config{})
		read(0, object.ErrNotFound)
		is("a reader that is new", first.Base)
		m, _ = w.manifest.TrimBefore(first.Next)
		is("the manifest has given it up")
		m = w.manifest
		read(0, object.ErrNotFound)
		exists = false
		is("the partition is gone")
		for i := range 2 * brokenMost {
			r.mu.Lock()
			r.broke(fmt.Sprint(i), w.partition, 0, 1, footerBlock, object.ErrNotFound)
			r.mu.Unlock()
		}
		if n := len(r.broken); n != brokenMost {
			t.Errorf("%d are kept", n)
		}
	})
}

// Objects that are gone, or cut short, are noticed only when somebody reads them; or ones are that are whole, or away with their bucket.
func TestALookFindsWhatIsMissing(t *testing.T) {
	mem := object.NewMem(nil)
	w := build(t, mem, 3, partition(0), shape{segments: 6, segmentBytes: 9000, batchBytes: 2000})
	w.spill(t, mem, 2)
	b := object.NewFaulty(mem)
	r := NewReader(b, cluster, Config{}, quiet)
	named := w.manifest.Len() + len(w.manifest.Pages())
	look := func(what string, want int) {
		t.Helper()
		for range 50 * named {
			r.Look(t.Context(), w.partition, w.manifest)
		}
		list := r.Broken(func(kafka.Partition) (manifest.Manifest, bool) { return w.manifest, true })
		if len(list) != want {
			t.Errorf("%s: %d objects of %d are known as broken: %+v", what, len(list), want, list)
		}
	}
	look("all are whole", 0)
	down := b.Add(object.Rule{Verb: object.Head, Fault: object.Fault{Err: errors.New("no route to host")}})
	look("an outage", 0)
	down()
	gone := b.Add(object.Rule{Verb: object.Head, Fault: object.Fault{Err: object.ErrNotFound}})
	look("the bucket is empty", named)
	gone()
	look("all are back", 0)
	away := b.Add(object.Rule{Verb: object.Head, Fault: object.Fault{Err: object.ErrNoBucket}})
	look("there is no bucket", named)
	away()
	r.Look(t.Context(), w.partition, w.manifest) // one is enough
	if len(r.broken) > 0 {
		t.Errorf("the bucket is there again, and %d objects are missed", len(r.broken))
	}
	cut := w.manifest.At(0)
	put := func(size int64) {
		t.Helper()
		if err := mem.Put(t.Context(), cut.Key(cluster, w.partition), strings.NewReader(strings.Repeat("x", int(size))), size); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	look("one is cut short", 1)
	put(cut.Size)
	look("it has its size again", 0)
	r.Look(t.Context(), w.partition, manifest.Manifest{}) // and where there is nothing, nothing is looked at
}

// A GET that gives nothing for two seconds is given up for a new one, from
// where it stood.
func TestStalledGetIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), shape{segments: 1, segmentBytes: 900_000, batchBytes: 9000})
		b := object.NewFaulty(mem)
		b.Add(object.Rule{Verb: object.Get, Skip: 1, Count: 1, Fault: object.Fault{Stall: true, Bytes: 50_000}})
		r := start(t, b, Config{})
		began := time.Now()
		if err := w.replay(r, "a", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != stallLeast || r.Stats().Hedges != 1 {
			t.Fatalf("%v: %+v", d, r.Stats())
		}
	})
}

// What counts as stalled follows what is usual of the store, within bounds.
func TestStallFollowsTheStore(t *testing.T) {
	var g gaps
	if g.stall() != stallLeast {
		t.Fatal(g.stall())
	}
	for range 200 {
		g.add(3 * time.Second)
	}
	if g.stall() != 9*time.Second {
		t.Fatal(g.stall())
	}
	for range 200 {
		g.add(time.Minute)
	}
	if g.stall() != stallMost {
		t.Fatal(g.stall())
	}
}

// A store that asks for patience is asked by fewer GETs at once, after a pause;
// when it has recovered their number grows again.
func TestThrottledIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), shape{segments: 6, segmentBytes: 4 << 20, batchBytes: 9000})
		b := object.NewFaulty(mem)
		r := start(t, b, Config{Workers: 8})
		if _, err := r.Footer(context.Background(), w.partition, w.manifest.At(0)); err != nil {
			t.Fatal(err)
		}
		b.Add(object.Rule{Verb: object.Get, Count: 4, Fault: object.Fault{Err: object.ErrThrottled}})
		began := time.Now()
		run, err := w.wait(r, "a", 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		run.Release()
		if d := time.Since(began); d < backoffFirst/2 {
			t.Fatalf("answered after %v: no pause", d)
		}
		if st := r.Stats(); st.Throttled < 4 || st.Limit > 5 {
			t.Fatalf("%+v", st)
		}
		if err := w.replay(r, "a", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if st := r.Stats(); st.Limit < 5 {
			t.Fatalf("%+v", st)
		}
	})
}

// FindTime finds exactly the first record at or after a time, with one GET
// beside the footer.
func TestFindTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), shape{segments: 4, segmentBytes: 400_000, batchBytes: 20_000, gzip: true})
		b := object.NewCounting(mem)
		r := NewReader(b, cluster, Config{}, quiet)
		for _, e := range w.manifest.All() {
			if _, err := r.Footer(context.Background(), w.partition, e); err != nil {
				t.Fatal(err)
			}
		}
		last := w.stamps[len(w.stamps)-1] + 20
		for ts := w.stamps[0] - 10; ts < last; ts += 3 {
			before := b.Counts().Gets
			offset, at, epoch, ok, err := r.FindTime(context.Background(), w.partition, w.manifest, ts, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := -1
			for i, s := range w.stamps {
				if s >= ts {
					want = i
					break
				}
			}
			if ok != (want >= 0) || ok && (offset != kafka.Offset(want) || at != w.stamps[want] || epoch < 1) {
				t.Fatalf("time %d: offset %d at %d, %t; want %d", ts, offset, at, ok, want)
			}
			if b.Counts().Gets-before > 1 {
				t.Fatalf("time %d: %d GETs", ts, b.Counts().Gets-before)
			}
		}
	})
}

// A lookup by time from an offset on, or of the largest timestamp between two offsets, would not be a walk's over the records,
// or would ask the bucket where footers tell.
func TestTimesBetweenOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 4, partition(0), shape{segments: 3, segmentBytes: 2_500_000, batchBytes: 30_000, gzip: true})
		b := object.NewCounting(mem)
		r := NewReader(b, cluster, Config{}, quiet)
		for _, e := range w.manifest.All() {
			if _, err := r.Footer(context.Background(), w.partition, e); err != nil {
				t.Fatal(err)
			}
		}
		rng := rand.New(rand.NewPCG(5, 6))
		end := int64(len(w.stamps))
		for range 400 {
			from := rng.Int64N(end)
			limit := w.first[w.index(kafka.Offset(from+rng.Int64N(end-from)))]
			ts, known := w.stamps[rng.Int64N(end)], int64(-1)
			if rng.IntN(2) == 0 {
				known = w.stamps[rng.Int64N(end)]
			}
			first, largest := int64(-1), known
			for o := from; o < end; o++ {
				if w.stamps[o] >= ts && first < 0 {
					first = o
				}
				if o < int64(limit) {
					largest = max(largest, w.stamps[o])
				}
			}
			offset, at, _, ok, err := r.FindTime(context.Background(), w.partition, w.manifest, ts, kafka.Offset(from))
			if err != nil || ok != (first >= 0) || ok && (int64(offset) != first || at != w.stamps[first]) {
				t.Fatalf("time %d from %d: offset %d at %d, %t %v; want %d", ts, from, offset, at, ok, err, first)
			}
			before := b.Counts().Gets
			got, err := r.MaxTimestamp(context.Background(), w.partition, w.manifest, kafka.Offset(from), limit, known)
			if err != nil || got != largest {
				t.Fatalf("largest in [%d, %d) and %d: %d %v, want %d", from, limit, known, got, err, largest)
			}
			if n := b.Counts().Gets - before; n > 6 {
				t.Fatalf("largest in [%d, %d) and %d: %d GETs", from, limit, known, n)
			}
		}
	})
}
