package cold

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// gate is a bucket whose GETs of data wait until it is opened. Footers pass.
type gate struct {
	object.Bucket
	dataSize               func(key string) int64
	open                   chan struct{}
	running, most, stopped atomic.Int64
}

func newGate(b object.Bucket, ws ...*flat) *gate {
	sizes := map[string]int64{}
	for _, w := range ws {
		for _, e := range w.manifest.All() {
			sizes[e.Key(cluster, w.partition)] = e.DataSize
		}
	}
	return &gate{Bucket: b, open: make(chan struct{}), dataSize: func(key string) int64 { return sizes[key] }}
}

func (g *gate) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off < g.dataSize(key) {
		now := g.running.Add(1)
		defer g.running.Add(-1)
		g.most.Store(max(g.most.Load(), now))
		select {
		case <-g.open:
		case <-ctx.Done():
			g.stopped.Add(1)
			return nil, ctx.Err()
		}
	}
	return g.Bucket.Get(ctx, key, off, n)
}

// ask reads once and says whether the answer was ErrLoading; called counts ready.
func (w *flat) ask(t *testing.T, r *Reader, stream any, from kafka.Offset, called *atomic.Int64) (batch.Run, bool) {
	t.Helper()
	run, err := r.Read(w.partition, w.manifest, stream, from, 1<<20, func() { called.Add(1) })
	if err != nil && !errors.Is(err, ErrLoading) {
		t.Fatal(err)
	}
	return run, err != nil
}

var small = shape{segments: 1, segmentBytes: 6 << 20, batchBytes: 9000}

// Forget ends the downloads that only the forgotten stream wanted and calls
// its reads ready; what another stream wants goes on.
func TestForgetCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		a, b := build(t, mem, 1, partition(0), small), build(t, mem, 2, partition(1), small)
		g := newGate(mem, a, b)
		r := start(t, g, Config{})
		var called, other atomic.Int64
		for range 2 { // first for the footer, then for data
			a.ask(t, r, "gone", 0, &called)
			b.ask(t, r, "gone", 0, &called)
			b.ask(t, r, "stays", 0, &other)
			synctest.Wait()
		}
		if called.Load() != 2 || other.Load() != 1 {
			t.Fatalf("footers: %d and %d calls", called.Load(), other.Load())
		}
		before := g.running.Load()
		r.Forget("gone")
		synctest.Wait()
		if called.Load() != 4 || other.Load() != 1 {
			t.Fatalf("forgotten: %d and %d calls", called.Load(), other.Load())
		}
		if g.stopped.Load() != 1 || g.running.Load() != before-1 {
			t.Fatalf("%d GETs stopped of %d, %d run", g.stopped.Load(), before, g.running.Load())
		}
		close(g.open)
		synctest.Wait()
		if other.Load() != 2 {
			t.Fatal("the stream that stays was not called")
		}
		if err := b.replay(r, "stays", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
	})
}

// The batch that holds the offset is returned whole, however small the limit
// and however small the memory; and a store of large batches is replayed.
func TestBatchLargerThanEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 5, partition(0), shape{segments: 2, segmentBytes: 4 << 20, batchBytes: 3 << 20})
		r := start(t, mem, Config{MaxInFlight: 1 << 20, RangeSize: 1 << 20})
		if err := w.replay(r, "a", 0, 1); err != nil {
			t.Fatal(err)
		}
	})
}

// Sequential progress widens the window and runs across segment borders
// before the reader is there; a seek makes it small again.
func TestReadaheadGrowsCrossesAndResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSynthetic(t, 16<<10)
		m := s.partition(t, partition(0), 6, 16<<20)
		r := start(t, s, Config{})
		read := func(from kafka.Offset) kafka.Offset {
			for {
				ready := make(chan struct{})
				run, err := r.Read(partition(0), m, "a", from, 1<<20, func() { close(ready) })
				if errors.Is(err, ErrLoading) {
					<-ready
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				next := from
				for rest := run.Bytes; len(rest) > 0; {
					var v batch.View
					if v, rest, err = batch.Next(rest); err != nil {
						t.Fatal(err)
					}
					next = v.NextOffset()
				}
				run.Release()
				synctest.Wait()
				return next
			}
		}
		from := read(0)
		if st := r.Stats(); st.Bytes > 6<<20 {
			t.Fatalf("%d bytes were loaded for the first read", st.Bytes)
		}
		for from <= m.At(1).Next {
			from = read(from)
		}
		st := r.Stats()
		if ahead := int64(st.Bytes) - int64(st.ReadBytes); ahead < 40<<20 || ahead > 64<<20 {
			t.Fatalf("%d bytes ahead after two segments", ahead)
		}
		before := st.Bytes
		read(m.At(0).Base + 20)
		if st = r.Stats(); st.Bytes-before > 6<<20 || st.Held-st.Idle-st.Spare > 8<<20 {
			t.Fatalf("%d bytes loaded and %d held after a seek", st.Bytes-before, st.Held-st.Idle-st.Spare)
		}
	})
}

// A stream that stopped reading does not keep its memory from one that has nothing.
func TestStalledReaderIsRobbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		a, b := build(t, mem, 1, partition(0), small), build(t, mem, 2, partition(1), small)
		r := start(t, mem, Config{MaxInFlight: 1 << 20})
		run, err := a.wait(r, "stalled", 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		run.Release()
		began := time.Now()
		if err := b.replay(r, "poor", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 2*stalledAfter {
			t.Fatalf("waited for %v", d)
		}
	})
}

// Memory that a Run points to is neither reused nor counted as free until it
// is released.
func TestRunsHoldTheirMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), small)
		r := start(t, mem, Config{MaxInFlight: 2 << 20, CacheBytes: -1})
		held, err := w.wait(r, "a", 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		r.Forget("a")
		if err := w.replay(r, "b", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if _, err := w.check(held, 0, 1<<20); err != nil {
			t.Fatal("memory was reused: ", err)
		}
		held.Release()
		r.Forget("b")
		synctest.Wait()
		if st := r.Stats(); st.Held > 2<<20 || st.Idle != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// When nobody reads any more, memory is given back and nothing runs.
func TestIdleReaderLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), small)
		r := start(t, mem, Config{})
		if err := w.replay(r, "a", 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * idleAfter)
		if st := r.Stats(); st.Held != 0 || st.Streams != 0 || st.InFlight != 0 {
			t.Fatalf("%+v", st)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.janitor != nil {
			t.Fatal("still cleaning")
		}
	})
}

// When Run ends, what waits is called, and reads fail.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), small)
		g := newGate(mem, w)
		r := NewReader(g, cluster, Config{}, quiet)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Run(ctx) })
		var called atomic.Int64
		for range 2 {
			w.ask(t, r, "a", 0, &called)
			synctest.Wait()
		}
		cancel()
		wg.Wait()
		synctest.Wait()
		if called.Load() != 2 || g.running.Load() != 0 {
			t.Fatalf("%d calls, %d GETs run", called.Load(), g.running.Load())
		}
		if _, err := r.Read(w.partition, w.manifest, "a", 0, 1, nil); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

// Footers are kept within their bytes, and one is downloaded once however many ask.
func TestFooterCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := object.NewMem(nil)
		w := build(t, mem, 3, partition(0), shape{segments: 40, segmentBytes: 100, batchBytes: 100})
		b := object.NewCounting(mem)
		r := NewReader(b, cluster, Config{FooterBytes: 20 << 10}, quiet) // works before Run
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if f, err := r.Footer(context.Background(), w.partition, w.manifest.At(0)); err != nil || f.Base != 0 {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if b.Counts().Gets != 1 {
			t.Fatalf("%d GETs of one footer", b.Counts().Gets)
		}
		for _, e := range w.manifest.All() {
			if f, err := r.Footer(context.Background(), w.partition, e); err != nil || f.Base != e.Base {
				t.Fatal(err)
			}
		}
		if st := r.Stats(); st.FooterBytes > 20<<10 || len(r.remotes) != r.footers.Len() {
			t.Fatalf("%d bytes, %d remotes", st.FooterBytes, len(r.remotes))
		}
	})
}
