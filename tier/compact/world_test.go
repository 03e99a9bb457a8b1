package compact

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	testPartition = kafka.Partition{Topic: kafka.TopicID{4, 2}, Index: 1}
	silent        = slog.New(slog.NewTextHandler(io.Discard, nil))
)

const testRoot = "/data"

// world is a log on a file system that can lose power, with a cleaner, and what a reader must find.
type world struct {
	t       testing.TB
	fs      *vfs.Crash
	flusher *hot.Flusher
	*hot.Log
	policy   Policy
	limit    kafka.Offset // -1: the durable end
	archived bool
	last     map[kafka.ProducerID]kafka.Offset
	aborted  map[kafka.Offset]bool // batches, by base offset
	now      time.Time
	cleaner  *Cleaner
	written  map[kafka.Offset]record
}

type record struct {
	key, value string
	tombstone  bool
	timestamp  int64
}

func newWorld(t testing.TB, policy Policy) *world {
	t.Helper()
	w := &world{t: t, fs: vfs.NewCrash(), policy: policy, limit: -1, now: time.Unix(1_700_000_000, 0),
		last: map[kafka.ProducerID]kafka.Offset{}, aborted: map[kafka.Offset]bool{}, written: map[kafka.Offset]record{}}
	w.must(w.fs.MkdirAll(testRoot))
	w.open()
	return w
}

// open opens the log as a broker that comes up.
func (w *world) open() {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	var err error
	w.flusher, err = hot.NewFlusher(w.fs, testRoot, journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, clock, silent,
		func(err error) { w.t.Errorf("fatal: %v", err) })
	w.must(err)
	var rec hot.Recovered
	w.Log, rec, err = hot.Open(hot.Env{FS: w.fs, Flusher: w.flusher, Clock: clock, Log: silent},
		filepath.Join(testRoot, testPartition.Topic.String(), "1"), testPartition, hot.Config{SegmentBytes: 2000}, 0, func(kafka.Offset) {})
	w.must(err)
	if rec.Damage != nil {
		w.t.Fatal(rec.Damage)
	}
	w.cleaner = New(func(yield func(Log)) { yield(w) }, func() Config { return Config{MapBytes: 1 << 20} }, clock, silent)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) Partition() kafka.Partition { return testPartition }
func (w *world) Topic() string              { return "compacted" }
func (w *world) Policy() *Policy            { return &w.policy }
func (w *world) Archived() bool             { return w.archived }
func (w *world) Limit() kafka.Offset {
	if w.limit >= 0 {
		return w.limit
	}
	return w.DurableEnd()
}
func (w *world) Committed(v batch.View) bool { return !w.aborted[v.BaseOffset()] }
func (w *world) LastOfProducer(v batch.View) bool {
	return w.last[v.ProducerID()] == v.LastOffset()
}

// write appends a batch of records; a value of "" is a tombstone.
func (w *world) write(b batch.Builder, pairs ...string) kafka.Offset {
	w.t.Helper()
	base := w.End()
	for i := 0; i < len(pairs); i += 2 {
		r := record{key: pairs[i], value: pairs[i+1], tombstone: pairs[i+1] == "", timestamp: w.now.UnixMilli() + int64(i)}
		value := []byte(r.value)
		if r.tombstone {
			value = nil
		}
		b.Add(r.timestamp, []byte(r.key), value, batch.Header{Key: "h", Value: []byte(r.key)})
		w.written[base+kafka.Offset(i/2)] = r
	}
	v, err := b.Build()
	w.must(err)
	v.Stamp(base, 3)
	w.must(w.Append([]batch.View{v}))
	if v.Idempotent() {
		w.last[v.ProducerID()] = v.LastOffset()
	}
	return base
}

// settle rolls and flushes, so that all there is may be cleaned.
func (w *world) settle() {
	w.t.Helper()
	w.must(w.Roll())
	w.must(w.flusher.Flush())
}

// clean makes passes until nothing is due.
func (w *world) clean() (passes int) {
	w.t.Helper()
	for w.cleaner.once(w.t.Context(), func(context.Context, int) error { return nil }) {
		if s := w.cleaner.Stats(); s.Failed > 0 {
			w.t.Fatal("a pass has failed")
		}
		if passes++; passes > 1000 {
			w.t.Fatal("it never ends")
		}
	}
	return passes
}

// found is a record that a reader finds.
type found struct {
	record
	offset  kafka.Offset
	horizon int64 // of its batch; 0 without
}

// read reads the whole log through Read, as a consumer, and checks that it has no holes.
func (w *world) read() (all []found) {
	w.t.Helper()
	for from := w.Start(); from < w.End(); {
		run, err := w.Read(from, w.End(), 500)
		w.must(err)
		p := make([]byte, run.N)
		if n, err := run.File.ReadAt(p, run.Pos); n < len(p) {
			w.t.Fatal(err)
		}
		run.Release()
		for len(p) > 0 {
			v, rest, err := batch.Next(p)
			if err != nil {
				break // cut by the limit
			}
			w.must(v.CheckCRC())
			if v.BaseOffset() > from || v.NextOffset() <= from {
				w.t.Fatalf("read at %d: batch [%d, %d)", from, v.BaseOffset(), v.NextOffset())
			}
			it := batch.Records(v)
			for r := range it.All {
				f := found{offset: r.Offset, record: record{key: string(r.Key), value: string(r.Value), tombstone: r.Value == nil, timestamp: r.Timestamp}}
				if at, ok := v.DeleteHorizon(); ok {
					f.horizon = at
				}
				for key, value := range r.Headers.All {
					if string(key) != "h" || string(value) != f.key {
						w.t.Fatalf("record %d has header %q=%q", r.Offset, key, value)
					}
				}
				all = append(all, f)
			}
			w.must(it.Err())
			from, p = v.NextOffset(), rest
		}
	}
	return all
}

// check holds what a reader finds against what was written. cleaned: a pass has been over everything below CleanedTo.
func (w *world) check(cleaned bool) {
	w.t.Helper()
	latest := map[string]kafka.Offset{}
	for o := kafka.Offset(0); o < w.End(); o++ {
		if r, ok := w.written[o]; ok {
			latest[r.key] = o
		}
	}
	seen := map[string]kafka.Offset{}
	for _, f := range w.read() {
		if want := w.written[f.offset]; want != f.record {
			w.t.Fatalf("offset %d holds %+v, was %+v", f.offset, f.record, want)
		}
		if before, ok := seen[f.key]; ok && cleaned && f.offset < w.CleanedTo() {
			w.t.Fatalf("key %q at %d and at %d, all of it compacted up to %d", f.key, before, f.offset, w.CleanedTo())
		}
		seen[f.key] = f.offset
	}
	for key, at := range latest {
		got, ok := seen[key]
		if ok && got == at {
			continue
		}
		if !ok && w.written[at].tombstone {
			continue // gone, and nothing older is left
		}
		w.t.Fatalf("key %q: last at %d (%+v), a reader ends with %d (%v)", key, at, w.written[at], got, ok)
	}
}

func pairs(n int, f func(i int) (key, value string)) (out []string) {
	for i := range n {
		k, v := f(i)
		out = append(out, k, v)
	}
	return out
}

func value(i int) string { return fmt.Sprintf("value-%d", i) }
