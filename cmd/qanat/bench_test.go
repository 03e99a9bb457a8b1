package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"pgregory.net/rapid"
)

// The benches count exactly what they produced and consumed.
func TestBenchCounts(t *testing.T) {
	c := fakeCluster(t, kfake.SeedTopics(2, "qanat-bench"))
	for _, args := range [][]string{
		{"bench", "produce", "-n", "500", "-s", "100", "-o", "json"},
		{"bench", "consume", "-o", "json"},
		{"bench", "e2e", "-n", "200", "-s", "100", "-r", "5000", "-o", "json"},
	} {
		r := c.run(args...)
		var got benchResult
		if err := json.Unmarshal([]byte(r.out), &got); err != nil {
			t.Fatalf("%v: %v %s %s", args, err, r.out, r.errors)
		}
		want := int64(500)
		if args[1] == "e2e" {
			want = 200
		}
		if got.Records != want || got.Bytes != want*100 || got.Seconds <= 0 {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if r := c.run("bench", "consume", "-t", "none"); r.code != exitNotFound {
		t.Errorf("%+v", r)
	}
	if r := c.run("bench", "e2e", "-s", "3"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

// A quantile is a value that was measured, and no more than its share of the values lie above it.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.IntRange(0, 1000), 1, 50).Draw(t, "ms")
		var l latencies
		for _, ms := range list {
			l.add(time.Duration(ms) * time.Millisecond)
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		got := l.at(q)[0]
		above := 0
		for _, ms := range list {
			if float64(ms) > got {
				above++
			}
		}
		if !slices.Contains(list, int(got)) || float64(above) > (1-q)*float64(len(list)) {
			t.Fatalf("q %g of %v: %g", q, list, got)
		}
	})
}
