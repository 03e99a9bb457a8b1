package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// world is one log with everything below it, on a real directory and a bucket in memory. It lives in a synctest bubble:
// synctest.Wait returns when the flusher and the archive have nothing left to do.
type world struct {
	t      *testing.T
	dir    string
	bucket object.Bucket
	spec   Spec

	stop    context.CancelFunc
	running sync.WaitGroup
	flusher *hot.Flusher
	reader  *cold.Reader
	archive *archive.Archive
	log     *Log

	mu       sync.Mutex // guards what the quorum would decide
	manifest manifest.Manifest
	start    kafka.Offset
}

func newWorld(t *testing.T, segmentBytes int64, policy archive.Policy) *world {
	w := &world{t: t, dir: t.TempDir(), bucket: object.NewMem(time.Now)}
	w.spec = Spec{
		Partition: kafka.Partition{Topic: kafka.TopicID{1}}, Topic: "t", Dir: hot.Dir(w.dir, kafka.Partition{Topic: kafka.TopicID{1}}),
		Hot: hot.Config{SegmentBytes: segmentBytes}, Policy: policy,
	}
	w.open()
	return w
}

func (w *world) open() Recovered {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	quiet := slog.New(slog.DiscardHandler)
	var err error
	w.flusher, err = hot.NewFlusher(vfs.OS{}, w.dir, journal.Config{}, time.Now, quiet, func(err error) { panic(err) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.reader = cold.NewReader(w.bucket, "c", cold.Config{}, quiet)
	w.archive = archive.New(w.bucket, w, nil, archive.Config{Cluster: "c"}, time.Now, quiet)
	for _, run := range []func(context.Context) error{w.flusher.Run, w.reader.Run, w.archive.Run} {
		w.running.Go(func() { _ = run(ctx) })
	}
	w.spec.Manifest, w.spec.Start = w.manifest, w.start
	var rec Recovered
	w.log, rec, err = Open(ctx, Env{
		Hot:  hot.Env{FS: vfs.OS{}, Flusher: w.flusher, Clock: time.Now, Log: quiet},
		Cold: w.reader, Log: quiet,
	}, w.spec, func(end kafka.Offset) { w.log.SetStable(end) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.log.SetStable(w.log.DurableEnd())
	w.log.SetEpoch(0)
	w.archive.Add(w.log)
	synctest.Wait()
	return rec
}

func (w *world) close() {
	w.archive.Remove(w.spec.Partition)
	if err := w.log.Close(); err != nil {
		w.t.Error(err)
	}
	w.stop()
	w.running.Wait()
	if err := w.flusher.Close(); err != nil {
		w.t.Error(err)
	}
}

// CommitSegment and TrimSegments stand in for the quorum.
func (w *world) CommitSegment(_ context.Context, _ kafka.Partition, e manifest.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := w.manifest.Append(e, 0)
	if err != nil {
		return err
	}
	w.manifest = m
	w.log.Publish(m, w.start)
	return nil
}

func (w *world) TrimSegments(_ context.Context, _ kafka.Partition, _ kafka.LeaderEpoch, start kafka.Offset) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start = max(w.start, start)
	w.manifest, _ = w.manifest.TrimBefore(w.start)
	w.log.Publish(w.manifest, w.start)
	return nil
}

// write appends random batches and returns all of their bytes and where each begins.
func (w *world) write(rng *rand.Rand, n int) (all []byte, bases []kafka.Offset) {
	w.t.Helper()
	for range n {
		var b batch.Builder
		for range 1 + rng.IntN(4) {
			b.Add(1000*int64(w.log.End())+int64(rng.IntN(999)), nil, make([]byte, rng.IntN(300)))
		}
		v, err := b.Build()
		if err != nil {
			w.t.Fatal(err)
		}
		v.Stamp(w.log.End(), 0)
		bases = append(bases, w.log.End())
		if err := w.log.Append([]batch.View{v}); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, v...)
		synctest.Wait()
	}
	w.archive.Poke(w.spec.Partition)
	synctest.Wait()
	return all, bases
}

// read returns the bytes from offset to the end, waiting for the bucket when it must, and how many runs came from it.
func (w *world) read(from kafka.Offset, max int) (all []byte, remote int) {
	w.t.Helper()
	return w.readTo(from, w.log.End(), max)
}

func (w *world) readTo(from, limit kafka.Offset, max int) (all []byte, remote int) {
	w.t.Helper()
	for from < limit {
		ready := make(chan struct{})
		run, cold, err := w.log.Read(Read{From: from, Limit: limit, Max: max, Stream: w, Ready: func() { close(ready) }})
		if errors.Is(err, ErrLoading) {
			<-ready
			continue
		}
		if err != nil {
			w.t.Fatalf("read at %d: %v", from, err)
		}
		if cold {
			remote++
		}
		p := make([]byte, run.Len())
		if run.File == nil {
			copy(p, run.Bytes)
		} else if _, err := run.File.ReadAt(p, run.Pos); err != nil {
			w.t.Fatal(err)
		}
		run.Release()
		for rest := p; len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break // the last batch may be cut short
			}
			if v.BaseOffset() > from {
				w.t.Fatalf("read at %d begins at %d", from, v.BaseOffset())
			}
			if v.NextOffset() > from {
				all, from = append(all, v...), v.NextOffset()
			}
			rest = next
		}
	}
	return all, remote
}

var forever = archive.Retention{Age: -1, Bytes: -1}

// The same workload would read differently with tiering off, on, and with tiny segments of which hardly any stay local.
func TestTiersReadAlike(t *testing.T) {
	for name, c := range map[string]struct {
		segment int64
		policy  archive.Policy
		cold    bool
	}{
		"off":              {2 << 10, archive.Policy{Retention: forever, LocalRetention: forever}, false},
		"on, all local":    {2 << 10, archive.Policy{Remote: true, Retention: forever, LocalRetention: forever}, false},
		"on, little local": {4 << 10, archive.Policy{Remote: true, Retention: forever, LocalRetention: archive.Retention{Age: -1, Bytes: 4 << 10}}, true},
		"tiny segments":    {1, archive.Policy{Remote: true, Retention: forever, LocalRetention: archive.Retention{Age: -1, Bytes: 0}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.segment, c.policy)
				defer w.close()
				rng := rand.New(rand.NewPCG(1, 2))
				all, bases := w.write(rng, 60)
				got, remote := w.read(0, 1000)
				if !bytes.Equal(got, all) {
					t.Fatalf("read %d bytes, wrote %d, and they differ", len(got), len(all))
				}
				if (remote > 0) != c.cold {
					t.Errorf("%d runs came from the bucket", remote)
				}
				at := 0
				for i, base := range bases {
					if got, _ := w.read(base, 1+rng.IntN(2000)); !bytes.Equal(got, all[at:]) {
						t.Fatalf("read from batch %d (offset %d) differs", i, base)
					}
					v, _, err := batch.Next(all[at:])
					if err != nil {
						t.Fatal(err)
					}
					at += len(v)
				}
				w.checkTimes(all)
			})
		})
	}
}

// checkTimes compares lookups by time with a walk over all records.
func (w *world) checkTimes(all []byte) {
	w.t.Helper()
	type record struct {
		offset kafka.Offset
		at     int64
	}
	var records []record
	for rest := all; len(rest) > 0; {
		v, next, err := batch.Next(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		it := batch.Records(v)
		for r := range it.All {
			records = append(records, record{r.Offset, r.Timestamp})
		}
		rest = next
	}
	for ts := int64(-500); ts < 1000*int64(len(records)+2); ts += 777 {
		want := record{-1, -1}
		for _, r := range records {
			if r.at >= ts {
				want = r
				break
			}
		}
		found, ok, err := w.log.FindTime(w.t.Context(), ts, w.log.End())
		if err != nil {
			w.t.Fatal(err)
		}
		if got := (record{found.Offset, found.Timestamp}); ok != (want.offset >= 0) || ok && got != want {
			w.t.Fatalf("first record at or after %d: %v %v, want %v", ts, got, ok, want)
		}
	}
}

// A closed local segment that the disk has damaged would be served, or would take down the partition, though the bucket holds it.
func TestDamagedLocalSegmentIsReplacedByTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<10, archive.Policy{Remote: true, Retention: forever, LocalRetention: forever})
		rng := rand.New(rand.NewPCG(3, 4))
		all, _ := w.write(rng, 40)
		segments := w.log.Local().Segments()
		w.close()
		victim := filepath.Join(w.spec.Dir, fmt.Sprintf("%020d.log", segments[2].Base))
		if err := os.Remove(victim); err != nil {
			t.Fatal(err)
		}
		w.open()
		defer w.close()
		got, remote := w.read(0, 1000)
		if !bytes.Equal(got, all) || remote == 0 {
			t.Errorf("read %d of %d bytes, %d runs from the bucket", len(got), len(all), remote)
		}
		w.write(rng, 1)
	})
}

// A local directory that is lost whole would begin again at offset 0, and give offsets a second time.
func TestLostDirectoryBeginsBehindTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<10, archive.Policy{Remote: true, Retention: forever, LocalRetention: forever})
		all, _ := w.write(rand.New(rand.NewPCG(5, 6)), 40)
		tiered, end := w.manifest.End(), w.log.End()
		w.close()
		if err := os.RemoveAll(w.spec.Dir); err != nil {
			t.Fatal(err)
		}
		w.open()
		defer w.close()
		// What was only local is lost; the volume's recovery points still say up to where offsets were given.
		if w.log.End() != end {
			t.Fatalf("the log ends at %d, it ended at %d", w.log.End(), end)
		}
		if got, _ := w.readTo(0, tiered, 1000); len(got) == 0 || !bytes.Equal(got, all[:len(got)]) {
			t.Errorf("read %d bytes of what the bucket holds, and they differ", len(got))
		}
		if epoch, at, ok := w.log.EpochEnd(0); !ok || epoch != 0 || at != end {
			t.Errorf("epoch 0 ends at %d (%v %v), want %d", at, epoch, ok, end)
		}
	})
}

// A partition whose newest records are damaged would never take records again; or a person's word would be taken without its having been given, or
// for a loss that was not there yet, or an offset be given twice.
func TestLossIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<10, archive.Policy{Retention: forever, LocalRetention: forever})
		rng := rand.New(rand.NewPCG(9, 10))
		w.write(rng, 40)
		end, segments := w.log.End(), w.log.Segments()
		accept := filepath.Join(w.spec.Dir, acceptLoss)
		say := func() {
			if err := os.WriteFile(accept, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.close()
		say() // while nothing is damaged
		w.open()
		if w.log.Damage() != nil || w.log.Start() != 0 || w.log.End() != end {
			t.Fatalf("a sound log: [%d, %d), %v", w.log.Start(), w.log.End(), w.log.Damage())
		}
		w.close()
		newest := filepath.Join(w.spec.Dir, fmt.Sprintf("%020d.log", segments[len(segments)-1].Base))
		if err := os.Truncate(newest, 10); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			w.open()
			if !errors.Is(w.log.Damage(), hot.ErrDamaged) || w.log.End() != end {
				t.Fatalf("damaged: it ends at %d, %v", w.log.End(), w.log.Damage())
			}
			w.close()
		}
		say()
		for range 2 {
			w.open()
			if w.log.Damage() != nil || w.log.LocalStart() != end || w.log.End() != end {
				t.Fatalf("given up: [%d, %d), %v", w.log.LocalStart(), w.log.End(), w.log.Damage())
			}
			w.close()
		}
		if _, err := os.Stat(accept); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the acceptance is still there: %v", err)
		}
		if aside, err := filepath.Glob(filepath.Join(w.spec.Dir, "quarantine", "*.log")); err != nil || len(aside) != len(segments) {
			t.Errorf("%d segments of %d are in quarantine, %v", len(aside), len(segments), err)
		}
		w.open()
		defer w.close()
		w.write(rng, 1)
	})
}

// A bit that flips in a closed local segment would be served though a check has found it; or what the bucket holds would be lost to it.
func TestFlippedBitIsFound(t *testing.T) {
	for name, remote := range map[string]bool{"the bucket has it": true, "only copy": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2<<10, archive.Policy{Remote: remote, Retention: forever, LocalRetention: forever})
				rng := rand.New(rand.NewPCG(7, 8))
				all, _ := w.write(rng, 40)
				victim := w.log.Segments()[2]
				path := filepath.Join(w.spec.Dir, fmt.Sprintf("%020d.log", victim.Base))
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				b[len(b)-1] ^= 1
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := w.log.Check(t.Context(), victim.Base, nil); !errors.Is(err, hot.ErrDamaged) {
					t.Fatalf("checked: %v", err)
				}
				for range 2 {
					if remote {
						got, cold := w.read(0, 1000)
						if w.log.Damage() != nil || !bytes.Equal(got, all) || cold == 0 || w.log.LocalStart() <= victim.Base {
							t.Fatalf("read %d of %d bytes, %d runs from the bucket; %v", len(got), len(all), cold, w.log.Damage())
						}
						if found, ok, err := w.log.FindTime(t.Context(), 0, w.log.End()); err != nil || !ok || found.Offset != 0 {
							t.Fatalf("found %+v %v %v", found, ok, err)
						}
					} else {
						if _, _, err := w.log.Read(Read{From: victim.Base, Limit: w.log.End(), Max: 1000}); !errors.Is(err, hot.ErrDamaged) {
							t.Fatalf("read: %v", err)
						}
						if got, _ := w.readTo(0, victim.Base, 1000); !bytes.Equal(got, all[:len(got)]) || len(got) == 0 {
							t.Fatal("what lies before it cannot be read")
						}
						if w.log.Damage() == nil {
							t.Fatal("forgotten")
						}
					}
					w.close()
					w.open()
				}
				w.close()
			})
		})
	}
}
