package hot

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// segmentWrites counts writes to segments from now on, and has them fail with *fail when that is set.
func segmentWrites(fsys *vfs.Faulty, fail *error) *atomic.Int64 {
	n := new(atomic.Int64)
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind != vfs.KindWrite || !strings.HasSuffix(op.Path, logSuffix) {
			return nil
		}
		n.Add(1)
		if fail != nil {
			return *fail
		}
		return nil
	})
	return n
}

// False if it failed: "many small appends, each acknowledged by itself, cost their segment one write, when somebody reads, rolls, checkpoints,
// closes or asks that the file system have it".
func TestSmallAppendsAreWrittenTogether(t *testing.T) {
	for name, need := range map[string]func(w *world) error{
		"read":       func(w *world) error { _, err := w.log.Read(w.log.End()-1, w.log.End(), 1000); return err },
		"roll":       func(w *world) error { return w.log.Roll() },
		"checkpoint": func(w *world) error { w.flusher.Checkpoint(); return nil },
		"close":      func(w *world) error { return w.log.Close() },
		"written":    func(w *world) error { return w.log.Written() },
		"truncate":   func(w *world) error { return w.log.Truncate(w.log.End() - 1) },
		"barrier":    func(w *world) error { return w.flusher.barrier(nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewFaulty(vfs.NewCrash())
			w := newWorld(t, fsys, Config{})
			w.append(1, 10)
			w.flush() // with the file's name
			n := segmentWrites(fsys, nil)
			var want kafka.Offset
			for range 2 {
				w.append(10, 50)
				w.flush()
				want = w.log.End()
			}
			if got := n.Load(); got != 0 || w.log.DurableEnd() != want {
				t.Fatalf("%d writes before anybody needs them, durable up to %d of %d", got, w.log.DurableEnd(), want)
			}
			w.must(need(w))
			if got := n.Load(); got != 1 {
				t.Fatalf("%d writes", got)
			}
		})
	}
}

// False if it failed: "what was not written in time fits into what is reserved for it, however full the disk is by then; where nothing can be
// reserved, nothing is late".
func TestLateHasRoom(t *testing.T) {
	crash := vfs.NewCrash()
	fsys := vfs.NewFaulty(crash)
	w := newWorld(t, fsys, Config{})
	w.append(1, 10)
	w.flush()
	free := func() int64 {
		n, err := w.flusher.Free()
		w.must(err)
		return n
	}
	crash.SetCapacity(1 << 40)
	crash.SetCapacity(1<<40 - free()) // full
	want := content(t, w.log, 1000)
	for w.log.view.Load().tail.end.pos+300 < w.log.view.Load().tail.reserved {
		want = append(want, w.append(1, 200)...)
		w.flush()
	}
	n := segmentWrites(fsys, nil)
	if err := w.log.Append([]batch.View{makeBatch(t, w.log.End(), 1, 1, 0, make([]byte, 2000))}); !errors.Is(err, ErrNoSpace) || n.Load() == 0 {
		t.Fatalf("append without room: %v, %d writes", err, n.Load())
	}
	w.must(w.flusher.barrier(nil, nil))
	if got := content(t, w.log, 1000); !sameBatches(got, want) {
		t.Fatalf("%d batches of %d", len(got), len(want))
	}
}

// False if it failed: "a segment that is sealed, or closed, has all of it in its file, also when that just fills what was reserved".
func TestSealedIsWritten(t *testing.T) {
	for _, roll := range []bool{true, false} {
		crash := vfs.NewCrash()
		w := newWorld(t, crash, Config{})
		w.append(1, 10)
		w.flush()
		tail := w.log.view.Load().tail
		for tail.reserved-tail.end.pos > 900 {
			w.append(1, 500)
		}
		w.flush() // of the volume; the last one is the journal's
		left := int(tail.reserved - tail.end.pos)
		for size := left; ; size-- {
			if v := makeBatch(t, w.log.End(), 1, 1, 0, make([]byte, size)); len(v) == left {
				w.must(w.log.Append([]batch.View{v}))
				break
			}
		}
		w.flush()
		if tail.reserved != tail.end.pos || tail.file.late.from.Load() == noneLate {
			t.Fatalf("%d bytes of %d, late from %d", tail.end.pos, tail.reserved, tail.file.late.from.Load())
		}
		if roll {
			w.must(w.log.Roll())
		} else {
			w.must(w.log.Close())
		}
		if b, err := vfs.ReadFile(crash, logPath(0)); err != nil || int64(len(b)) != tail.end.pos {
			t.Errorf("roll %v: the file has %d bytes of %d, %v", roll, len(b), tail.end.pos, err)
		}
	}
}

// False if it failed: "a half of the journal is not made void before the segments have what it held".
func TestCleanedJournalIsNotMissed(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.must(crash.SyncDir("/"))
	w.append(1, 10)
	w.flush()
	want := content(t, w.log, 1000)
	for {
		want = append(want, w.append(1, 50)...)
		w.flush()
		if _, full := w.flusher.journal.Full(); full {
			break
		}
	}
	if w.log.view.Load().tail.file.late.from.Load() == noneLate {
		t.Fatal("nothing is late")
	}
	w.must(w.flusher.clean())
	for _, cut := range cuts {
		after := &world{t: t, fs: crash.CutNow(cut), now: testTime}
		w.must(after.start(Config{}, 0))
		if got := content(t, after.log, 1000); !sameBatches(got, want) || after.found.Damage != nil {
			t.Fatalf("%v: %d batches of %d, %+v", cut, len(got), len(want), after.found)
		}
	}
}

// False if it failed: "what was late before a file is cut, or synced by itself, is in it then, and nothing of it comes back behind the cut".
func TestLateGoesBeforeCutAndSync(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	tail := func() *handle { return w.log.view.Load().tail.file }
	size := func() int64 {
		n, err := tail().Size()
		w.must(err)
		return n
	}
	w.append(2, 10)
	if size() != 0 {
		t.Fatal("nothing is late")
	}
	w.must(tail().Sync())
	if size() != w.log.view.Load().tail.end.pos {
		t.Errorf("synced with %d bytes", size())
	}
	w.append(1, 10)
	w.must(tail().Truncate(0))
	w.must(w.flusher.late.write())
	if size() != 0 {
		t.Errorf("%d bytes came back", size())
	}
}

// False if it failed: "a flush does not begin while another one still writes what was late, or it would promise what that one has taken".
func TestLateIsAwaited(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewCrash())
	w := newWorld(t, fsys, Config{})
	w.append(1, 10)
	w.flush()
	w.append(1, 10)
	asked := false
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.KindWrite && strings.HasSuffix(op.Path, logSuffix) {
			asked = true
			if w.flusher.late.writing.TryLock() {
				t.Error("somebody else could begin")
				w.flusher.late.writing.Unlock()
			}
		}
		return nil
	})
	w.must(w.flusher.barrier(nil, nil))
	if !asked {
		t.Error("nothing was late")
	}
}

// False if it failed: "a disk that does not take what is late ends the broker, and what was acknowledged is there when it starts again".
func TestLateIsRefused(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewCrash())
	w := newWorld(t, fsys, Config{})
	w.append(1, 10)
	w.flush()
	want := append(content(t, w.log, 1000), w.append(3, 50)...)
	w.flush()
	failed := error(syscall.EIO)
	segmentWrites(fsys, &failed)
	if _, err := w.log.Read(2, 3, 1000); !errors.Is(err, syscall.EIO) {
		t.Errorf("read: %v", err)
	}
	if err := w.flusher.barrier(nil, nil); !errors.Is(err, ErrFlush) || !errors.Is(w.fatal, syscall.EIO) {
		t.Errorf("flush: %v, told %v", err, w.fatal)
	}
	fsys.SetHook(nil)
	w.fatal = nil
	w.restart(Config{})
	if got := content(t, w.log, 1000); !sameBatches(got, want) || w.found.Damage != nil {
		t.Fatalf("%d batches of %d, %+v", len(got), len(want), w.found)
	}
}

// False if it failed: "while one appends, rolls and truncates, readers find every byte up to the end that they were shown, and flushes beside each
// other leave nothing late of what they promise".
func TestLateBesideReaders(t *testing.T) {
	root := t.TempDir()
	fsys := onDisk{root: root}
	if err := fsys.MkdirAll(testRoot); err != nil {
		t.Fatal(err)
	}
	flusher, err := NewFlusher(fsys, testRoot, journal.Config{FirstBytes: 64 << 10, MaxBytes: 64 << 10, FrameBytes: 32 << 10}, time.Now, silent, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = flusher.Run(ctx) })
	var shown atomic.Int64
	l, _, err := Open(Env{FS: fsys, Flusher: flusher, Clock: time.Now, Log: silent}, testDir, testPartition, Config{SegmentBytes: 50_000}, 0, func(o kafka.Offset) { shown.Store(int64(o)) })
	if err != nil {
		t.Fatal(err)
	}
	fill := func(o kafka.Offset) []byte { return bytes.Repeat([]byte{byte(o)}, 50+int(o%300)) }
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				end := kafka.Offset(shown.Load())
				if end == 0 {
					continue
				}
				run, err := l.Read(end-1, end, 1<<20)
				if err != nil || run.N == 0 {
					t.Errorf("read at %d: %d bytes, %v", end-1, run.N, err)
					return
				}
				b := make([]byte, run.N)
				_, err = run.File.ReadAt(b, run.Pos)
				run.Hold.Release()
				if v := batch.View(b); err != nil || v.BaseOffset() != end-1 || v.CheckCRC() != nil || !bytes.Contains(b, fill(end-1)) {
					t.Errorf("at %d: %v", end-1, err)
					return
				}
			}
		})
	}
	for _, beside := range []func() error{flusher.lighten, func() error { return flusher.barrier(nil, nil) }} {
		running.Go(func() {
			for ctx.Err() == nil {
				before := kafka.Offset(shown.Load())
				if err := beside(); err != nil {
					t.Error(err)
				}
				if at := l.view.Load().tail.file.late.from.Load(); at != noneLate {
					if b, ok := l.view.Load().tail.recentPos(at); ok && b.offset < before {
						t.Errorf("%d is late after a flush that began at %d", b.offset, before)
					}
				}
			}
		})
	}
	for o := range kafka.Offset(3000) {
		if err := l.Append([]batch.View{makeBatch(t, o, 1, 1, int64(o), fill(o))}); err != nil {
			t.Fatal(err)
		}
		if o%500 == 499 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := flusher.Flush(); err != nil {
		t.Fatal(err)
	}
	stop()
	running.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := flusher.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(root, testDir, "*.log")); len(files) < 6 {
		t.Errorf("%d segments", len(files))
	}
}
