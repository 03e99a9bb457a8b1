package checker

import (
	"slices"
	"testing"
)

// A system that keeps its promises would be blamed.
func TestLawfulHistories(t *testing.T) {
	var total Stats
	for seed := range uint64(300) {
		h, _, err := simulate(seed, 400, none)
		if err != nil {
			t.Fatal(err)
		}
		r := Check(h, Options{})
		if !r.Clean() {
			t.Fatalf("seed %d: %v %v\n%v", seed, r.Violations[0], r.Unfinished, r.Violations[0].Evidence)
		}
		total.Acked += r.Stats.Acked
		total.Unknown += r.Stats.Unknown
		total.Committed += r.Stats.Committed
		total.Fetched += r.Stats.Fetched
		total.Resumed += r.Stats.Resumed
	}
	if total.Acked < 1000 || total.Unknown < 1000 || total.Committed < 1000 || total.Fetched < 1000 || total.Resumed < 1000 {
		t.Errorf("the histories have little in them: %+v", total)
	}
}

// A bug would pass, or be taken for another, in a history that is otherwise lawful.
func TestBugsAreCaught(t *testing.T) {
	for b, names := range caughtAs {
		t.Run(string(b), func(t *testing.T) {
			planted := 0
			for seed := range uint64(100) {
				h, there, err := simulate(seed, 400, b)
				if err != nil {
					t.Fatal(err)
				}
				if !there {
					continue
				}
				planted++
				r := Check(h, Options{})
				if !slices.ContainsFunc(names, func(i Invariant) bool { return r.Counts[i] > 0 }) {
					t.Fatalf("seed %d: not caught as any of %v; found %v", seed, names, r.Counts)
				}
			}
			if planted < 5 {
				t.Errorf("it happened in %d histories only", planted)
			}
		})
	}
}

// Checking would take so long that nobody does it.
func BenchmarkCheck(b *testing.B) {
	h := large(b, 1_000_000)
	b.ResetTimer()
	for b.Loop() {
		if r := Check(h, Options{}); !r.Clean() {
			b.Fatal(r.Violations)
		}
	}
	b.ReportMetric(float64(h.Ops())*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
