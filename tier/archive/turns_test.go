package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// slowReader takes its time, and knows how many read at once.
type slowReader struct {
	io.ReaderAt
	now, most *atomic.Int32
}

func (r slowReader) ReadAt(p []byte, off int64) (int, error) {
	r.most.Store(max(r.most.Load(), r.now.Add(1)))
	defer r.now.Add(-1)
	time.Sleep(time.Second)
	return r.ReaderAt.ReadAt(p, off)
}

// sealedSegment is a sealed segment of the world's first partition, and the job to upload it.
func sealedSegment(w *world, wrap func(io.ReaderAt) io.ReaderAt) (*job, *hot.Sealed) {
	src := w.parts[0]
	data := src.log.history(0, src.log.end())
	info := hot.SegmentInfo{Next: src.log.end(), Size: int64(len(data)), Sealed: true, Durable: true}
	j := &job{part: &part{id: src.id, topic: "orders", src: src}, segment: info, epoch: 9}
	return j, &hot.Sealed{Info: info, Data: wrap(bytes.NewReader(data))}
}

// False if: more scans and copies than have a turn work at once, one of them
// starves, or waiting for a turn counts as a stall.
func TestUploadsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		for range 100 {
			w.parts[0].log.append(1, 10<<10, 1) // several steps of a scan
		}
		a := New(w.bucket, w.quorum, w.quorum, Config{Cluster: cluster, StallTimeout: 2 * time.Second}, time.Now, slog.New(slog.DiscardHandler))
		a.turns = make(turns, 2)
		var now, most atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				j, sealed := sealedSegment(w, func(r io.ReaderAt) io.ReaderAt { return slowReader{r, &now, &most} })
				p, err := a.prepare(t.Context(), j, sealed)
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				body := a.watch(ctx, cancel, p.body(sealed.Data))
				defer body.stop()
				if _, err := io.Copy(io.Discard, io.NewSectionReader(body, 0, body.size())); err != nil || ctx.Err() != nil {
					t.Errorf("%v, %v", err, context.Cause(ctx))
				}
			})
		}
		group.Wait()
		if most.Load() != 2 || len(a.turns) != 0 {
			t.Errorf("%d at once, %d turns not given back", most.Load(), len(a.turns))
		}
	})
}

// False if: a scan cannot be cancelled, whether it waits or works, calls the
// segment damaged then, or keeps its turn.
func TestCancelledScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		for range 100 {
			w.parts[0].log.append(1, 10<<10, 1)
		}
		a := New(w.bucket, w.quorum, w.quorum, Config{Cluster: cluster}, time.Now, slog.New(slog.DiscardHandler))
		a.turns = make(turns, 1)
		var now, most atomic.Int32
		var group sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		for range 2 {
			group.Go(func() {
				j, sealed := sealedSegment(w, func(r io.ReaderAt) io.ReaderAt { return slowReader{r, &now, &most} })
				if _, err := a.prepare(ctx, j, sealed); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errDamaged) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if len(a.turns) != 0 {
			t.Errorf("%d turns not given back", len(a.turns))
		}
	})
}

// False if: a footer's epochs contradict the object's batches where the log's
// history does, or leave out what was before them.
func TestFooterKnowsHistory(t *testing.T) {
	w := newWorld(t, 1)
	log := w.parts[0].log
	log.append(5, 10, 4)
	log.append(5, 10, 6)
	a := New(w.bucket, w.quorum, w.quorum, Config{Cluster: cluster}, time.Now, slog.New(slog.DiscardHandler))
	j, sealed := sealedSegment(w, func(r io.ReaderAt) io.ReaderAt { return r })
	sealed.Epochs = []segment.EpochStart{{Epoch: 2}, {Epoch: 4, Start: 0}, {Epoch: 5, Start: 3}}
	p, err := a.prepare(t.Context(), j, sealed)
	if err != nil {
		t.Fatal(err)
	}
	body := p.body(sealed.Data)
	f, err := segment.ReadFooter(body, body.size())
	if err != nil {
		t.Fatal(err)
	}
	want := []segment.EpochStart{{Epoch: 2}, {Epoch: 4}, {Epoch: 6, Start: kafka.Offset(5)}}
	if !slices.Equal(f.Epochs, want) {
		t.Errorf("epochs %v, want %v", f.Epochs, want)
	}

	// A history that no footer can tell is not written into one.
	sealed.Epochs = []segment.EpochStart{{Epoch: 3}, {Epoch: 2}}
	if _, err := a.prepare(t.Context(), j, sealed); !errors.Is(err, segment.ErrCorrupt) || errors.Is(err, errDamaged) {
		t.Errorf("history out of order: %v", err)
	}
}
