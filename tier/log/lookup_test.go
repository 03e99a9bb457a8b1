package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// stamped is one record of the model.
type stamped struct {
	offset kafka.Offset
	at     int64
}

func stampsOf(t *testing.T, all []byte) (list []stamped) {
	t.Helper()
	for len(all) > 0 {
		v, rest, err := batch.Next(all)
		if err != nil {
			t.Fatal(err)
		}
		for r := range batch.Records(v).All {
			list = append(list, stamped{r.Offset, r.Timestamp})
		}
		all = rest
	}
	return list
}

// disordered appends batches whose timestamps jump back and forth, which is what makes the records that a trim has cut
// off look like answers.
func (w *world) disordered(rng *rand.Rand, n int) (list []stamped) {
	w.t.Helper()
	for range n {
		var b batch.Builder
		middle := int64(w.log.End()) * 10
		if rng.IntN(8) == 0 {
			middle += rng.Int64N(4000)
		}
		for range 1 + rng.IntN(5) {
			b.Add(max(0, middle+rng.Int64N(400)-200), nil, make([]byte, rng.IntN(200)))
		}
		v, err := b.Build()
		if err != nil {
			w.t.Fatal(err)
		}
		if rng.IntN(10) == 0 {
			v.SetLogAppendTime(middle)
		}
		v.Stamp(w.log.End(), 0)
		list = append(list, stampsOf(w.t, v)...)
		if err := w.log.Append([]batch.View{v}); err != nil {
			w.t.Fatal(err)
		}
		synctest.Wait()
	}
	w.archive.Poke(w.spec.Partition)
	synctest.Wait()
	return list
}

// A lookup by time, or of the largest time, would answer something else than a walk over all readable records, whatever
// is trimmed, wherever it lies.
func TestTimesAreExact(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 11))
				keep := archive.Retention{Age: -1, Bytes: []int64{-1, 0, 3 << 10, 9 << 10}[rng.IntN(4)]}
				w := newWorld(t, []int64{1, 1 << 10, 4 << 10, 1 << 20}[rng.IntN(4)], archive.Policy{Remote: rng.IntN(4) > 0, Retention: forever, LocalRetention: keep})
				defer w.close()
				var records []stamped
				for range 4 {
					records = append(records, w.disordered(rng, 12)...)
					w.compareTimes(rng, records)
					start := w.log.Start() + kafka.Offset(rng.Int64N(int64(w.log.End()-w.log.Start())))
					if err := w.TrimSegments(t.Context(), w.spec.Partition, 0, start); err != nil {
						t.Fatal(err)
					}
					w.compareTimes(rng, records)
					w.archive.Poke(w.spec.Partition)
					synctest.Wait()
					w.compareTimes(rng, records)
				}
			})
		})
	}
}

// compareTimes compares lookups with a walk over the records from the log's start on.
func (w *world) compareTimes(rng *rand.Rand, records []stamped) {
	w.t.Helper()
	for range 40 {
		limit := w.log.End()
		if rng.IntN(3) == 0 {
			limit = w.border(rng)
		}
		ts := rng.Int64N(int64(len(records))*10+3000) - 100
		first, latest := stamped{-1, -1}, stamped{-1, -1}
		for _, r := range records {
			if r.offset < w.log.Start() || r.offset >= limit {
				continue
			}
			if r.at >= ts && first.offset < 0 {
				first = r
			}
			if r.at > latest.at {
				latest = r
			}
		}
		w.same("first at or after "+fmt.Sprint(ts), limit, first)(w.log.FindTime(context.Background(), ts, limit))
		w.same("latest", limit, latest)(w.log.MaxTimestamp(context.Background(), limit))
	}
}

func (w *world) same(what string, limit kafka.Offset, want stamped) func(Found, bool, error) {
	return func(f Found, ok bool, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		if got := (stamped{f.Offset, f.Timestamp}); ok != (want.offset >= 0) || ok && got != want {
			w.t.Fatalf("%s in [%d, %d): %v %v, want %v", what, w.log.Start(), limit, got, ok, want)
		}
	}
}

// border is the base of some readable batch.
func (w *world) border(rng *rand.Rand) kafka.Offset {
	w.t.Helper()
	from := w.log.Start() + kafka.Offset(rng.Int64N(int64(w.log.End()-w.log.Start())))
	all, _ := w.read(from, 1)
	v, _, err := batch.Next(all)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.BaseOffset()
}
