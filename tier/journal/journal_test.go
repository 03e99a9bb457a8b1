package journal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	update = flag.Bool("update", false, "write the golden file anew")
	silent = slog.New(slog.NewTextHandler(io.Discard, nil))
	tiny   = Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 4000}
)

const dir = "/data"

func open(t testing.TB, fsys vfs.FS, cfg Config) *Journal {
	t.Helper()
	if err := errors.Join(fsys.MkdirAll(dir), fsys.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	j, err := Open(fsys, dir, cfg, silent)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func record(i int) Record {
	return Record{
		Partition: kafka.Partition{Topic: kafka.TopicID{byte(i), 7}, Index: int32(i % 3)}, Segment: kafka.Offset(i * 10), Pos: int64(i) * 100,
		Bytes: bytes.Repeat([]byte{byte(i)}, 20+i%50),
	}
}

func stage(t testing.TB, j *Journal, r Record) {
	t.Helper()
	half := len(r.Bytes) / 2
	if !Stage(j, r.Partition, r.Segment, r.Pos, [][]byte{r.Bytes[:half], r.Bytes[half:]}) {
		t.Fatalf("no room to stage %d bytes", len(r.Bytes))
	}
}

func replayed(t testing.TB, j *Journal) []Record {
	t.Helper()
	var all []Record
	if err := j.Replay(func(r Record) error {
		r.Bytes = bytes.Clone(r.Bytes)
		all = append(all, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func same(a, b []Record) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// False if it failed: "after a power cut at any operation a replay gives every record whose Write had returned and that nobody had retired, in order, and
// never one that was retired before the last Retire or Clean that had returned".
func TestPowerCutAtEveryOperation(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			fsys := vfs.NewCrash()
			rng := rand.New(rand.NewPCG(seed, 1))
			j := open(t, fsys, tiny)
			type moment struct{ ops, from, to int } // records [from, to) must be there, and no others
			var history []moment
			var all []Record
			from, durable, turnedAt := 0, 0, 0
			note := func() { history = append(history, moment{fsys.Ops(), from, durable}) }
			note()
			for range 40 {
				switch n := rng.IntN(10); {
				case n < 7:
					for range 1 + rng.IntN(6) {
						all = append(all, record(len(all)+1))
						stage(t, j, all[len(all)-1])
					}
					note()
					size, turned, err := j.Write()
					if err != nil {
						t.Fatal(err)
					}
					if turned {
						turnedAt = durable
					}
					if size < 0 { // no room: as the flusher does, all files are synced
						if err := j.Retire(); err != nil {
							t.Fatal(err)
						}
						from = len(all)
					}
					durable = len(all)
				case n < 8:
					if generation, ok := j.Full(); ok {
						if err := j.Clean(generation); err != nil {
							t.Fatal(err)
						}
						from = max(from, turnedAt)
					}
					if err := j.Grow(new(sync.Mutex), func() (int64, error) { return 1 << 40, nil }); err != nil {
						t.Fatal(err)
					}
				case n < 9:
					if err := j.Retire(); err != nil {
						t.Fatal(err)
					}
					from = len(all)
				default: // killed: what a replay gives is all that counts
					j = open(t, fsys, tiny)
					if got := replayed(t, j); !same(got, all[from:]) {
						t.Fatalf("replay after a kill: %v, want %v", got, all[from:])
					}
					if err := j.Retire(); err != nil {
						t.Fatal(err)
					}
					from = len(all)
				}
				note()
			}
			at := 0
			for k := history[0].ops; k <= fsys.Ops(); k++ {
				for at+1 < len(history) && history[at+1].ops <= k {
					at++
				}
				then, next := history[at], history[min(at+1, len(history)-1)]
				for _, cut := range []vfs.Cut{{}, {Data: vfs.Lose, Names: vfs.Lose}, {Data: vfs.Tear, Names: vfs.Tear, Seed: seed}, {Data: vfs.Shuffle, Names: vfs.Shuffle, Seed: seed}} {
					got := replayed(t, open(t, fsys.CutAt(k, cut), tiny))
					first, last := max(then.from, next.from), max(then.to, next.to)
					ok := false
					for f := then.from; f <= first && !ok; f++ {
						for l := max(f, then.to); l <= max(last, f) && !ok; l++ {
							ok = same(got, all[f:l])
						}
					}
					if !ok {
						t.Fatalf("cut before %d, %v: %d records, want [%d…%d, %d…%d)", k, cut, len(got), then.from, first, then.to, last)
					}
				}
			}
		})
	}
}

// False if it failed: "a journal whose durable frame was damaged is not replayed as if it were whole, and a torn end is no damage".
func TestDamage(t *testing.T) {
	fsys := vfs.NewCrash()
	j := open(t, fsys, Config{})
	for i := range 3 {
		stage(t, j, record(i+1))
		if n, _, err := j.Write(); n != block || err != nil {
			t.Fatal(n, err)
		}
	}
	spoil := func(frame int) {
		f, err := fsys.OpenRW(dir + "/journal.0")
		if err != nil {
			t.Fatal(err)
		}
		p := []byte{0}
		at := int64(firstFrame + frame*block + frameHeader + recordHeader)
		if _, err := f.ReadAt(p, at); err != nil {
			t.Fatal(err)
		}
		p[0] ^= 0xff
		if _, err := f.WriteAt(p, at); err != nil {
			t.Fatal(err)
		}
	}
	spoil(2)
	if got := replayed(t, open(t, fsys, Config{})); !same(got, []Record{record(1), record(2)}) {
		t.Fatalf("torn end: %v", got)
	}
	spoil(2)
	spoil(1)
	if _, err := Open(fsys, dir, Config{}, silent); !errors.Is(err, ErrDamaged) {
		t.Fatalf("damage in the middle: %v", err)
	}
}

// False if it failed: "a later release's journal is refused, and so is one without a good header".
func TestHeader(t *testing.T) {
	for _, c := range []struct {
		at   int64
		with []byte
		want error
	}{{8, []byte{0, 0, 0, 9}, ErrDamaged}, {0, []byte("GARBAGE!"), ErrDamaged}} {
		fsys := vfs.NewCrash()
		_ = open(t, fsys, Config{}).Close()
		f, err := fsys.OpenRW(dir + "/journal.1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(c.with, c.at); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(fsys, dir, Config{}, silent); !errors.Is(err, c.want) {
			t.Errorf("%v", err)
		}
	}
	page := header(make([]byte, block), 1)
	page[11] = version + 1
	fsys := vfs.NewCrash()
	_ = open(t, fsys, Config{}).Close()
	f, err := fsys.OpenRW(dir + "/journal.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(resum(page), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fsys, dir, Config{}, silent); !errors.Is(err, ErrNewer) {
		t.Errorf("later version: %v", err)
	}
}

// False if it failed: "a journal that cannot be opened counts as none only if nothing can be in it".
func TestUnopened(t *testing.T) {
	written := func() *vfs.Crash {
		fsys := vfs.NewCrash()
		j := open(t, fsys, Config{})
		stage(t, j, record(1))
		if _, _, err := j.Write(); err != nil {
			t.Fatal(err)
		}
		return fsys
	}
	full := func(fsys *vfs.Crash) vfs.FS {
		fsys.SetCapacity(1)
		return fsys
	}
	fails := func(fsys *vfs.Crash, kind vfs.Kind, err error) vfs.FS {
		faulty := vfs.NewFaulty(fsys)
		faulty.SetHook(func(op vfs.Op) error {
			if op.Kind == kind {
				return err
			}
			return nil
		})
		return faulty
	}
	without := func(fsys *vfs.Crash, half string) *vfs.Crash {
		if err := fsys.Remove(dir + "/" + half); err != nil {
			t.Fatal(err)
		}
		return fsys
	}
	empty := vfs.NewCrash()
	if err := empty.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		fsys vfs.FS
		none bool
	}{
		{"new, on a full disk", full(empty), true},
		{"void but for what a full disk does not give", full(without(written(), "journal.0")), true},
		{"its second half gone, on a full disk", full(without(written(), "journal.1")), false},
		{"unreadable", fails(written(), vfs.KindRead, syscall.EIO), false},
		{"too many open files", fails(written(), vfs.KindCreate, syscall.EMFILE), false},
		{"not to be looked for", fails(written(), vfs.KindStat, syscall.EIO), false},
	} {
		if _, err := Open(c.fsys, dir, Config{}, silent); err == nil || errors.Is(err, ErrNone) != c.none {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if there, err := Exists(without(written(), "journal.0"), dir); !there || err != nil {
		t.Errorf("half a journal: %v, %v", there, err)
	}
}

// False if it failed: "what is staged at once is bounded, and a large append does not crowd out the small".
func TestStageIsBounded(t *testing.T) {
	j := open(t, vfs.NewCrash(), tiny)
	p := kafka.Partition{}
	if Stage(j, p, 0, 0, [][]byte{make([]byte, 251)}) {
		t.Error("more than a sixteenth of a frame was taken")
	}
	n := 0
	for Stage(j, p, 0, 0, [][]byte{make([]byte, 250)}) {
		n++
	}
	if n != 14 { // as many as fit in a block
		t.Errorf("%d staged", n)
	}
	if size, _, err := j.Write(); size != block || err != nil {
		t.Error(size, err)
	}
	if !Stage(j, p, 0, 0, [][]byte{make([]byte, 250)}) {
		t.Error("no room after Write")
	}
	j.Drop()
	if size, _, err := j.Write(); size != 0 || err != nil {
		t.Error(size, err)
	}
}

// False if it failed: "the format is the one in docs/formats-local.md".
func TestGolden(t *testing.T) {
	fsys := vfs.NewCrash()
	j := open(t, fsys, tiny)
	for i := range 3 {
		stage(t, j, record(i+1))
	}
	if _, _, err := j.Write(); err != nil {
		t.Fatal(err)
	}
	stage(t, j, record(4))
	if _, _, err := j.Write(); err != nil {
		t.Fatal(err)
	}
	b, err := j.halves[0].read()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for at := 0; at < len(b); at += 32 {
		if line := b[at : at+32]; !bytes.Equal(line, make([]byte, 32)) {
			fmt.Fprintf(&got, "%05x %x\n", at, line)
		}
	}
	const name = "testdata/journal.golden"
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("the format has changed:\n%s", got.Bytes())
	}
}

// False if it failed: "whatever the file holds, opening it neither panics nor gives records that were not written".
func FuzzHalf(f *testing.F) {
	fsys := vfs.NewCrash()
	j := open(f, fsys, tiny)
	for i := range 3 {
		stage(f, j, record(i+1))
		if _, _, err := j.Write(); err != nil {
			f.Fatal(err)
		}
	}
	whole, err := j.halves[0].read()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:firstFrame+block+100])
	f.Fuzz(func(t *testing.T, b []byte) {
		generation := uint64(0)
		if len(b) >= firstFrame {
			generation, _ = parseHeader(b)
		}
		end, err := walk(b, generation, func(r Record) error {
			if len(r.Bytes) > len(b) {
				t.Fatal("more bytes than the file has")
			}
			return nil
		})
		if err == nil && (end < firstFrame || end > int64(roundUp(len(b))) && end > firstFrame) {
			t.Fatalf("frames end at %d of %d", end, len(b))
		}
	})
}
