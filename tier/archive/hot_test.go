package archive

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// hotSource is a Source over a real local log, and its own quorum.
type hotSource struct {
	id  kafka.Partition
	log *hot.Log

	mu       sync.Mutex
	manifest manifest.Manifest
	start    kafka.Offset
}

func (s *hotSource) Partition() kafka.Partition { return s.id }
func (s *hotSource) Topic() string              { return "orders" }
func (s *hotSource) Epoch() kafka.LeaderEpoch   { return 3 }
func (s *hotSource) Local() Local               { return s.log }
func (s *hotSource) StableEnd() kafka.Offset    { return s.log.DurableEnd() }
func (s *hotSource) Manifest() manifest.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manifest
}
func (s *hotSource) Start() kafka.Offset { s.mu.Lock(); defer s.mu.Unlock(); return s.start }
func (s *hotSource) Policy() Policy {
	return Policy{Remote: true, LocalRetention: Retention{Age: -1, Bytes: 0}, Retention: Retention{Age: time.Hour, Bytes: -1}}
}

func (s *hotSource) CommitSegment(_ context.Context, _ kafka.Partition, e manifest.Entry) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifest, err = s.manifest.Append(e, 3)
	return err
}

func (s *hotSource) TrimSegments(_ context.Context, _ kafka.Partition, _ kafka.LeaderEpoch, start kafka.Offset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = max(s.start, start)
	s.manifest, _ = s.manifest.TrimBefore(s.start)
	return nil
}

type snapshot struct{}

func (snapshot) Snapshot() []byte { return []byte("producers") }

// False if: the archive and the real local log do not fit together: what is
// sealed there is not what arrives, state and epochs included, or is not
// released, or its files stay open; or the active segment does not expire.
func TestWithARealLocalLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, silent := vfs.NewCrash(), slog.New(slog.DiscardHandler)
		if err := fs.MkdirAll("/data"); err != nil {
			t.Fatal(err)
		}
		flusher, err := hot.NewFlusher(fs, "/data", journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, time.Now, silent, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		src := &hotSource{id: kafka.Partition{Topic: kafka.TopicID{7}, Index: 2}}
		env := hot.Env{FS: fs, Flusher: flusher, Clock: time.Now, Log: silent}
		src.log, _, err = hot.Open(env, hot.Dir("/data", src.id), src.id, hot.Config{SegmentBytes: 10_000}, 0, func(kafka.Offset) {})
		if err != nil {
			t.Fatal(err)
		}
		src.log.SetState(snapshot{})
		var all []byte
		for range 50 {
			var b batch.Builder
			b.Add(time.Now().UnixMilli(), nil, bytes.Repeat([]byte("x"), 1000))
			v, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			v.Stamp(src.log.End(), 3)
			all = append(all, v...)
			if err := src.log.Append([]batch.View{v}); err != nil {
				t.Fatal(err)
			}
		}
		if err := flusher.Flush(); err != nil {
			t.Fatal(err)
		}

		mem := object.NewMem(time.Now)
		a := New(mem, src, nil, Config{Cluster: cluster}, time.Now, silent)
		a.Add(src)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		after(5 * time.Minute)

		m := src.Manifest()
		segments := src.log.Segments()
		if m.Len() < 3 || len(segments) != 1 || segments[0].Base != m.End() {
			t.Fatalf("%d entries up to %d, %d local segments from %d", m.Len(), m.End(), len(segments), segments[0].Base)
		}
		var read []byte
		for _, e := range m.All() {
			body, err := mem.Get(ctx, e.Key(cluster, src.id), 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			f, err := segment.ReadFooter(bytes.NewReader(data), e.Size)
			if err != nil {
				t.Fatal(err)
			}
			if string(f.State) != "producers" || len(f.Epochs) != 1 || f.Epochs[0] != (segment.EpochStart{Epoch: 3}) {
				t.Errorf("footer of [%d, %d): state %q, epochs %v", e.Base, e.Next, f.State, f.Epochs)
			}
			read = append(read, data[:e.DataSize]...)
		}
		if !bytes.Equal(read, all[:len(read)]) {
			t.Error("the bucket holds other bytes than were appended")
		}

		time.Sleep(time.Hour)
		synctest.Wait()
		if err := flusher.Flush(); err != nil { // the rolled segment
			t.Fatal(err)
		}
		after(2 * time.Minute)
		if m, end := src.Manifest(), src.log.End(); m.Len() != 0 || src.Start() != end || src.log.Start() != end || end != 50 {
			t.Errorf("after retention: %d entries, log starts at %d, local at %d, ends at %d", m.Len(), src.Start(), src.log.Start(), end)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := src.log.Close(); err != nil {
			t.Error(err)
		}
		if err := flusher.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (*hotSource) Aborted(_, _ kafka.Offset) []segment.AbortedTxn { return nil }
