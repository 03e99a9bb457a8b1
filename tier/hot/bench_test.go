package hot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newWorld(b, onDisk{root: b.TempDir()}, Config{})
			v := makeBatch(b, 0, 1, 1, 0, make([]byte, size))
			views := []batch.View{v}
			b.SetBytes(int64(len(v)))
			b.ReportAllocs()
			for b.Loop() {
				v.Stamp(w.log.End(), 1)
				w.must(w.log.Append(views))
				if w.log.Size() > 1<<30 {
					b.StopTimer()
					if _, err := w.log.ReleaseBefore(w.log.End()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}

func BenchmarkAppendAndFlush(b *testing.B) {
	w := newWorld(b, onDisk{root: b.TempDir()}, Config{})
	v := makeBatch(b, 0, 1, 1, 0, make([]byte, 1000))
	views := []batch.View{v}
	b.ReportAllocs()
	for b.Loop() {
		v.Stamp(w.log.End(), 1)
		w.must(w.log.Append(views))
		w.flush()
	}
}

// BenchmarkRead measures finding a run, and with "headers" in small batches also the reads that it takes.
func BenchmarkRead(b *testing.B) {
	w := newWorld(b, onDisk{root: b.TempDir()}, Config{SegmentBytes: 64 << 20})
	for range 40_000 {
		w.append(1, 1000)
	}
	must := func(run batch.Run, err error) {
		if err != nil || run.N == 0 {
			b.Fatal(run.N, err)
		}
		run.Release()
	}
	end := w.log.End()
	b.Run("tail", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(w.log.Read(end-1, end, 1<<20))
		}
	})
	b.Run("active", func(b *testing.B) { // in the in-memory index, below the ring
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			must(w.log.Read(end-kafka.Offset(1000+i%4000), end, 1<<20))
		}
	})
	w.must(w.log.Roll())
	b.Run("sealed", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			must(w.log.Read(kafka.Offset(i%30_000), end, 1<<20))
		}
	})
}

// BenchmarkFlush is the table in docs/flush.md: a round that dirties N files by 1 KiB each.
// Run with -benchtime=50x or more, on a file system of its own kind (QANAT_BENCH_DIR).
func BenchmarkFlush(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 16, 100, 1000} {
		for _, how := range []string{"each", "8-at-once", "syncfs"} {
			b.Run(fmt.Sprintf("files=%d/%s", n, how), func(b *testing.B) { benchFlush(b, n, how) })
		}
	}
}

func benchFlush(b *testing.B, n int, how string) {
	dir, err := os.MkdirTemp(os.Getenv("QANAT_BENCH_DIR"), "flush")
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	}()
	fsys := vfs.OS{}
	volume, err := fsys.OpenVolume(dir)
	if err != nil {
		b.Fatal(err)
	}
	files := make([]syncer, n)
	for i := range files {
		if files[i], err = fsys.OpenRW(filepath.Join(dir, fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	if ok, err := volume.Sync(); !ok || err != nil {
		b.Skip("no syncfs here", err)
	}
	var took []time.Duration
	page := make([]byte, 1024)
	for off := int64(0); b.Loop(); off += 1024 {
		b.StopTimer()
		for _, f := range files {
			if _, err := f.(vfs.File).WriteAt(page, off); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		began := time.Now()
		switch how {
		case "each":
			for _, f := range files {
				err = f.Sync()
			}
		case "8-at-once":
			err = syncParallel(files)
		default:
			_, err = volume.Sync()
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}

// BenchmarkOpenAfterKill opens 1,000 partitions that were killed with 64 KiB each since their last recovery point.
func BenchmarkOpenAfterKill(b *testing.B) {
	fsys := onDisk{root: b.TempDir()}
	if err := fsys.MkdirAll(testRoot); err != nil {
		b.Fatal(err)
	}
	const partitions = 1000
	open := func() []*Log {
		flusher, err := NewFlusher(fsys, testRoot, journal.Config{}, time.Now, silent, func(err error) { b.Fatal(err) })
		if err != nil {
			b.Fatal(err)
		}
		env := Env{FS: fsys, Flusher: flusher, Clock: time.Now, Log: silent}
		logs := make([]*Log, partitions)
		var group sync.WaitGroup
		for worker := range 8 {
			group.Go(func() {
				for i := worker; i < partitions; i += 8 {
					var err error
					logs[i], _, err = Open(env, Dir(testRoot, kafka.Partition{Index: int32(i)}), kafka.Partition{Index: int32(i)}, Config{}, 0, func(kafka.Offset) {})
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		group.Wait()
		return logs
	}
	logs := open()
	for b.Loop() {
		b.StopTimer()
		for _, l := range logs {
			v := makeBatch(b, l.End(), 1, 1, 0, make([]byte, 64<<10))
			if err := l.Append([]batch.View{v}); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		logs = open()
	}
}
