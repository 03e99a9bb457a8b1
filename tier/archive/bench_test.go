package archive

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// BenchmarkUpload takes a segment's whole way to a directory on the same
// volume: verified, put, counted. What matters is processor seconds a GiB, as
// it is produce requests that pay them.
func BenchmarkUpload(b *testing.B) {
	for _, body := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("batch=%d", body), func(b *testing.B) {
			a, j, sealed := benchSegment(b, 128<<20, body)
			b.Run("scan", func(b *testing.B) {
				measure(b, sealed.Info.Size, func() {
					if _, err := a.prepare(b.Context(), j, sealed); err != nil {
						b.Fatal(err)
					}
				})
			})
			p, err := a.prepare(b.Context(), j, sealed)
			if err != nil {
				b.Fatal(err)
			}
			b.Run("put", func(b *testing.B) {
				measure(b, sealed.Info.Size, func() {
					ctx, cancel := context.WithCancelCause(b.Context())
					defer cancel(nil)
					body := p.body(sealed.Data)
					w := a.watch(ctx, cancel, body)
					defer w.stop()
					if err := a.bucket.Put(ctx, "cluster/object", w, body.size()); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
	}
}

// measure reports what f, which works through size bytes, costs of processors.
func measure(b *testing.B, size int64, f func()) {
	b.SetBytes(size)
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		f()
		n++
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	gib := float64(n) * float64(size) / (1 << 30)
	cost := func(from, to syscall.Timeval) float64 { return float64(to.Nano()-from.Nano()) / 1e9 / gib }
	user, system := cost(before.Utime, after.Utime), cost(before.Stime, after.Stime)
	b.ReportMetric(user+system, "cpu-s/GiB")
	b.ReportMetric(system, "sys-s/GiB")
}

// benchSegment is a sealed segment in a file, beside a bucket that is a directory.
func benchSegment(b *testing.B, size, body int) (*Archive, *job, *hot.Sealed) {
	w := newWorld(b, 1)
	src := w.parts[0]
	for len(src.log.active().data) < size {
		src.log.append(1, body, 1)
	}
	end := src.log.end()
	name := filepath.Join(b.TempDir(), "segment")
	data := src.log.history(0, end)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := vfs.OS{}.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	bucket, err := object.OpenDir(filepath.Join(b.TempDir(), "bucket"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
		if err := bucket.Close(); err != nil {
			b.Error(err)
		}
	})
	a := New(object.NewCounting(bucket), w.quorum, w.quorum, Config{Cluster: cluster}, time.Now, slog.New(slog.DiscardHandler))
	info := hot.SegmentInfo{Next: kafka.Offset(end), Size: int64(len(data)), Sealed: true, Durable: true}
	sealed := &hot.Sealed{Info: info, Data: io.NewSectionReader(f, 0, info.Size)}
	return a, &job{part: &part{id: src.id, topic: "orders", src: src}, segment: info, epoch: 1}, sealed
}
