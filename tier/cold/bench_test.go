package cold

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
)

// benchBucket puts a 1 GiB partition into a directory.
func benchBucket(b *testing.B) (object.Bucket, manifest.Manifest) {
	dir, err := object.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s := newSynthetic(b, 16<<10)
	m := s.partition(b, partition(0), 8, 128<<20)
	for _, e := range m.All() {
		key := e.Key(cluster, partition(0))
		buf := make([]byte, e.Size)
		if _, err := (synthReader{s, s.segments[key]}).ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
		if err := dir.Put(context.Background(), key, bytes.NewReader(buf), e.Size); err != nil {
			b.Fatal(err)
		}
	}
	return dir, m
}

// BenchmarkBareGets is the yardstick: the same bytes by parallel ranged GETs and nothing else.
func BenchmarkBareGets(b *testing.B) {
	bucket, m := benchBucket(b)
	b.SetBytes(m.Bytes())
	for b.Loop() {
		type part struct {
			key    string
			off, n int64
		}
		parts := make(chan part)
		var workers sync.WaitGroup
		for range 5 {
			workers.Go(func() {
				buf := make([]byte, 16<<20)
				for p := range parts {
					body, err := bucket.Get(context.Background(), p.key, p.off, p.n)
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := io.ReadFull(body, buf[:p.n]); err != nil {
						b.Error(err)
					}
					if err := body.Close(); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, e := range m.All() {
			for off := int64(0); off < e.DataSize; off += 13 << 20 {
				parts <- part{e.Key(cluster, partition(0)), off, min(13<<20, e.DataSize-off)}
			}
		}
		close(parts)
		workers.Wait()
	}
}

// BenchmarkReplay reads the partition through the reader, verified.
func BenchmarkReplay(b *testing.B) {
	bucket, m := benchBucket(b)
	s := &synthetic{}
	b.SetBytes(m.Bytes())
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(bucket, cluster, Config{}, quiet)
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { _ = r.Run(ctx) })
		if err := s.replay(r, partition(0), m, "a", 1<<20); err != nil {
			b.Fatal(err)
		}
		cancel()
		run.Wait()
	}
}

// BenchmarkReadHit is a read that finds its bytes in memory.
func BenchmarkReadHit(b *testing.B) {
	s := newSynthetic(b, 16<<10)
	m := s.partition(b, partition(0), 1, 900<<10)
	r := start(b, s, Config{})
	if err := s.replay(r, partition(0), m, "a", 1<<20); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		run, err := r.Read(partition(0), m, "b", 100, 64<<10, nil)
		if err != nil {
			b.Fatal(err)
		}
		run.Release()
	}
}
