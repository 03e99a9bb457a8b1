package hot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
	"pgregory.net/rapid"
)

// False if it failed: "any read, by any offset, limit and size, returns whole batches from the one that holds the offset,
// never beyond the limit, and lookups by time find the first record there is".
func TestReadsAgreeWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, vfs.NewCrash(), Config{SegmentBytes: int64(rapid.SampledFrom([]int{300, 5_000, 400_000}).Draw(rt, "segment"))})
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		var all []batch.View
		for range rapid.IntRange(1, 60).Draw(rt, "appends") {
			switch rng.IntN(12) {
			case 0:
				w.must(w.log.Roll())
			case 1:
				w.flush()
				w.must(w.log.Close())
				w.restart(w.log.cfg)
			case 2:
				if len(all) > 3 {
					at := len(all) - 1 - rng.IntN(3)
					if all[at].BaseOffset() < w.log.Start() {
						break
					}
					w.must(w.log.Truncate(all[at].BaseOffset()))
					all = all[:at]
				}
			}
			var group []batch.View
			next := w.log.End()
			for range 1 + rng.IntN(4) {
				v := makeBatch(t, next, 3, 1+rng.IntN(4), rng.Int64N(10_000), randomFill(rng, []int{0, 50, 3_000, 30_000}[rng.IntN(4)]))
				group, next = append(group, v), v.NextOffset()
			}
			w.must(w.log.Append(group))
			all = append(all, group...)
		}
		for range 40 {
			checkRead(rt, w.log, all, rng)
			checkFindTime(rt, w.log, all, rng)
		}
		for range 10 {
			checkMaxTimestamp(rt, w.log, all, rng)
		}
		if got := content(t, w.log, 4000); !sameBatches(got, all) {
			rt.Fatalf("content differs: %d batches, want %d", len(got), len(all))
		}
		checkReplay(rt, w.log, all)
	})
}

func holding(all []batch.View, o kafka.Offset) int {
	return slices.IndexFunc(all, func(v batch.View) bool { return v.BaseOffset() <= o && o < v.NextOffset() })
}

func checkRead(rt *rapid.T, l *Log, all []batch.View, rng *rand.Rand) {
	from := kafka.Offset(rng.Int64N(int64(l.End())))
	first := holding(all, from)
	last := first + rng.IntN(len(all)-first)
	limit := all[last].NextOffset()
	size := rng.IntN(100_000)
	run, err := l.Read(from, limit, size)
	if err != nil {
		rt.Fatalf("read [%d, %d) max %d: %v", from, limit, size, err)
	}
	defer run.Release()
	got := make([]byte, run.N)
	if err := readFull(run.File, got, run.Pos); err != nil {
		rt.Fatal(err)
	}
	if run.N > max(size, len(all[first])) || run.N < len(all[first]) {
		rt.Fatalf("read [%d, %d) max %d: %d bytes", from, limit, size, run.N)
	}
	for i := first; len(got) > 0; i++ {
		if i > last {
			rt.Fatalf("read [%d, %d) goes past the limit", from, limit)
		}
		n := min(len(got), len(all[i]))
		if !bytes.Equal(got[:n], all[i][:n]) {
			rt.Fatalf("read [%d, %d): batch %d differs", from, limit, i)
		}
		got = got[n:]
	}
}

func checkFindTime(rt *rapid.T, l *Log, all []batch.View, rng *rand.Rand) {
	ts, limit := rng.Int64N(10_010), kafka.Offset(rng.Int64N(int64(l.End())+1))
	from := kafka.Offset(rng.Int64N(int64(l.End()) + 1))
	var want batch.Record
	found := false
	for _, v := range all {
		for r := range batch.Records(v).All {
			if !found && r.Timestamp >= ts && r.Offset >= from && r.Offset < limit {
				want, found = r, true
			}
		}
	}
	offset, at, epoch, ok, err := l.FindTime(ts, from, limit)
	if err != nil || ok != found || ok && (offset != want.Offset || at != want.Timestamp || epoch != 3) {
		rt.Fatalf("find %d in [%d, %d): %d at %d epoch %d %v %v, want %d at %d %v", ts, from, limit, offset, at, epoch, ok, err, want.Offset, want.Timestamp, found)
	}
}

func checkMaxTimestamp(rt *rapid.T, l *Log, all []batch.View, rng *rand.Rand) {
	from, limit := kafka.Offset(rng.Int64N(int64(l.End())+1)), all[rng.IntN(len(all))].NextOffset()
	want := int64(-1)
	for _, v := range all {
		for r := range batch.Records(v).All {
			if r.Offset >= from && r.Offset < limit {
				want = max(want, r.Timestamp)
			}
		}
	}
	at, ok, err := l.MaxTimestamp(from, limit)
	if err != nil || ok != (want >= 0) || ok && at != want {
		rt.Fatalf("max timestamp of [%d, %d): %d %v %v, want %d", from, limit, at, ok, err, want)
	}
}

func checkReplay(rt *rapid.T, l *Log, all []batch.View) {
	i := 0
	err := l.Replay(0, func(v batch.View) error {
		if !bytes.Equal(v, all[i][:batch.HeaderLen]) {
			return fmt.Errorf("header %d differs", i)
		}
		i++
		return nil
	})
	if err != nil || i != len(all) {
		rt.Fatalf("replay: %v after %d of %d", err, i, len(all))
	}
}

// False if it failed: "an append that hits a full disk leaves no trace and succeeds when there is space again, also when it spreads over segments".
func TestFullDisk(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{SegmentBytes: 1000})
	kept := w.append(3, 200)
	before := fsys.Ops()
	fsys.SetCapacity(2_500)
	var group []batch.View
	next := w.log.End()
	for range 8 {
		group = append(group, makeBatch(t, next, 1, 1, 0, make([]byte, 400)))
		next++
	}
	for range 3 {
		err := w.log.Append(group)
		if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("append to a full disk: %v", err)
		}
		if w.log.End() != 3 || !sameBatches(content(t, w.log, 1000), kept) {
			t.Fatalf("end %d after an append that failed", w.log.End())
		}
	}
	if fsys.Ops() == before {
		t.Fatal("nothing was tried")
	}
	fsys.SetCapacity(0)
	w.must(w.log.Append(group))
	w.flush()
	w.restart(Config{SegmentBytes: 1000})
	if !sameBatches(content(t, w.log, 1000), append(kept, group...)) {
		t.Fatal("content differs after a restart")
	}
}

// False if it failed: "after a write error that is no want of room the log can be read and takes nothing, and the broker is told, once".
func TestWriteError(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewCrash())
	w := newWorld(t, fsys, Config{})
	kept := w.append(2, 100)
	w.flush()
	fsys.SetHook(fsys.FailNth(vfs.KindWrite, 1, &vfs.Partial{N: 50, Err: syscall.EIO}))
	v := makeBatch(t, 2, 1, 1, 0, make([]byte, lateAppend))
	if err := w.log.Append([]batch.View{v}); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	if !errors.Is(w.fatal, ErrBroken) || !errors.Is(w.fatal, syscall.EIO) {
		t.Errorf("told %v", w.fatal)
	}
	w.fatal = nil
	if err := w.log.Append([]batch.View{v}); !errors.Is(err, ErrBroken) || w.fatal != nil {
		t.Fatalf("next append: %v, told %v", err, w.fatal)
	}
	if !sameBatches(content(t, w.log, 1000), kept) {
		t.Fatal("content differs")
	}
}

// False if it failed: "a segment that cannot be begun, because files are too many, is begun when they are fewer".
func TestTooManyFiles(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewCrash())
	w := newWorld(t, fsys, Config{SegmentBytes: 300})
	kept := w.append(2, 100)
	fsys.SetHook(fsys.FailNth(vfs.KindCreate, 1, syscall.EMFILE))
	v := makeBatch(t, 2, 1, 1, 0, make([]byte, 200))
	if err := w.log.Append([]batch.View{v}); !errors.Is(err, ErrNoSpace) || w.fatal != nil {
		t.Fatalf("append: %v, told %v", err, w.fatal)
	}
	w.must(w.log.Append([]batch.View{v}))
	w.flush()
	if !sameBatches(content(t, w.log, 1000), append(kept, v)) {
		t.Fatal("content differs")
	}
}

// False if it failed: "after a failed flush, of the journal or of the volume, nothing is ever called durable again, and the broker is told once".
func TestFlushErrorIsFatal(t *testing.T) {
	for name, fail := range map[string]struct {
		kind vfs.Kind
		size int // of the append that is not flushed
	}{"journal": {vfs.KindSync, 10}, "volume": {vfs.KindSyncVol, 2000}} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewFaulty(vfs.NewCrash())
			w := newWorld(t, fsys, Config{})
			w.append(1, 10)
			w.flush()
			w.append(1, fail.size)
			fsys.SetHook(fsys.FailNth(fail.kind, 1, syscall.EIO))
			if err := w.flusher.Flush(); !errors.Is(err, ErrFlush) || !errors.Is(w.fatal, syscall.EIO) {
				t.Fatalf("flush: %v, fatal: %v", err, w.fatal)
			}
			w.fatal = nil
			w.log.flushLazily()
			if err := w.flusher.Flush(); !errors.Is(err, ErrFlush) {
				t.Fatalf("second flush: %v", err)
			}
			err := w.log.Append([]batch.View{makeBatch(t, 2, 1, 1, 0, nil)})
			if !errors.Is(err, ErrFlush) || w.log.DurableEnd() != 1 || w.durable != 1 || w.fatal != nil {
				t.Fatalf("append: %v, durable end %d, told %d, fatal again: %v", err, w.log.DurableEnd(), w.durable, w.fatal)
			}
		})
	}
}

// False if it failed: "a batch larger than a segment gets its own, and no batch is ever split".
func TestRollBySize(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{SegmentBytes: 500})
	var all []batch.View
	for i, size := range []int{100, 2000, 100, 200, 150} {
		all = append(all, makeBatch(t, kafka.Offset(i), 1, 1, 0, make([]byte, size)))
	}
	w.must(w.log.Append(all))
	var bases []kafka.Offset
	for _, s := range w.log.Segments() {
		bases = append(bases, s.Base)
	}
	if !slices.Equal(bases, []kafka.Offset{0, 1, 2, 4}) {
		t.Fatalf("segments begin at %v", bases)
	}
	if !sameBatches(content(t, w.log, 1), all) {
		t.Fatal("content differs")
	}
}

// False if it failed: "a segment is rolled when its first append is older than SegmentAge, jitter taken off, and an empty one never".
func TestRollByAge(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{SegmentAge: time.Hour, SegmentJitter: 10 * time.Minute})
	w.now = w.now.Add(24 * time.Hour)
	w.must(w.log.Tick())
	w.append(1, 10)
	w.now = w.now.Add(49 * time.Minute)
	w.must(w.log.Tick())
	if n := len(w.log.Segments()); n != 1 {
		t.Fatalf("%d segments too early", n)
	}
	w.flush()
	w.must(w.log.Close())
	w.restart(Config{SegmentAge: time.Hour, SegmentJitter: 10 * time.Minute})
	w.now = w.now.Add(11 * time.Minute)
	w.must(w.log.Tick())
	w.must(w.log.Tick())
	if n := len(w.log.Segments()); n != 2 {
		t.Fatalf("%d segments after an hour", n)
	}
}

// False if it failed: "in async mode durable means written, and what was written is flushed by the checkpoint".
func TestAsync(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{Async: true})
	w.append(3, 10)
	if w.log.DurableEnd() != 3 || w.durable != 3 || w.log.flushed.Load() != 0 {
		t.Fatalf("durable %d, told %d, flushed %d", w.log.DurableEnd(), w.durable, w.log.flushed.Load())
	}
	w.flusher.Checkpoint()
	w.flush()
	if w.log.flushed.Load() != 3 {
		t.Fatalf("flushed %d", w.log.flushed.Load())
	}
	w.append(1, 10)
	w.log.SetConfig(Config{})
	w.flush()
	w.append(1, 10)
	if w.log.flushed.Load() != 4 || w.log.DurableEnd() != 4 {
		t.Fatalf("flushed %d, durable %d", w.log.flushed.Load(), w.log.DurableEnd())
	}
}

// watched has somebody look whenever a state file has been opened and nothing is in it yet.
type watched struct {
	vfs.FS
	look func()
}

func (w *watched) OpenRW(name string) (vfs.File, error) {
	f, err := w.FS.OpenRW(name)
	if strings.HasSuffix(name, stateSuffix) && w.look != nil {
		w.look()
	}
	return f, err
}

// False if it failed: "a segment that is taken to the bucket in the moment of the roll goes with the state as of its end, or not yet".
func TestSealedWithItsState(t *testing.T) {
	fsys := &watched{FS: vfs.NewCrash()}
	w := newWorld(t, fsys, Config{})
	w.append(3, 100)
	w.flush()
	looked := 0
	fsys.look = func() {
		looked++
		s, err := w.log.OpenSealed(0)
		if err == nil && string(s.State) != "3" {
			t.Errorf("it is sealed, with state %q", s.State)
		}
	}
	w.must(w.log.Roll())
	if looked == 0 {
		t.Error("no state was written")
	}
	if s, err := w.log.OpenSealed(0); err != nil || string(s.State) != "3" {
		t.Errorf("after the roll: %+v, %v", s, err)
	}
}

// False if it failed: "a sealed segment opened for upload has its facts, and stays readable while it is released".
func TestOpenSealed(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{})
	batches := w.append(3, 100)
	w.must(w.log.Roll())
	w.append(1, 1)
	if s := w.log.Segments()[0]; s.Durable || !s.Sealed {
		t.Fatalf("before the flush: %+v", s)
	}
	w.flush()
	s, err := w.log.OpenSealed(0)
	w.must(err)
	freed, err := w.log.ReleaseBefore(3)
	w.must(err)
	if s.Info.Next != 3 || s.Info.MaxTimestamp != 2 || !s.Info.Durable || string(s.State) != "3" || freed != s.Info.Size ||
		!slices.Equal(s.Epochs, []segment.EpochStart{{Epoch: 1, Start: 0}}) {
		t.Fatalf("sealed: %+v, freed %d", s, freed)
	}
	f, err := segment.Scan(s.Data, s.Info.Size)
	w.must(err)
	if f.Base != 0 || f.Next != 3 || f.DataSize != int64(len(batches[0])*3) {
		t.Fatalf("scan: %+v", f)
	}
	w.must(s.Close())
	if _, err := w.log.OpenSealed(0); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("after the release: %v", err)
	}
	if _, err := w.log.OpenSealed(3); !errors.Is(err, ErrOutOfRange) {
		t.Fatalf("the active segment: %v", err)
	}
}

// False if it failed: "what is appended must continue the log: offsets without a gap, epochs that do not go back, whole batches".
func TestAppendRefusals(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{})
	w.must(w.log.Append([]batch.View{makeBatch(t, 0, 5, 2, 0, nil)}))
	for name, v := range map[string]batch.View{
		"gap":   makeBatch(t, 3, 5, 1, 0, nil),
		"again": makeBatch(t, 1, 5, 1, 0, nil),
		"epoch": makeBatch(t, 2, 4, 1, 0, nil),
		"cut":   makeBatch(t, 2, 5, 1, 0, nil)[:65],
	} {
		if err := w.log.Append([]batch.View{v}); !errors.Is(err, ErrInvalid) || w.log.End() != 2 {
			t.Errorf("%s: %v, end %d", name, err, w.log.End())
		}
	}
	if err := w.log.Truncate(1); !errors.Is(err, ErrInvalid) {
		t.Errorf("truncate inside a batch: %v", err)
	}
}

// False if it failed: "a reset log begins empty at the offset and with the history it was given, also after a restart".
func TestReset(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{SegmentBytes: 300})
	w.append(10, 100)
	w.flush()
	history := []segment.EpochStart{{Epoch: 1, Start: 0}, {Epoch: 4, Start: 60}}
	w.must(w.log.Reset(77, history))
	check := func() {
		t.Helper()
		if w.log.Start() != 77 || w.log.End() != 77 || w.log.DurableEnd() != 77 || !slices.Equal(w.log.Epochs(), history) || w.log.Size() != 0 {
			t.Fatalf("start %d end %d durable %d epochs %v size %d", w.log.Start(), w.log.End(), w.log.DurableEnd(), w.log.Epochs(), w.log.Size())
		}
	}
	check()
	w.restart(Config{})
	check()
	names, err := fsys.ReadDir(testDir)
	w.must(err)
	if !slices.Equal(names, []string{fileName(77, logSuffix), fileName(77, stateSuffix)}) {
		t.Fatalf("files: %v", names)
	}
}

// False if it failed: "a reset or a deletion that loses power at any operation is undone or finished, never half".
func TestPowerCutInReset(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{SegmentBytes: 300})
	old := w.append(10, 100)
	w.flush()
	w.flusher.Checkpoint()
	w.flush()
	begun := fsys.Ops()
	w.must(w.log.Reset(50, []segment.EpochStart{{Epoch: 1, Start: 0}}))
	end := fsys.Ops()
	for k := begun; k <= end; k++ {
		for _, cut := range cuts {
			r := &world{t: t, fs: fsys.CutAt(k, cut), now: testTime}
			w.must(r.start(Config{}, 0))
			undone := r.log.Start() == 0 && sameBatches(content(t, r.log, 1000), old)
			done := r.log.Start() == 50 && r.log.End() == 50 && len(r.log.Epochs()) == 1
			if r.found.Damage != nil || !undone && !done || k == end && !done {
				t.Fatalf("cut at %d of [%d, %d] %v: [%d, %d), %+v", k, begun, end, cut, r.log.Start(), r.log.End(), r.found)
			}
		}
	}
}

// False if it failed: "a deleted log is gone, its readers finish, leftovers are removed at start, and the partition may come again".
func TestDelete(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	want := w.append(1, 10)
	w.flush()
	run, err := w.log.Read(0, 1, 1000)
	w.must(err)
	begun := fsys.Ops()
	w.must(w.log.Delete())
	p := make([]byte, run.N)
	w.must(readFull(run.File, p, run.Pos))
	run.Release()
	if !bytes.Equal(p, want[0]) {
		t.Fatal("the run that was out differs")
	}
	if _, err := w.log.Read(0, 1, 1000); !errors.Is(err, ErrClosed) {
		t.Fatalf("read: %v", err)
	}
	for k := begun; k <= fsys.Ops(); k++ {
		for _, cut := range cuts {
			after := fsys.CutAt(k, cut)
			w.must(RemoveDeleted(after, testRoot))
			if _, err := after.Stat(testDir + deletedSuffix); err == nil {
				t.Fatalf("cut at %d %v: leftover stays", k, cut)
			}
			r := &world{t: t, fs: after, now: testTime}
			w.must(r.start(Config{}, 0))
			if r.found.Damage != nil || r.log.End() > 1 {
				t.Fatalf("cut at %d %v: %+v, end %d", k, cut, r.found, r.log.End())
			}
		}
	}
}

// False if it failed: "readers without locks see whole, right batches while the log grows, rolls, releases and is closed, and no file is closed under them".
func TestConcurrentReaders(t *testing.T) {
	w := newWorld(t, onDisk{root: t.TempDir()}, Config{SegmentBytes: 20_000})
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				start, end := w.log.Start(), w.log.End()
				if start == end {
					continue
				}
				from := start + kafka.Offset(rand.Int64N(int64(end-start)))
				run, err := w.log.Read(from, end, 5000)
				if errors.Is(err, ErrOutOfRange) && w.log.Start() > from || errors.Is(err, ErrClosed) {
					continue
				}
				if err != nil {
					t.Errorf("read at %d: %v", from, err)
					return
				}
				p := make([]byte, run.N)
				if err := readFull(run.File, p, run.Pos); err != nil {
					t.Errorf("run at %d: %v", from, err)
				}
				run.Release()
				if v, _, err := batch.Next(p); err != nil || v.CheckCRC() != nil || v.BaseOffset() > from || v.NextOffset() <= from {
					t.Errorf("run at %d: bad first batch: %v", from, err)
				}
			}
		})
	}
	for i := range 600 {
		w.append(1, 10+i%700)
		if i%50 == 0 {
			w.flush()
			_, err := w.log.ReleaseBefore(w.log.End() - 60)
			w.must(err)
		}
	}
	w.must(w.log.Close())
	stop.Store(true)
	readers.Wait()
}

func recoveryPath() string { return filepath.Join(testRoot, recoveryName) }
