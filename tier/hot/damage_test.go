package hot

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// damagedWorld is a log of three segments, [0, 4), [4, 8) and [8, 10), flushed and with its recovery point at the end, that was then killed.
func damagedWorld(t *testing.T) (*world, *vfs.Crash, []batch.View) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	var all []batch.View
	for i := range 3 {
		all = append(all, w.append([]int{4, 4, 2}[i], 100)...)
		if i < 2 {
			w.must(w.log.Roll())
		}
	}
	w.flush()
	w.flusher.Checkpoint()
	w.flush()
	return w, fsys, all
}

func overwrite(t *testing.T, fsys vfs.FS, name string, at int64, p []byte) {
	t.Helper()
	f, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(p, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func truncateFile(t *testing.T, fsys vfs.FS, name string, size int64) {
	t.Helper()
	f, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// False if it failed: "damage below the recovery point is found when the log is opened or the place is read; the log then
// takes no appends until the damage is set aside, says which range is gone, and is well from then on".
func TestDamage(t *testing.T) {
	size := int64(len(makeBatch(t, 0, 1, 1, 0, make([]byte, 100))))
	tests := []struct {
		name     string
		harm     func(t *testing.T, fsys vfs.FS)
		atOpen   bool
		segment  kafka.Offset
		from, to kafka.Offset // gone after Quarantine
	}{
		{"header in the middle", func(t *testing.T, fsys vfs.FS) { overwrite(t, fsys, logPath(4), size+3, []byte{9}) }, false, 4, 0, 8},
		{"first segment cut short", func(t *testing.T, fsys vfs.FS) { truncateFile(t, fsys, logPath(0), 3*size+20) }, false, 0, 0, 4},
		{"missing in the middle", func(t *testing.T, fsys vfs.FS) { mustRemove(t, fsys, logPath(4)) }, true, 4, 0, 8},
		{"missing in the middle, with its state", func(t *testing.T, fsys vfs.FS) {
			mustRemove(t, fsys, logPath(4))
			mustRemove(t, fsys, strings.Replace(logPath(4), logSuffix, stateSuffix, 1))
		}, false, 0, 0, 8},
		{"newest cut below the recovery point", func(t *testing.T, fsys vfs.FS) { truncateFile(t, fsys, logPath(8), size+1) }, true, 8, 0, 10},
		{"newest missing", func(t *testing.T, fsys vfs.FS) { mustRemove(t, fsys, logPath(8)) }, true, 8, 0, 10},
		{"all missing", func(t *testing.T, fsys vfs.FS) {
			for _, base := range []kafka.Offset{0, 4, 8} {
				mustRemove(t, fsys, logPath(base))
			}
		}, true, 0, 10, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, fsys, all := damagedWorld(t)
			test.harm(t, fsys)
			w.restart(Config{})
			if (w.found.Damage != nil) != test.atOpen || test.atOpen && !errors.Is(w.found.Damage, ErrDamaged) {
				t.Fatalf("opened: %+v", w.found)
			}
			if w.log.End() != 10 {
				t.Fatalf("end %d: offsets would be given twice", w.log.End())
			}
			err := readAll(w.log)
			if !errors.Is(err, ErrDamaged) && test.from < test.to {
				t.Fatalf("read: %v", err)
			}
			next := makeBatch(t, 10, 1, 1, 0, []byte("next"))
			if err := w.log.Append([]batch.View{next}); !errors.Is(err, ErrDamaged) {
				t.Fatalf("append: %v", err)
			}
			w.flusher.Checkpoint() // must not hide it
			var damage *DamageError
			if !errors.As(w.log.Damage(), &damage) || damage.Segment != test.segment {
				t.Fatalf("damage: %v", w.log.Damage())
			}
			from, to, err := w.log.Quarantine(damage.Segment)
			w.must(err)
			if from != test.from || to != test.to {
				t.Fatalf("gone: [%d, %d), want [%d, %d)", from, to, test.from, test.to)
			}
			w.must(w.log.Append([]batch.View{next}))
			w.flush()
			want := append(slices.Clone(all[to:]), next)
			for range 2 {
				if !sameBatches(content(t, w.log, 1000), want) || w.log.Start() != to {
					t.Fatalf("start %d", w.log.Start())
				}
				w.restart(Config{})
				if w.found.Damage != nil {
					t.Fatalf("opened again: %+v", w.found)
				}
			}
		})
	}
}

func readAll(l *Log) error {
	for from := l.Start(); from < l.End(); from++ {
		run, err := l.Read(from, l.End(), 1)
		if err != nil {
			return err
		}
		run.Release()
	}
	return nil
}

func mustRemove(t *testing.T, fsys vfs.FS, name string) {
	t.Helper()
	if err := fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// False if it failed: "a log whose files are all missing says so at every start, and is whole again when they are put back".
func TestAllMissingAndPutBack(t *testing.T) {
	w, fsys, all := damagedWorld(t)
	bases := []kafka.Offset{0, 4, 8}
	for _, base := range bases {
		w.must(fsys.Rename(logPath(base), logPath(base)+".elsewhere"))
	}
	for i := range 3 {
		w.restart(Config{})
		if !errors.Is(w.found.Damage, ErrDamaged) || w.log.End() != 10 {
			t.Fatalf("start %d: end %d, %+v", i, w.log.End(), w.found)
		}
		w.flush()
		w.flusher.Checkpoint()
	}
	for _, base := range bases {
		w.must(fsys.Rename(logPath(base)+".elsewhere", logPath(base)))
	}
	for range 2 {
		w.restart(Config{})
		if w.found.Damage != nil || w.log.Start() != 0 || !sameBatches(content(t, w.log, 1000), all) {
			t.Fatalf("put back: [%d, %d), %+v", w.log.Start(), w.log.End(), w.found)
		}
	}
	next := makeBatch(t, 10, 1, 1, 0, []byte("next"))
	w.must(w.log.Append([]batch.View{next}))
	w.flush()
	w.restart(Config{})
	if !sameBatches(content(t, w.log, 1000), append(all, next)) {
		t.Fatalf("and goes on: [%d, %d), %+v", w.log.Start(), w.log.End(), w.found)
	}
}

// False if it failed: "local segments missing at the front are no damage: the log starts later".
func TestFrontMissing(t *testing.T) {
	w, fsys, all := damagedWorld(t)
	mustRemove(t, fsys, logPath(0))
	mustRemove(t, fsys, logPath(4))
	w.restart(Config{})
	if w.found.Damage != nil || w.log.Start() != 8 || !sameBatches(content(t, w.log, 1000), all[8:]) {
		t.Fatalf("start %d, %+v", w.log.Start(), w.found)
	}
}

// False if it failed: "without recovery points everything is scanned; a bad end is cut, a bad middle is damage".
func TestRecoveryFileLost(t *testing.T) {
	for _, test := range []struct {
		name    string
		segment kafka.Offset
		damage  bool
		end     kafka.Offset
	}{{"end", 8, false, 9}, {"middle", 4, true, 10}} {
		t.Run(test.name, func(t *testing.T) {
			w, fsys, _ := damagedWorld(t)
			overwrite(t, fsys, recoveryPath(), 3, []byte{0})
			size := int64(len(makeBatch(t, 0, 1, 1, 0, make([]byte, 100))))
			overwrite(t, fsys, logPath(test.segment), size+80, []byte{9}) // in the records: only the CRC tells
			w.restart(Config{})
			if (w.found.Damage != nil) != test.damage || w.log.End() != test.end {
				t.Fatalf("end %d, %+v", w.log.End(), w.found)
			}
		})
	}
}

// False if it failed: "after kill -9 only what was written since the last recovery point is scanned, and nothing after a clean stop".
func TestScanFromRecoveryPoint(t *testing.T) {
	w := newWorld(t, vfs.NewCrash(), Config{})
	w.append(50, 1000)
	w.flush()
	w.flusher.Checkpoint()
	tail := w.append(2, 1000)
	w.flush()
	w.restart(Config{})
	if want := int64(2 * len(tail[0])); w.found.Scanned != want || w.found.Clean || w.log.End() != 52 {
		t.Fatalf("scanned %d, want %d: %+v", w.found.Scanned, want, w.found)
	}
	w.must(w.log.Close())
	w.must(w.flusher.Close())
	w.restart(Config{})
	if w.found.Scanned != 0 || !w.found.Clean || w.log.DurableEnd() != 52 {
		t.Fatalf("after a clean stop: %+v", w.found)
	}
	if s := w.log.Segments()[0]; s.MaxTimestamp != 51 || !s.Created.Equal(testTime) {
		t.Fatalf("facts lost: %+v", s)
	}
}
