package hot

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if it failed: "one flush is in flight, and everything that was written while it was shares the next one".
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewCrash())
		if err := fsys.MkdirAll(testRoot); err != nil {
			t.Fatal(err)
		}
		flusher, err := NewFlusher(fsys, testRoot, journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, time.Now, silent, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		env := Env{FS: fsys, Flusher: flusher, Clock: time.Now, Log: silent}
		var durable atomic.Int32
		var logs []*Log
		for i := range 50 {
			l, _, err := Open(env, Dir(testRoot, kafka.Partition{Index: int32(i)}), kafka.Partition{Index: int32(i)}, Config{}, 0, func(kafka.Offset) { durable.Add(1) })
			if err != nil {
				t.Fatal(err)
			}
			logs = append(logs, l)
		}
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			if err := flusher.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		const slow = 10 * time.Millisecond
		var inFlight atomic.Int32
		fsys.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindSyncVol {
				if inFlight.Add(1) > 1 {
					t.Error("two flushes in flight")
				}
				time.Sleep(slow) // fake time: the disk is slow
				inFlight.Add(-1)
			}
			return nil
		})
		before := fsys.Count(vfs.KindSyncVol)
		began := time.Now()
		for _, l := range logs {
			if err := l.Append([]batch.View{makeBatch(t, 0, 1, 1, 0, nil)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // let the flusher pick up the first at once
		}
		if durable.Load() != 0 {
			t.Error("durable before the flush ended")
		}
		time.Sleep(2*slow + slow/2)
		synctest.Wait()
		if n := fsys.Count(vfs.KindSyncVol) - before; n != 2 || durable.Load() != 50 {
			t.Errorf("%d flushes for 50 appends, %d durable after %v", n, durable.Load(), time.Since(began))
		}
		stop()
		running.Wait()
	})
}

// False if it failed: "Run ends with the flush error, at once, and does not wait for its context".
func TestRunEndsOnFlushError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewFaulty(vfs.NewCrash())
		w := newWorld(t, fsys, Config{})
		fsys.SetHook(fsys.FailNth(vfs.KindSyncVol, 1, syscall.EIO))
		w.append(1, 10)
		if err := w.flusher.Run(t.Context()); !errors.Is(err, ErrFlush) || !errors.Is(w.fatal, syscall.EIO) || w.log.DurableEnd() != 0 {
			t.Errorf("run: %v, fatal: %v, durable end %d", err, w.fatal, w.log.DurableEnd())
		}
	})
}

// False if it failed: "recovery points are written by themselves every few seconds, and an idle volume is left alone".
func TestCheckpointsByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := vfs.NewCrash()
		w := newWorld(t, fsys, Config{})
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			if err := w.flusher.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		w.append(1, 10)
		time.Sleep(checkpointInterval + time.Second)
		synctest.Wait()
		if p, ok, _ := w.flusher.recovery.get(testPartition); !ok || p.offset != 1 {
			t.Errorf("recovery point %+v", p)
		}
		idle := fsys.Ops()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := fsys.Ops() - idle; n > 0 {
			t.Errorf("%d operations while idle", n)
		}
		stop()
		running.Wait()
	})
}

// False if it failed: "the recovery file does not grow without end".
func TestRecoveryFileIsRewritten(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{})
	other := samplePoint()
	other.partition.Index++
	for range 15_000 {
		w.must(w.flusher.recovery.put(other))
	}
	w.flusher.Checkpoint()
	info, err := w.fs.Stat(recoveryPath())
	w.must(err)
	if info.Size() > 1000 {
		t.Fatalf("%d bytes", info.Size())
	}
	if p, ok, _ := w.flusher.recovery.get(other.partition); !ok || p.offset != other.offset {
		t.Fatalf("point lost: %+v", p)
	}
}

// False if it failed: "appending, flushing and reading the tail allocate nothing in steady state".
func TestHotPathsDoNotAllocate(t *testing.T) {
	w := newWorld(t, onDisk{root: t.TempDir()}, Config{SegmentBytes: 1 << 30})
	v := makeBatch(t, 0, 1, 1, 0, make([]byte, 100))
	views := []batch.View{v}
	step := func() {
		v.Stamp(w.log.End(), 1)
		if err := w.log.Append(views); err != nil {
			t.Fatal(err)
		}
	}
	step()
	w.flush()
	w.flush()
	if n := testing.AllocsPerRun(200, step); n > 0.1 {
		t.Errorf("append: %v allocations", n)
	}
	if n := testing.AllocsPerRun(20, func() {
		step()
		if err := w.flusher.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("append and flush: %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		run, err := w.log.Read(w.log.End()-1, w.log.End(), 1<<20)
		if err != nil || run.N != len(v) {
			t.Fatal(run, err)
		}
		run.Release()
	}); n > 0 {
		t.Errorf("tail read: %v allocations", n)
	}
}

// False if it failed: "one flush covers everything that a request appends, to however many logs, and comes when the last of
// those that append at the time has ended, or, should they overlap without end, after a few".
func TestOneFlushForOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewCrash(), Config{})
		other, _, err := Open(w.env, Dir(testRoot, kafka.Partition{Index: 1}), kafka.Partition{Index: 1}, Config{}, 0, func(kafka.Offset) {})
		w.must(err)
		w.flush()
		var rounds, logs int
		w.flusher.Observe(func(n int, _ time.Duration) { rounds, logs = rounds+1, logs+n })
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			if err := w.flusher.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		w.flusher.Begin()
		w.append(1, 10)
		synctest.Wait()
		if w.log.DurableEnd() != 0 {
			t.Error("flushed while the request was being appended")
		}
		w.must(other.Append([]batch.View{makeBatch(t, 0, 1, 1, 0, nil)}))
		w.flusher.End()
		synctest.Wait()
		if rounds != 1 || logs != 2 || w.log.DurableEnd() != 1 || other.DurableEnd() != 1 {
			t.Errorf("%d rounds for %d logs, durable to %d and %d", rounds, logs, w.log.DurableEnd(), other.DurableEnd())
		}
		w.flusher.Begin() // and from now on somebody always appends
		for i := 0; w.log.DurableEnd() == 1; i++ {
			if i > endsAtMost {
				t.Fatal("requests that overlap put the flush off without end")
			}
			w.flusher.Begin()
			w.append(1, 10)
			w.flusher.End()
			synctest.Wait()
		}
		w.flusher.End()
		stop()
		running.Wait()
	})
}
