package cold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

var quiet = slog.New(slog.DiscardHandler)

const cluster = "test"

// flat is a partition's remote log as one piece of memory: the model.
type flat struct {
	partition kafka.Partition
	manifest  manifest.Manifest
	data      []byte         // all batches
	at        []int          // position of each batch
	first     []kafka.Offset // and its base offset
	stamps    []int64        // timestamp of every record, by offset
}

// shape says what a world's segments look like.
type shape struct {
	segments, segmentBytes int
	batchBytes             int // of the largest batch, about
	gzip                   bool
}

// build fills the bucket with a partition's segments and returns the model.
func build(t testing.TB, b object.Bucket, seed uint64, p kafka.Partition, sh shape) *flat {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 9))
	w := &flat{partition: p}
	next := kafka.Offset(0)
	epoch := kafka.LeaderEpoch(1)
	stamp := int64(1_000_000)
	for i := range sh.segments {
		var data []byte
		for len(data) < sh.segmentBytes {
			if rng.IntN(100) == 0 {
				epoch++
			}
			builder := batch.Builder{}
			if sh.gzip && rng.IntN(2) == 0 {
				builder.Codec = batch.Gzip // the others keep channels between uses, which synctest forbids
			}
			for left := 1 + rng.IntN(sh.batchBytes); left > 0; {
				n := 1 + rng.IntN(min(left, 4<<10))
				left -= n
				stamp += rng.Int64N(20) - 5
				w.stamps = append(w.stamps, stamp)
				builder.Add(stamp, nil, noise(rng, n))
			}
			v, err := builder.Build()
			if err != nil {
				t.Fatal(err)
			}
			v.Stamp(next, epoch)
			w.at = append(w.at, len(w.data)+len(data))
			w.first = append(w.first, next)
			next = v.NextOffset()
			data = append(data, v...)
		}
		w.data = append(w.data, data...)
		w.manifest = put(t, b, p, w.manifest, data, byte(i))
	}
	return w
}

func noise(rng *rand.Rand, n int) []byte {
	p := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		v := rng.Uint64()
		for k := range 8 {
			p[i+k] = byte(v >> (8 * k))
		}
	}
	return p[:n]
}

// put uploads a segment and adds it to the manifest.
func put(t testing.TB, b object.Bucket, p kafka.Partition, m manifest.Manifest, data []byte, id byte) manifest.Manifest {
	t.Helper()
	f, err := segment.Scan(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	f.Cluster, f.Topic, f.Partition = cluster, "topic", p
	obj := f.Append(data[:len(data):len(data)])
	e := manifest.Entry{
		Base: f.Base, Next: f.Next, Epoch: f.Epoch, UUID: [16]byte{id + 1, byte(p.Index)}, Size: int64(len(obj)), DataSize: f.DataSize,
		MaxTimestamp: f.MaxTimestamp, Uploaded: 1,
	}
	if err := b.Put(context.Background(), e.Key(cluster, p), bytes.NewReader(obj), int64(len(obj))); err != nil {
		t.Fatal(err)
	}
	m, err = m.Append(e, f.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func partition(i int) kafka.Partition {
	return kafka.Partition{Topic: kafka.TopicID{7, 7, 7}, Index: int32(i)}
}

// start runs a reader until the test ends.
func start(t testing.TB, b object.Bucket, cfg Config) *Reader {
	t.Helper()
	r := NewReader(b, cluster, cfg, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return r
}

// wait reads until there is data or an error.
func (w *flat) wait(r *Reader, stream any, from kafka.Offset, most int) (batch.Run, error) {
	for {
		ready := make(chan struct{})
		run, err := r.Read(w.partition, w.manifest, stream, from, most, func() { close(ready) })
		if !errors.Is(err, ErrLoading) {
			return run, err
		}
		<-ready
	}
}

// index is the number of the batch that holds offset.
func (w *flat) index(offset kafka.Offset) int {
	lo, hi := 0, len(w.first)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; w.first[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// check compares a run with the model and returns the offset behind it.
func (w *flat) check(run batch.Run, from kafka.Offset, most int) (kafka.Offset, error) {
	i := w.index(from)
	pos := w.at[i]
	if run.N == 0 || run.N != len(run.Bytes) || !bytes.HasPrefix(w.data[pos:], run.Bytes) {
		return 0, fmt.Errorf("run of %d bytes from offset %d is not the log's", run.N, from)
	}
	end := pos + run.N
	n := i
	for n < len(w.at) && w.at[n] < end {
		n++
	}
	if n < len(w.at) && w.at[n] != end {
		return 0, fmt.Errorf("run from offset %d ends in mid-batch", from)
	}
	if run.N > most && n != i+1 {
		return 0, fmt.Errorf("run of %d bytes, at most %d were asked for", run.N, most)
	}
	if n == len(w.at) {
		return w.manifest.End(), nil
	}
	return w.first[n], nil
}

// replay reads everything from offset on and compares it.
func (w *flat) replay(r *Reader, stream any, from kafka.Offset, most int) error {
	for from < w.manifest.End() {
		run, err := w.wait(r, stream, from, most)
		if err != nil {
			return fmt.Errorf("at %d: %w", from, err)
		}
		from, err = w.check(run, from, most)
		run.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
