package hot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// notGiven has the disk not give what op says of the test log's segments.
func notGiven(kinds ...vfs.Kind) func(vfs.Op) error {
	return func(op vfs.Op) error {
		if slices.Contains(kinds, op.Kind) && filepath.Dir(op.Path) == testDir && strings.HasSuffix(op.Path, logSuffix) {
			return syscall.EIO
		}
		return nil
	}
}

var besides = kafka.Partition{Topic: testPartition.Topic, Index: 8}

// owingWorld is a disk after a power cut: two logs, of which the journal alone has the end. It returns what they held.
func owingWorld(t *testing.T) (disk *vfs.Crash, want []batch.View, beside kafka.Offset) {
	t.Helper()
	crash := vfs.NewCrash()
	w := newWorld(t, crash, Config{})
	w.must(crash.SyncDir("/"))
	other, _, err := Open(w.env, Dir(testRoot, besides), besides, Config{}, 0, func(kafka.Offset) {})
	w.must(err)
	w.append(1, 10)
	w.must(other.Append([]batch.View{makeBatch(t, 0, 1, 1, 1, []byte("first"))}))
	w.flush() // with the files' names
	want = content(t, w.log, 1000)
	for range 2 {
		want = append(want, w.append(2, 10)...)
		w.must(other.Append([]batch.View{makeBatch(t, other.End(), 1, 1, 1, []byte("more"))}))
		w.flush()
	}
	return crash.CutNow(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose}), want, other.End()
}

// owes is that disk, behind one that gives no segment of the test log, after a start that has kept what the journal held. It returns what is owed, too.
func owes(t *testing.T) (disk *vfs.Crash, fsys *vfs.Faulty, w *world, want []batch.View) {
	t.Helper()
	disk, want, _ = owingWorld(t)
	fsys = vfs.NewFaulty(disk)
	fsys.SetHook(notGiven(vfs.KindRead, vfs.KindWrite))
	w = &world{t: t, fs: fsys, now: testTime}
	if err := w.start(Config{}, 0); !errors.Is(err, ErrUnreadable) {
		t.Fatal(err)
	}
	return disk, fsys, w, want
}

// False if it failed: "a segment that the disk does not give keeps its own log from opening and no other, and what the journal held of it is
// there when the disk gives it again, also after a clean start in between".
func TestUnreadableSegmentOwesTheJournal(t *testing.T) {
	for _, kinds := range [][]vfs.Kind{{vfs.KindRead}, {vfs.KindWrite}, {vfs.KindRead, vfs.KindWrite}, {vfs.KindCreate}} {
		disk, want, beside := owingWorld(t)
		fsys := vfs.NewFaulty(disk)
		fsys.SetHook(notGiven(kinds...))
		w := &world{t: t, fs: fsys, now: testTime}
		for range 2 { // the second finds a void journal
			if err := w.start(Config{}, 0); !errors.Is(err, ErrUnreadable) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%v: %v", kinds, err)
			}
			other, found, err := Open(w.env, Dir(testRoot, besides), besides, Config{}, 0, func(kafka.Offset) {})
			w.must(err)
			if other.End() != beside || found.Damage != nil {
				t.Fatalf("%v: the other log ends at %d of %d, %+v", kinds, other.End(), beside, found)
			}
			w.must(errors.Join(other.Close(), w.flusher.Close()))
		}
		fsys.SetHook(nil)
		w.must(w.start(Config{}, 0))
		if got := content(t, w.log, 1000); !sameBatches(got, want) || w.found.Damage != nil {
			t.Fatalf("%v: %d batches of %d, %+v", kinds, len(got), len(want), w.found)
		}
	}
}

// False if it failed: "whenever the power is cut while what is owed is kept, or written into the segments, nothing of it is lost, and
// none of it comes back over what was appended later".
func TestOwedSurvivesCuts(t *testing.T) {
	disk, fsys, w, want := owes(t)
	w.must(w.flusher.Close())
	fsys.SetHook(nil)
	w.must(w.start(Config{}, 0))
	w.must(w.log.Truncate(kafka.Offset(len(want) - 2)))
	want = append(want[:len(want)-2], w.append(3, 30)...)
	w.flush()
	last := len(want)
	for k := range disk.Ops() + 1 {
		for _, cut := range cuts {
			after := &world{t: t, fs: disk.CutAt(k, cut), now: testTime}
			w.must(after.start(Config{}, 0))
			got := content(t, after.log, 1000)
			if after.found.Damage != nil || len(got) < last-3 || !sameBatches(got[:last-3], want[:last-3]) {
				t.Fatalf("cut after %d operations, %v: %d batches, %+v", k, cut, len(got), after.found)
			}
			if k == disk.Ops() && !sameBatches(got, want) {
				t.Fatalf("%v: at the end %d batches of %d", cut, len(got), len(want))
			}
		}
	}
}

// False if it failed: "a damaged file of what is owed is not taken for a whole one, at whatever byte".
func TestDamagedOwed(t *testing.T) {
	disk, fsys, w, _ := owes(t)
	fsys.SetHook(nil)
	path := filepath.Join(testDir, owedName)
	b, err := vfs.ReadFile(disk, path)
	w.must(err)
	f, err := disk.OpenRW(path)
	w.must(err)
	put := func(c byte, at int) {
		_, err := f.WriteAt([]byte{c}, int64(at))
		w.must(err)
	}
	open := func() error {
		_, _, err := Open(w.env, testDir, testPartition, Config{}, 0, func(kafka.Offset) {})
		return err
	}
	for i, c := range b {
		put(c^1, i)
		if err := open(); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("byte %d of %d: %v", i, len(b), err)
		}
		put(c, i)
	}
	w.must(open())
}

// False if it failed: "a log that was set aside begins anew, keeps its files for a person, and no power cut on the way leaves what does not open".
func TestSetAside(t *testing.T) {
	disk, fsys, w, _ := owes(t)
	begin := disk.Ops()
	w.must(SetAside(w.env, testDir, testPartition))
	fsys.SetHook(nil)
	log, found, err := Open(w.env, testDir, testPartition, Config{}, 30, func(kafka.Offset) {})
	w.must(err)
	if log.Start() != 30 || log.End() != 30 || found.Damage != nil {
		t.Fatalf("[%d, %d), %+v", log.Start(), log.End(), found)
	}
	for _, name := range []string{fileName(0, logSuffix), owedName} {
		if _, err := fsys.Stat(filepath.Join(testDir, quarantineDir, name)); err != nil {
			t.Error(err)
		}
		if _, err := fsys.Stat(filepath.Join(testDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	for k := begin; k <= disk.Ops(); k++ {
		for _, cut := range cuts {
			after := &world{t: t, fs: disk.CutAt(k, cut), now: testTime}
			if err := after.start(Config{}, 30); err != nil || after.found.Damage != nil {
				t.Fatalf("cut after %d operations, %v: %v, %+v", k, cut, err, after.found)
			}
		}
	}
}

// False if it failed: "whatever the bytes of a file of what is owed, they are records that were written there, or refused".
func FuzzOwedRecord(f *testing.F) {
	disk := vfs.NewCrash()
	file, err := disk.OpenRW("/owed")
	if err != nil {
		f.Fatal(err)
	}
	o := owing{file: file}
	for _, rec := range []journal.Record{{Segment: 1 << 40, Pos: 7, Bytes: []byte("abc")}, {}} {
		if err := o.add(rec); err != nil {
			f.Fatal(err)
		}
	}
	b, err := vfs.ReadFile(disk, "/owed")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			rec, rest, err := owedRecord(b)
			if err != nil {
				if !errors.Is(err, errBadBatch) {
					t.Fatal(err)
				}
				return
			}
			if len(rest)+owedFixed+len(rec.Bytes) != len(b) {
				t.Fatalf("%d bytes left of %d after a record of %d", len(rest), len(b), len(rec.Bytes))
			}
			b = rest
		}
	})
}
