package hot

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// False if it failed: "small appends are made durable without a flush of the volume, and are there after a power cut that left nothing else".
func TestJournalStandsInForAFlush(t *testing.T) {
	crash := vfs.NewCrash()
	fsys := vfs.NewFaulty(crash)
	w := newWorld(t, fsys, Config{})
	if err := crash.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	w.append(1, 10)
	w.flush() // with the file's name
	before := fsys.Count(vfs.KindSyncVol)
	want := content(t, w.log, 1000)
	for range 4 { // as many as the tiny journal holds
		want = append(want, w.append(3, 10)...)
		w.flush()
	}
	if n := fsys.Count(vfs.KindSyncVol) - before; n != 0 {
		t.Errorf("the volume was flushed %d times", n)
	}
	after := &world{t: t, fs: crash.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose}), now: testTime}
	w.must(after.start(Config{}, 0))
	if got := content(t, after.log, 1000); !sameBatches(got, want) || after.found.Damage != nil {
		t.Fatalf("%d batches of %d, %+v", len(got), len(want), after.found)
	}
}

// False if it failed: "what a truncation took back does not come back from the journal, whatever is appended in its place".
func TestTruncatedDoesNotComeBack(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.must(crash.SyncDir("/"))
	w.append(1, 10)
	w.flush()
	w.append(4, 50)
	w.flush()
	w.must(w.log.Truncate(2))
	bare := &world{t: t, fs: crash.CutNow(vfs.Cut{}), now: testTime}
	w.must(bare.start(Config{}, 0))
	if bare.log.End() != 2 {
		t.Fatalf("cut to 2, after a kill the log ends at %d", bare.log.End())
	}
	v := makeBatch(t, 2, 9, 1, 5, bytes.Repeat([]byte{'y'}, 70))
	w.must(w.log.Append([]batch.View{v}))
	w.flush()
	want := content(t, w.log, 1000)
	for _, cut := range cuts {
		after := &world{t: t, fs: crash.CutNow(cut), now: testTime}
		w.must(after.start(Config{}, 0))
		if got := content(t, after.log, 1000); !sameBatches(got, want) {
			t.Fatalf("%v: %d batches up to %d, want %d", cut, len(got), after.log.End(), len(want))
		}
	}
}

// False if it failed: "a log that is closed, opened again in the same process and cut then is not restored by the journal".
func TestReopenedLogIsNotRestored(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.must(crash.SyncDir("/"))
	w.append(1, 10)
	w.flush()
	w.append(3, 50)
	w.flush()
	w.must(w.log.Delete())
	log, _, err := Open(w.env, testDir, testPartition, Config{}, 0, func(kafka.Offset) {})
	w.must(err)
	w.log = log
	w.append(1, 5)
	w.flush()
	want := content(t, w.log, 1000)
	after := &world{t: t, fs: crash.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose}), now: testTime}
	w.must(after.start(Config{}, 0))
	if got := content(t, after.log, 1000); !sameBatches(got, want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
}

// False if it failed: "a damaged journal stops the start, with a remedy, and nothing is touched".
func TestDamagedJournalStopsTheStart(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.append(1, 10)
	w.flush()
	for range 2 {
		w.append(1, 10)
		w.flush()
	}
	f, err := crash.OpenRW(testRoot + "/journal.0")
	w.must(err)
	_, err = f.WriteAt([]byte{1, 2, 3}, 2*vfs.Alignment+100)
	w.must(err)
	if err := w.start(Config{}, 0); !errors.Is(err, journal.ErrDamaged) {
		t.Fatal(err)
	}
	w.must(crash.Rename(testRoot+"/journal.0", testRoot+"/aside"))
	w.restart(Config{})
}

// False if it failed: "a journal that cannot be read stops the start: what was acknowledged is in it alone, and is there when it can be read again".
func TestUnreadableJournalStopsTheStart(t *testing.T) {
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.must(crash.SyncDir("/"))
	w.append(1, 10)
	w.flush()
	w.append(3, 10)
	w.flush()
	want := content(t, w.log, 1000)
	cut := crash.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose})
	fsys := vfs.NewFaulty(cut)
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.KindRead && op.Path == testRoot+"/journal.0" {
			return syscall.EIO
		}
		return nil
	})
	after := &world{t: t, fs: fsys, now: testTime}
	if err := after.start(Config{}, 0); !errors.Is(err, syscall.EIO) {
		t.Fatalf("started without it: %v", err)
	}
	fsys.SetHook(nil)
	w.must(after.start(Config{}, 0))
	if got := content(t, after.log, 1000); !sameBatches(got, want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
}

// False if it failed: "what could not be written is not taken for durable by the next process, though the page cache still has
// it; and what the journal has is written again, though it seems to be there".
func TestFailedWriteBackIsNotBelieved(t *testing.T) {
	for what, flushed := range map[string]bool{"journaled": true, "never flushed": false} {
		t.Run(what, func(t *testing.T) {
			crash := vfs.NewCrash()
			w := newWorld(t, crash, Config{})
			w.must(crash.SyncDir("/"))
			w.append(1, 10)
			w.flush()
			want := content(t, w.log, 1000)
			batches := w.append(3, 10)
			if flushed {
				w.flush() // to the journal alone
				want = append(want, batches...)
			}
			crash.FailWriteBack()
			next := &world{t: t, fs: crash, now: testTime}
			w.must(next.start(Config{}, 0))
			if got := content(t, next.log, 1000); !sameBatches(got, want) {
				t.Errorf("the next process finds %d batches of %d", len(got), len(want))
			}
			want = append(want, next.append(2, 10)...)
			next.flush()
			after := &world{t: t, fs: crash.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose}), now: testTime}
			w.must(after.start(Config{}, 0))
			if got := content(t, after.log, 1000); !sameBatches(got, want) || after.found.Damage != nil {
				t.Errorf("after a power cut: %d batches of %d, %+v", len(got), len(want), after.found)
			}
		})
	}
}
