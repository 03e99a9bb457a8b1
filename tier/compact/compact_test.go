package compact

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var eager = Policy{MaxLag: -1, DeleteRetention: time.Hour, SegmentBytes: 2000}

// False if it failed: "after a pass a reader finds the last record of each key, at its offset, and no other".
func TestLastOfEachKeyStays(t *testing.T) {
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		w := newWorld(t, eager)
		for i := range 200 {
			w.write(batch.Builder{Codec: codec}, pairs(5, func(j int) (string, string) { return fmt.Sprint("k", (i*7+j)%23), value(i) })...)
		}
		w.settle()
		before := w.Size()
		if w.clean() == 0 {
			t.Fatal("nothing was due")
		}
		w.check(true)
		if n := len(w.read()); n != 23 {
			t.Errorf("codec %d: %d records are left of 23 keys", codec, n)
		}
		if w.Size() > before/4 {
			t.Errorf("codec %d: %d bytes are left of %d", codec, w.Size(), before)
		}
		if n := len(w.Segments()); n > 4 {
			t.Errorf("codec %d: %d segments are left: small ones are to be merged", codec, n)
		}
	}
}

// False if it failed: "a tombstone stays for delete.retention.ms from the pass that found it, and goes with the next one then; never
// while the bucket has older segments".
func TestTombstones(t *testing.T) {
	for _, archived := range []bool{false, true} {
		w := newWorld(t, eager)
		w.archived = archived
		w.write(batch.Builder{}, "a", "1", "b", "1")
		w.write(batch.Builder{}, "a", "")
		w.settle()
		w.clean()
		has := func() (tombstone bool) {
			for _, f := range w.read() {
				tombstone = tombstone || f.tombstone
			}
			return tombstone
		}
		next := func() {
			w.write(batch.Builder{}, "b", "2", "c", "1")
			w.settle()
			w.clean()
			w.check(true)
		}
		next()
		if !has() {
			t.Errorf("archived %v: the tombstone has gone at once", archived)
		}
		w.now = w.now.Add(59 * time.Minute)
		if next(); !has() {
			t.Errorf("archived %v: the tombstone has gone too soon", archived)
		}
		w.now = w.now.Add(2 * time.Minute)
		if next(); has() != archived {
			t.Errorf("archived %v: tombstone there: %v", archived, has())
		}
	}
}

// False if it failed: "what is above the limit, too young, or in the active segment is not touched, and shadows nothing".
func TestOnlyWhatIsSettledIsCleaned(t *testing.T) {
	w := newWorld(t, eager)
	w.write(batch.Builder{}, "a", "1", "b", "1")
	w.settle()
	w.limit = w.End()
	w.write(batch.Builder{}, "a", "2")
	w.settle()
	w.clean()
	if got := fmt.Sprint(values(w.read())); got != "[1 1 2]" {
		t.Errorf("above the limit: %s", got)
	}
	w.limit = -1
	w.policy.MinLag = time.Hour
	w.write(batch.Builder{}, "a", "3")
	w.settle()
	w.now = w.now.Add(30 * time.Minute)
	if w.clean() > 0 {
		t.Error("too young, and cleaned")
	}
	w.now = w.now.Add(31 * time.Minute)
	w.write(batch.Builder{}, "a", "4") // active
	w.clean()
	if got := fmt.Sprint(values(w.read())); got != "[1 3 4]" {
		t.Errorf("at last: %s", got)
	}
	w.check(true)
}

func values(all []found) (out []string) {
	for _, f := range all {
		out = append(out, f.value)
	}
	return out
}

// False if it failed: "a log is due when more than the ratio of it is dirty, or when its dirt is older than the maximum lag".
func TestWhenALogIsDue(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	segment := func(base, size int64, age time.Duration) hot.SegmentInfo {
		at := now.Add(-age)
		return hot.SegmentInfo{Base: kafka.Offset(base), Next: kafka.Offset(base + 10), Size: size, MaxTimestamp: at.UnixMilli(), Created: at, Sealed: true, Durable: true}
	}
	segments := []hot.SegmentInfo{segment(0, 60, time.Hour), segment(10, 40, time.Minute), {Base: 20, Next: 25, Size: 10}}
	for _, test := range []struct {
		policy    Policy
		cleanedTo kafka.Offset
		limit     kafka.Offset
		due       bool
	}{
		{Policy{DirtyRatio: 0.5, MaxLag: -1}, 0, 25, true},
		{Policy{DirtyRatio: 0.5, MaxLag: -1}, 10, 25, false},
		{Policy{DirtyRatio: 0.3, MaxLag: -1}, 10, 25, true},
		{Policy{DirtyRatio: 0.5, MaxLag: 30 * time.Second}, 10, 25, true},
		{Policy{DirtyRatio: 0.5, MaxLag: 2 * time.Minute}, 10, 25, false},
		{Policy{DirtyRatio: 0, MaxLag: -1}, 20, 25, false},
		{Policy{DirtyRatio: 0.3, MaxLag: -1}, 10, 19, false},
		{Policy{DirtyRatio: 0.3, MaxLag: -1, MinLag: 2 * time.Minute}, 10, 25, false},
	} {
		if w := test.policy.planOf(segments, test.cleanedTo, test.limit, now); w.due != test.due {
			t.Errorf("%+v, clean to %d, limit %d: due %v", test.policy, test.cleanedTo, test.limit, w.due)
		}
	}
}

// False if it failed: "the last batch of a producer stays, with its sequence, when its records go; earlier ones go".
func TestLastBatchOfAProducerStays(t *testing.T) {
	w := newWorld(t, eager)
	for i := range 3 {
		w.write(batch.Builder{Idempotent: true, ProducerID: 7, ProducerEpoch: 1, BaseSequence: int32(2 * i)}, "a", value(i), "b", value(i))
	}
	w.write(batch.Builder{}, "a", "last", "b", "last")
	w.settle()
	w.clean()
	w.check(true)
	var left []batch.View
	w.must(w.Each(t.Context(), 0, w.End(), func(v batch.View) error {
		if v.Idempotent() {
			left = append(left, append(batch.View{}, v...))
		}
		return nil
	}, nil))
	if len(left) != 1 || left[0].RecordCount() != 0 || left[0].BaseSequence() != 4 || left[0].LastOffsetDelta() != 1 || left[0].ProducerEpoch() != 1 {
		t.Errorf("left of producer 7: %v", left)
	}
}

// False if it failed: "records of an aborted transaction go, and shadow nothing".
func TestAbortedRecordsShadowNothing(t *testing.T) {
	w := newWorld(t, eager)
	w.write(batch.Builder{}, "a", "1")
	at := w.write(batch.Builder{Idempotent: true, Transactional: true, ProducerID: 7}, "a", "never")
	w.aborted[at] = true
	delete(w.written, at)
	w.write(batch.Builder{}, "b", "1")
	w.settle()
	w.clean()
	if got := fmt.Sprint(values(w.read())); got != "[1 1]" {
		t.Errorf("left: %s", got)
	}
	w.check(true)
}

// False if it failed: "a log with more keys than there is memory for is cleaned in several passes".
func TestMoreKeysThanMemory(t *testing.T) {
	w := newWorld(t, eager)
	w.cleaner.cfg = func() Config { return Config{MapBytes: 1} }
	for i := range 1500 {
		w.write(batch.Builder{}, pairs(4, func(j int) (string, string) { return fmt.Sprint((i*4 + j) % 3000), value(i) })...)
	}
	w.settle()
	if n := w.clean(); n < 3 {
		t.Errorf("%d passes", n)
	}
	w.check(true)
	if n := len(w.read()); n != 3000 {
		t.Errorf("%d records of 3000 keys", n)
	}
}

// False if it failed: "whatever is written, cleaned, restarted and cut off from power, in whatever order: a reader finds the last record of
// each key that was flushed, and nothing that was not written".
func TestCompactionSurvivesPowerCuts(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(t, Policy{MaxLag: -1, DeleteRetention: time.Duration(rng.IntN(3)) * time.Minute, SegmentBytes: 2000})
			for range 120 {
				w.step(rng)
			}
			w.settle()
			w.clean()
			w.check(true)
		})
	}
}

func (w *world) step(rng *rand.Rand) {
	w.now = w.now.Add(time.Duration(rng.IntN(20)) * time.Second)
	switch n := rng.IntN(20); {
	case n < 13:
		b := batch.Builder{Codec: batch.Codec(rng.IntN(5))}
		w.write(b, pairs(1+rng.IntN(5), func(int) (string, string) {
			v := ""
			if rng.IntN(4) > 0 {
				v = value(rng.IntN(1000))
			}
			return fmt.Sprint("key-", rng.IntN(12)), v
		})...)
	case n < 15:
		w.settle()
	case n < 18:
		w.settle()
		w.clean()
		w.check(true)
	default:
		w.powerCut(rng)
		w.check(false)
	}
}

// powerCut cuts the power in the middle of what was done lately; what was flushed by then stays, and nothing else is expected.
func (w *world) powerCut(rng *rand.Rand) {
	w.settle()
	before := w.fs.Ops()
	w.clean()
	cut := vfs.Cut{Data: vfs.Shuffle, Names: vfs.Shuffle, Seed: rng.Uint64()}
	w.fs = w.fs.CutAt(before+rng.IntN(w.fs.Ops()-before+1), cut)
	w.must(w.fs.MkdirAll(testRoot))
	end := w.End()
	w.open()
	if w.End() != end {
		w.t.Fatalf("the log ended at %d, and ends at %d after a power cut in a pass", end, w.End())
	}
}
