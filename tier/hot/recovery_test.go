package hot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// written is a recovery file with its history, record by record; what a rewrite has brought lies nowhere in particular.
type written struct {
	bytes    []byte
	fresh    int64   // the file's size at the last rewrite
	ends     []int64 // of the records
	promised []int64 // what each says of the file
	by       []recoveryPoint
	dirs     []kafka.Partition
}

// writeRecovery makes a random file: logs that come and go, points that rise and fall, syncs now and then, and a rewrite or two.
func writeRecovery(t *testing.T, rng *rand.Rand, fsys vfs.FS) written {
	t.Helper()
	r, err := openRecovery(fsys, testRoot, silent)
	if err != nil {
		t.Fatal(err)
	}
	w := written{fresh: r.size}
	for i := range 6 {
		p := kafka.Partition{Topic: kafka.TopicID{byte(i)}, Index: int32(i)}
		w.dirs = append(w.dirs, p)
		if err := fsys.MkdirAll(filepath.Join(testRoot, p.Topic.String(), fmt.Sprint(p.Index))); err != nil {
			t.Fatal(err)
		}
	}
	live := map[kafka.Partition]recoveryPoint{}
	for range 1 + rng.IntN(40) {
		switch rng.IntN(12) {
		case 0:
			if err := r.rewrite(); err != nil {
				t.Fatal(err)
			}
			w.by, w.ends, w.promised, w.fresh = nil, nil, nil, r.size
			for _, p := range live {
				w.by, w.ends, w.promised = append(w.by, p), append(w.ends, -1), append(w.promised, 0)
			}
		case 1, 2:
			r.settled(r.written())
		default:
			p := samplePoint()
			p.partition = w.dirs[rng.IntN(len(w.dirs))]
			p.offset, p.gone = kafka.Offset(rng.IntN(1000)), rng.IntN(10) == 0
			w.promised = append(w.promised, int64(r.synced.Load()&(1<<placeBits-1)))
			if err := r.put(p); err != nil {
				t.Fatal(err)
			}
			live[p.partition] = p
			w.by, w.ends = append(w.by, p), append(w.ends, r.size)
		}
	}
	b, err := vfs.ReadFile(fsys, recoveryPath())
	if err != nil {
		t.Fatal(err)
	}
	w.bytes = b
	return w
}

// upTo is what records of the first n bytes say of a partition; ok is false when nothing, or that it is gone.
func (w *written) upTo(n int64, p kafka.Partition) (point recoveryPoint, ok bool) {
	for i, r := range w.by {
		if r.partition == p && w.ends[i] <= n {
			point, ok = r, !r.gone
		}
	}
	return point, ok
}

// durable is what a file whose bytes [from, to) are damaged still says of how much was durable. What is lost together with everything
// behind it nobody can tell from a torn end.
func (w *written) durable(from, to int64) int64 {
	most, begin := w.fresh, w.fresh
	for i, end := range w.ends {
		if end >= 0 {
			if end <= from || begin >= to {
				most = max(most, w.promised[i])
			}
			begin = end
		}
	}
	return most
}

// False if it failed: "wherever bits of the durable part of a recovery file are flipped, or that is cut, no partition gets a point that
// is not its last, and none that is there is taken for one that was never flushed; a torn end takes nothing but what stood in it".
func TestRecoveryFileDamaged(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 21))
		fsys := vfs.NewCrash()
		if err := fsys.MkdirAll(testRoot); err != nil {
			t.Fatal(err)
		}
		w := writeRecovery(t, rng, fsys)
		for range 20 {
			b := bytes.Clone(w.bytes)
			at, to := rng.Int64N(int64(len(b))), int64(len(b))
			how := rng.IntN(4)
			switch how {
			case 0:
				b = b[:at]
			case 1:
				clear(b[at:])
			case 2:
				to = min(to, at+1+rng.Int64N(200))
				for i := at; i < to; i++ {
					b[i] ^= byte(1 + rng.IntN(255))
				}
			default:
				to = at + 1
				b[at] ^= 1 << rng.IntN(8)
			}
			at = firstDifference(b, w.bytes)
			truncateFile(t, fsys, recoveryPath(), 0)
			overwrite(t, fsys, recoveryPath(), 0, b)
			for again := range 2 { // what was found stays found when the process ends before any log is opened
				r, err := openRecovery(fsys, testRoot, silent)
				if err != nil {
					if at >= 8 && at < 12 { // the version: a newer one
						break
					}
					t.Fatal(err)
				}
				w.compare(t, r, at, at >= w.durable(at, to), fmt.Sprintf("seed %d, kind %d at %d, opened %d", seed, how, at, again))
			}
		}
	}
}

func firstDifference(a, b []byte) int64 {
	for i := range a {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(len(a))
}

func (w *written) compare(t *testing.T, r *recoveryFile, at int64, torn bool, what string) {
	t.Helper()
	for _, p := range w.dirs {
		want, lives := w.upTo(int64(len(w.bytes)), p)
		if torn {
			want, lives = w.upTo(at, p)
		}
		got, ok, trusted := r.get(p)
		switch {
		case ok && (!lives || !reflect.DeepEqual(got, want)):
			t.Fatalf("%s: partition %d has %+v, want %+v %v", what, p.Index, got, want, lives)
		case !ok && trusted && lives:
			t.Fatalf("%s: partition %d is taken for one that was never flushed", what, p.Index)
		case torn && lives && !ok:
			t.Fatalf("%s: partition %d lost its point to a torn end behind it", what, p.Index)
		}
	}
}

// False if it failed: "a log whose recovery point is lost to a flipped bit keeps what it holds, though its first segments were released".
func TestPointLostToAFlippedBit(t *testing.T) {
	fsys := vfs.NewCrash()
	w := newWorld(t, fsys, Config{})
	w.append(4, 100)
	w.must(w.log.Roll())
	all := w.append(4, 100)
	w.flush()
	if _, err := w.log.ReleaseBefore(4); err != nil {
		t.Fatal(err)
	}
	w.flusher.Checkpoint()
	w.flush()
	w.must(w.log.Close())
	w.must(w.flusher.Close())
	b, err := vfs.ReadFile(fsys, recoveryPath())
	w.must(err)
	overwrite(t, fsys, recoveryPath(), recoveryHeader+50, []byte{b[recoveryHeader+50] ^ 4})
	w.restart(Config{})
	if w.found.Damage != nil || w.log.Start() != 4 || w.log.End() != 8 || !sameBatches(content(t, w.log, 1000), all) {
		t.Fatalf("[%d, %d), %+v", w.log.Start(), w.log.End(), w.found)
	}
	if want := int64(4 * len(all[0])); w.found.Scanned != want {
		t.Fatalf("%d bytes were scanned, want %d", w.found.Scanned, want)
	}
}

// False if it failed: "a checkpoint beside a release does not take the log's new start back, so that a power cut leaves no hole where some of
// the files had gone".
func TestCheckpointBesideARelease(t *testing.T) {
	crash := vfs.NewCrash()
	fsys := vfs.NewFaulty(crash)
	w := newWorld(t, fsys, Config{})
	w.must(crash.SyncDir("/"))
	for range 3 {
		w.append(4, 50)
		w.must(w.log.Roll())
		w.flush()
	}
	w.flusher.Checkpoint()
	w.append(2, 50)
	reached := w.log.pending.reached
	once := true
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.KindSyncVol && once { // the release's barrier; a round whose flush was just before it ends now
			once = false
			w.log.settle(reached)
			return w.flusher.recovery.checkpoint([]*Log{w.log})
		}
		return nil
	})
	if _, err := w.log.ReleaseBefore(12); err != nil {
		t.Fatal(err)
	}
	if once {
		t.Fatal("no barrier")
	}
	want := content(t, w.log, 1000)
	for seed := range uint64(40) {
		after := &world{t: t, fs: crash.CutNow(vfs.Cut{Data: vfs.Keep, Names: vfs.Shuffle, Seed: seed}), now: testTime}
		w.must(after.start(Config{}, 0))
		if got := content(t, after.log, 1000); after.found.Damage != nil || !sameBatches(got, want) {
			t.Fatalf("seed %d: %d batches from %d on, want %d; %v", seed, len(got), after.log.Start(), len(want), after.found.Damage)
		}
	}
}

// stateFails has the disk not give state files any more after so many reads of them.
func stateFails(fsys *vfs.Faulty, after int, err error) {
	fsys.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.KindRead && filepath.Ext(op.Path) == stateSuffix {
			if after--; after < 0 {
				return err
			}
		}
		return nil
	})
}

// False if it failed: "a state file that the disk does not give costs a look at headers: the log opens, and its segments can be judged and uploaded".
func TestUnreadableState(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewCrash())
	w := newWorld(t, fsys, Config{})
	for range 3 {
		w.append(4, 50)
		w.must(w.log.Roll())
	}
	w.flush()
	w.flusher.Checkpoint()
	want, epochs := w.log.Segments(), w.log.Epochs()
	stateFails(fsys, 0, syscall.EIO)
	w.restart(Config{})
	if w.found.Damage != nil || w.found.State != nil || !reflect.DeepEqual(w.log.Epochs(), epochs) {
		t.Errorf("%+v, epochs %v, want %v", w.found, w.log.Epochs(), epochs)
	}
	for i, s := range w.log.Segments() {
		if s.MaxTimestamp != want[i].MaxTimestamp || s.Size != want[i].Size {
			t.Errorf("segment %d: %+v, was %+v", s.Base, s, want[i])
		}
	}
	sealed, err := w.log.OpenSealed(0)
	w.must(err)
	w.must(sealed.Close())
}

// counted counts the files that are open.
type counted struct {
	vfs.FS
	open int
}

type countedFile struct {
	vfs.File
	of *counted
}

func (c *counted) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	c.open++
	return countedFile{f, c}, nil
}

func (c *counted) Open(name string) (vfs.File, error)   { return c.count(c.FS.Open(name)) }
func (c *counted) OpenRW(name string) (vfs.File, error) { return c.count(c.FS.OpenRW(name)) }
func (f countedFile) Close() error                      { f.of.open--; return f.File.Close() }

// False if it failed: "a log that cannot be opened leaves no file open, and can be opened later".
func TestFailedOpenLeavesNoFileOpen(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewCrash())
	fsys := &counted{FS: faulty}
	w := newWorld(t, fsys, Config{})
	w.append(4, 50)
	w.must(w.log.Roll())
	w.flush()
	w.must(w.log.Close())
	before := fsys.open
	stateFails(faulty, 1, ErrNewer) // the first read looks for epochs, the second for the snapshot
	if _, _, err := Open(w.env, testDir, testPartition, Config{}, 0, func(kafka.Offset) {}); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
	if fsys.open != before {
		t.Errorf("%d files are open, before %d", fsys.open, before)
	}
	faulty.SetHook(nil)
	if _, _, err := Open(w.env, testDir, testPartition, Config{}, 0, func(kafka.Offset) {}); err != nil {
		t.Fatal(err)
	}
}
