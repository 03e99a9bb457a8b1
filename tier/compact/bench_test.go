package compact

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// BenchmarkPass compacts a log on the disk, all of it dirty: two records of 100 bytes for each key, in random order, 100 to a batch. It tells the
// bytes of the log that are dealt with per second (each is read twice), and the largest heap.
func BenchmarkPass(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				w := largeLog(b, n)
				b.SetBytes(w.Size())
				runtime.GC()
				stop := watchHeap(b)
				b.StartTimer()
				passes := w.clean()
				b.StopTimer()
				stop()
				b.ReportMetric(float64(passes), "passes")
				b.ReportMetric(float64(w.cleaner.Stats().Freed)/1e6, "freed-MB")
				w.must(w.Close())
				w.must(w.flusher.Close())
			}
		})
	}
}

func watchHeap(b *testing.B) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var m runtime.MemStats
		var most uint64
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-done:
				b.ReportMetric(float64(most)/1e6, "heap-MB")
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

// largeLog is a log of 2n records.
func largeLog(b *testing.B, n int) *world {
	w := &world{t: b, policy: Policy{MaxLag: -1, DeleteRetention: time.Hour, SegmentBytes: 128 << 20}, limit: -1, now: time.Now()}
	dir := b.TempDir()
	clock := time.Now
	var err error
	w.flusher, err = hot.NewFlusher(vfs.OS{}, dir, journal.Config{}, clock, silent, func(err error) { b.Error(err) })
	w.must(err)
	w.Log, _, err = hot.Open(hot.Env{FS: vfs.OS{}, Flusher: w.flusher, Clock: clock, Log: silent}, filepath.Join(dir, testPartition.Topic.String(), "1"),
		testPartition, hot.Config{SegmentBytes: 128 << 20}, 0, func(kafka.Offset) {})
	w.must(err)
	w.cleaner = New(func(yield func(Log)) { yield(w) }, func() Config { return Config{MapBytes: 128 << 20} }, clock, silent)
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 80)
	for range 2 * n / 100 {
		var batch1 batch.Builder
		for range 100 {
			key := binary.BigEndian.AppendUint64(make([]byte, 0, 16), rng.Uint64N(uint64(n)))
			batch1.Add(w.now.UnixMilli(), append(key, "-padding"...), value)
		}
		v, err := batch1.Build()
		w.must(err)
		v.Stamp(w.End(), 1)
		w.must(w.Append([]batch.View{v}))
	}
	w.settle()
	return w
}
