package hot

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var (
	testPartition = kafka.Partition{Topic: kafka.TopicID{1, 2, 3}, Index: 7}
	testTime      = time.Unix(1_700_000_000, 0)
	silent        = slog.New(slog.NewTextHandler(io.Discard, nil))
)

const testRoot = "/data"

var testDir = filepath.Join(testRoot, testPartition.Topic.String(), "7")

// makeBatch is a whole batch of `records` records at base; fill makes it unique and as long as is wanted.
func makeBatch(t testing.TB, base kafka.Offset, epoch kafka.LeaderEpoch, records int, timestamp int64, fill []byte) batch.View {
	t.Helper()
	var b batch.Builder
	for i := range records {
		b.Add(timestamp+int64(i), nil, fill)
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	v.Stamp(base, epoch)
	return v
}

// snapshots is a State whose blob is the end it was taken at.
type snapshots struct{ log *Log }

func (s snapshots) Snapshot() []byte { return []byte(strconv.FormatInt(int64(s.log.End()), 10)) }

// tinyJournal has room for two frames in each half, so that tests see all of its life.
var tinyJournal = journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}

// world is a file system with a flusher, and one log on it.
type world struct {
	t        testing.TB
	fs       vfs.FS
	flusher  *Flusher
	env      Env
	log      *Log
	found    Recovered
	durable  kafka.Offset // the last that onDurable said
	calls    int
	fatal    error
	now      time.Time
	onGrowth func(kafka.Offset)
}

func newWorld(t testing.TB, fsys vfs.FS, cfg Config) *world {
	t.Helper()
	w := &world{t: t, fs: fsys, now: testTime}
	if err := fsys.MkdirAll(testRoot); err != nil {
		t.Fatal(err)
	}
	if err := w.start(cfg, 0); err != nil {
		t.Fatal(err)
	}
	return w
}

// start opens flusher and log, as a broker that comes up.
func (w *world) start(cfg Config, start kafka.Offset) error {
	var err error
	w.flusher, err = NewFlusher(w.fs, testRoot, tinyJournal, func() time.Time { return w.now }, silent, func(err error) { w.fatal = err })
	if err != nil {
		return fmt.Errorf("flusher: %w", err)
	}
	w.env = Env{FS: w.fs, Flusher: w.flusher, Clock: func() time.Time { return w.now }, Log: silent}
	w.log, w.found, err = Open(w.env, testDir, testPartition, cfg, start, func(o kafka.Offset) {
		w.durable = o
		w.calls++
		if w.onGrowth != nil {
			w.onGrowth(o)
		}
	})
	if err != nil {
		return err
	}
	w.log.SetState(snapshots{w.log})
	return nil
}

// restart opens everything again without closing it first: the process was killed.
func (w *world) restart(cfg Config) {
	w.t.Helper()
	if err := w.start(cfg, 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// append writes n batches of one record each.
func (w *world) append(n, size int) []batch.View {
	w.t.Helper()
	var all []batch.View
	for range n {
		v := makeBatch(w.t, w.log.End(), 1, 1, int64(w.log.End()), bytes.Repeat([]byte{'x'}, size))
		w.must(w.log.Append([]batch.View{v}))
		all = append(all, v)
	}
	return all
}

func (w *world) flush() {
	w.t.Helper()
	w.must(w.flusher.Flush())
}

// content reads the whole log through Read, in runs of at most max bytes, and cuts it into batches.
func content(t testing.TB, l *Log, max int) []batch.View {
	t.Helper()
	var all []batch.View
	for from := l.Start(); from < l.End(); {
		run, err := l.Read(from, l.End(), max)
		if err != nil {
			t.Fatalf("read at %d of [%d, %d): %v", from, l.Start(), l.End(), err)
		}
		p := make([]byte, run.N)
		if err := readFull(run.File, p, run.Pos); err != nil {
			t.Fatalf("read run at %d: %v", from, err)
		}
		run.Release()
		got := 0
		for len(p) > 0 {
			v, rest, err := batch.Next(p)
			if err != nil {
				break // the cut end
			}
			if v.BaseOffset() > from || v.NextOffset() <= from {
				t.Fatalf("run at %d holds [%d, %d)", from, v.BaseOffset(), v.NextOffset())
			}
			all, from, p, got = append(all, v), v.NextOffset(), rest, got+1
		}
		if got == 0 {
			t.Fatalf("run at %d holds no whole batch", from)
		}
	}
	return all
}

func sameBatches(a, b []batch.View) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func epochsOfBatches(batches []batch.View) []segment.EpochStart {
	var h []segment.EpochStart
	for _, v := range batches {
		h = withEpoch(h, v.LeaderEpoch(), v.BaseOffset())
	}
	return h
}

func randomFill(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func logPath(base kafka.Offset) string { return filepath.Join(testDir, fileName(base, logSuffix)) }

// onDisk is the operating system's file system with its root elsewhere, so that tests name files alike on it and on Crash.
type onDisk struct {
	vfs.OS
	root string
}

func (d onDisk) at(name string) string { return filepath.Join(d.root, name) }

func (d onDisk) Open(name string) (vfs.File, error)    { return d.OS.Open(d.at(name)) }
func (d onDisk) OpenRW(name string) (vfs.File, error)  { return d.OS.OpenRW(d.at(name)) }
func (d onDisk) Remove(name string) error              { return d.OS.Remove(d.at(name)) }
func (d onDisk) RemoveAll(name string) error           { return d.OS.RemoveAll(d.at(name)) }
func (d onDisk) Rename(from, to string) error          { return d.OS.Rename(d.at(from), d.at(to)) }
func (d onDisk) MkdirAll(name string) error            { return d.OS.MkdirAll(d.at(name)) }
func (d onDisk) ReadDir(name string) ([]string, error) { return d.OS.ReadDir(d.at(name)) }
func (d onDisk) Stat(name string) (fs.FileInfo, error) { return d.OS.Stat(d.at(name)) }
func (d onDisk) SyncDir(name string) error             { return d.OS.SyncDir(d.at(name)) }
func (d onDisk) Lock(name string) (io.Closer, error)   { return d.OS.Lock(d.at(name)) }
func (d onDisk) OpenDurable(name string) (vfs.File, error) {
	return vfs.OpenDurable(d.OS, d.at(name))
}
func (d onDisk) OpenUncached(name string) (vfs.File, error) {
	return vfs.OpenUncached(d.OS, d.at(name))
}
func (d onDisk) OpenVolume(dir string) (vfs.Volume, error) {
	v, err := d.OS.OpenVolume(d.at(dir))
	return diskVolume{v, d.root}, err
}

type diskVolume struct {
	vfs.Volume
	root string
}

func (v diskVolume) Covers(dir string) (bool, error) {
	return v.Volume.Covers(filepath.Join(v.root, dir))
}
