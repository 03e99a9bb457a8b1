package cold

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// synthetic is a bucket of any size that takes no memory: every batch has the
// same bytes but for its base offset, which no CRC covers.
type synthetic struct {
	object.Bucket // nil: only Get is used
	template      []byte
	perBatch      kafka.Offset
	segments      map[string]*synthSegment
	gets          atomic.Int64
	down          atomic.Int64
}

type synthSegment struct {
	base    kafka.Offset
	size    int64
	trailer []byte
	footer  segment.Footer
}

func newSynthetic(t testing.TB, batchBytes int) *synthetic {
	t.Helper()
	builder := batch.Builder{}
	for builder.Size() < batchBytes {
		builder.Add(1_000, nil, bytes.Repeat([]byte("synthetic "), 100))
	}
	v, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	v.Stamp(0, 3)
	return &synthetic{template: v, perBatch: v.NextOffset(), segments: map[string]*synthSegment{}}
}

// partition makes a partition of n segments of about size bytes each.
func (s *synthetic) partition(t testing.TB, p kafka.Partition, n int, size int64) manifest.Manifest {
	t.Helper()
	var m manifest.Manifest
	batches := max(size/int64(len(s.template)), 1)
	for i := range n {
		seg := &synthSegment{base: m.End(), size: batches * int64(len(s.template))}
		f, err := segment.Scan(synthReader{s, seg}, seg.size)
		if err != nil {
			t.Fatal(err)
		}
		f.Partition, f.Epoch = p, 3
		seg.footer, seg.trailer = f, f.Append(nil)
		e := manifest.Entry{
			Base: f.Base, Next: f.Next, Epoch: 3, UUID: [16]byte{byte(i + 1), byte(i >> 8)}, DataSize: seg.size,
			Size: seg.size + int64(len(seg.trailer)), MaxTimestamp: f.MaxTimestamp, Uploaded: 1,
		}
		if m, err = m.Append(e, 3); err != nil {
			t.Fatal(err)
		}
		s.segments[e.Key(cluster, p)] = seg
	}
	return m
}

// copy makes another partition of the same records.
func (s *synthetic) copy(t testing.TB, m manifest.Manifest, from, to kafka.Partition) (out manifest.Manifest) {
	t.Helper()
	for k := range m.Len() {
		e := m.At(k)
		seg, f := *s.segments[e.Key(cluster, from)], s.segments[e.Key(cluster, from)].footer
		f.Partition = to
		seg.footer, seg.trailer = f, f.Append(nil)
		e.Size = seg.size + int64(len(seg.trailer))
		var err error
		if out, err = out.Append(e, e.Epoch); err != nil {
			t.Fatal(err)
		}
		s.segments[e.Key(cluster, to)] = &seg
	}
	return out
}

type synthReader struct {
	s   *synthetic
	seg *synthSegment
}

func (r synthReader) ReadAt(p []byte, at int64) (int, error) {
	size := int64(len(r.s.template))
	n := 0
	for n < len(p) && at < r.seg.size {
		number, in := at/size, at%size
		var head [8]byte
		binary.BigEndian.PutUint64(head[:], uint64(r.seg.base+kafka.Offset(number)*r.s.perBatch))
		k := 0
		if in < 8 {
			k = copy(p[n:], head[in:])
		} else {
			k = copy(p[n:], r.s.template[in:])
		}
		n += k
		at += int64(k)
	}
	if n < len(p) {
		n += copy(p[n:], r.seg.trailer[min(at-r.seg.size, int64(len(r.seg.trailer))):])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *synthetic) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.gets.Add(1)
	s.down.Add(n)
	seg := s.segments[key]
	if seg == nil {
		return nil, object.ErrNotFound
	}
	return io.NopCloser(io.NewSectionReader(synthReader{s, seg}, off, n)), nil
}

// replay reads a whole synthetic partition, checking that offsets are contiguous.
func (s *synthetic) replay(r *Reader, p kafka.Partition, m manifest.Manifest, stream any, most int) error {
	for from := m.Start(); from < m.End(); {
		ready := make(chan struct{})
		run, err := r.Read(p, m, stream, from, most, func() { close(ready) })
		if errors.Is(err, ErrLoading) {
			<-ready
			continue
		}
		if err != nil {
			return err
		}
		for rest := run.Bytes; len(rest) > 0; {
			var v batch.View
			if v, rest, err = batch.Next(rest); err != nil {
				return err
			}
			if v.BaseOffset() != from {
				return errors.New("offsets are not contiguous")
			}
			from = v.NextOffset()
		}
		run.Release()
	}
	return nil
}
