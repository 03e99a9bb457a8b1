package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/journal"
	tierlog "github.com/qanat-io/qanat/tier/log"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The one zstd encoder of the process must not be made within a bubble, where others could not use it.
func TestMain(m *testing.M) {
	build(1, func(b *batch.Builder) { b.Codec = batch.Zstd })
	m.Run()
}

// world is one partition with everything below it: a disk and a bucket in memory. It lives in a synctest bubble, where
// synctest.Wait returns when the flusher and the archive have nothing left to do.
type world struct {
	t        tb
	dir      string
	disk     *vfs.Crash
	fs       *vfs.Faulty
	bucket   object.Bucket
	settings config.Topic
	isr      []kafka.BrokerID
	replicas []kafka.BrokerID
	epoch    kafka.LeaderEpoch

	// outside is set by a test that is in no bubble.
	outside bool
	// only: see Spec.
	only bool
	// fatal is told what ends a broker.
	fatal func(error)

	stop    context.CancelFunc
	running sync.WaitGroup
	flusher *hot.Flusher
	archive *archive.Archive
	rec     tierlog.Recovered
	p       *Partition
	sealed  int

	mu       sync.Mutex // guards what the quorum would decide
	manifest manifest.Manifest
	start    kafka.Offset
}

// newWorld opens a partition led by this broker (node 1) alone, after the settings were changed as wanted.
func newWorld(t tb, change func(*config.Topic)) *world {
	t.Helper()
	w := emptyWorld(t, change)
	w.newDisk()
	w.open()
	return w
}

// newDisk gives the world an empty disk in memory.
func (w *world) newDisk() {
	w.dir, w.disk = "/data", vfs.NewCrash()
	w.fs = vfs.NewFaulty(w.disk)
	if err := errors.Join(w.fs.MkdirAll(w.dir), w.fs.SyncDir("/")); err != nil {
		w.t.Fatal(err)
	}
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Error(...any)
	Errorf(string, ...any)
}

func emptyWorld(t tb, change func(*config.Topic)) *world {
	w := &world{t: t, bucket: object.NewMem(time.Now), isr: []kafka.BrokerID{1}, replicas: []kafka.BrokerID{1}, fatal: func(err error) { panic(err) }}
	w.settings = config.Topic{
		SegmentBytes: 1 << 20, MaxMessageBytes: 1 << 20, Compression: "producer", MinISR: 1,
		RetentionAge: -1, RetentionBytes: -1, LocalRetentionAge: -1, LocalRetentionBytes: -1,
		TimestampBefore: math.MaxInt64, TimestampAfter: math.MaxInt64,
	}
	if change != nil {
		change(&w.settings)
	}
	return w
}

// set changes the settings of the running partition.
func (w *world) set(change func(*config.Topic)) {
	s := w.settings
	change(&s)
	w.settings = s
	w.p.SetSettings(&s)
}

func (w *world) open() {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	quiet := slog.New(slog.DiscardHandler)
	var err error
	w.flusher, err = hot.NewFlusher(w.fs, w.dir, journal.Config{FirstBytes: 16 << 10, MaxBytes: 32 << 10, FrameBytes: 16000}, time.Now, quiet, func(err error) { w.fatal(err) })
	if err != nil {
		w.t.Fatal(err)
	}
	reader := cold.NewReader(w.bucket, "c", cold.Config{}, quiet)
	w.archive = archive.New(w.bucket, w, nil, archive.Config{Cluster: "c"}, time.Now, quiet)
	for _, run := range []func(context.Context) error{w.flusher.Run, reader.Run, w.archive.Run} {
		w.running.Go(func() { _ = run(ctx) })
	}
	settings := w.settings
	w.p, w.rec, err = Open(ctx, Env{
		Traced: true,
		Log: tierlog.Env{
			Hot:  hot.Env{FS: w.fs, Flusher: w.flusher, Clock: time.Now, Log: quiet},
			Cold: reader, Log: quiet,
		},
		Node: 1, Clock: time.Now, ProducerExpiry: 24 * time.Hour, Deadlines: NewDeadlines(time.Now), Logger: quiet,
		Sealed: func(kafka.Partition) { w.sealed++ },
	}, Spec{
		Partition: kafka.Partition{Topic: kafka.TopicID{1}}, Topic: "t", Dir: hot.Dir(w.dir, kafka.Partition{Topic: kafka.TopicID{1}}),
		Settings: &settings, Manifest: w.manifest, LogStart: w.start, Only: w.only,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.lead(w.epoch)
	w.archive.Add(w.p.Log())
}

// lead starts a leadership of this broker, which alone is in sync.
func (w *world) lead(epoch kafka.LeaderEpoch) {
	w.p.Lead(Leadership{Epoch: epoch, Replicas: w.replicas, ISR: w.isr})
}

func (w *world) close() {
	w.t.Helper()
	w.archive.Remove(w.p.ID())
	if err := w.p.Close(); err != nil {
		w.t.Error(err)
	}
	w.end()
}

// end stops what is below the partition.
func (w *world) end() {
	w.t.Helper()
	w.stop()
	w.running.Wait()
	if err := w.flusher.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

// CommitSegment and TrimSegments stand in for the quorum.
func (w *world) CommitSegment(_ context.Context, _ kafka.Partition, e manifest.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := w.manifest.Append(e, w.epoch)
	if err != nil {
		return err
	}
	w.manifest = m
	w.p.Publish(m, w.start)
	return nil
}

func (w *world) TrimSegments(_ context.Context, _ kafka.Partition, _ kafka.LeaderEpoch, start kafka.Offset) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start = max(w.start, start)
	w.manifest, _ = w.manifest.TrimBefore(w.start)
	w.p.Publish(w.manifest, w.start)
	return nil
}

// hold makes flushes wait until release is called.
func (w *world) hold() (release func()) {
	gate := make(chan struct{})
	w.fs.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.KindSyncVol || op.Kind == vfs.KindSync {
			<-gate
		}
		return nil
	})
	return func() { w.fs.SetHook(nil); close(gate) }
}

// answers remembers what a Waiter was told, in order.
type answers struct {
	mu    sync.Mutex
	order []int
	by    map[int][]Produced
}

func (a *answers) Produced(slot int, r Produced) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int][]Produced{}
	}
	a.order = append(a.order, slot)
	a.by[slot] = append(a.by[slot], r)
}

func (a *answers) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.order)
}

// once takes one answer.
type once chan Produced

func (o once) Produced(_ int, r Produced) { o <- r }

// produce waits for the answer and, in a bubble, for what it has set off; a second answer would block whoever gives it.
func (w *world) produce(records []byte, acks Acks) Produced {
	w.t.Helper()
	o := make(once)
	go w.p.Produce(records, nil, acks, time.Minute, o, 0)
	r := <-o
	if !w.outside {
		synctest.Wait()
	}
	return r
}

// must is produce with acks=all of what has to succeed at the given offset.
func (w *world) must(records []byte, at kafka.Offset) Produced {
	w.t.Helper()
	r := w.produce(records, -1)
	if r.Err != nil || r.Base != at {
		w.t.Fatalf("produced at %d, %v; want %d", r.Base, r.Err, at)
	}
	return r
}

// plain is a batch of n records, of no producer, stamped with now.
func plain(n int) []byte { return build(n, nil) }

// from is a batch of an idempotent producer.
func from(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32, n int) []byte {
	return build(n, func(b *batch.Builder) {
		b.Idempotent, b.ProducerID, b.ProducerEpoch, b.BaseSequence = true, id, epoch, sequence
	})
}

func build(n int, change func(*batch.Builder)) []byte {
	var b batch.Builder
	if change != nil {
		change(&b)
	}
	for i := range n {
		b.Add(time.Now().UnixMilli(), nil, fmt.Appendf(nil, "value %d of a batch, long enough to be told apart", i))
	}
	v, err := b.Build()
	if err != nil {
		panic(err)
	}
	return v
}

// read returns the batches from the offset to the high watermark, waiting for the bucket when it must.
func (w *world) read(from kafka.Offset) (all []batch.View) {
	w.t.Helper()
	for {
		ready := make(chan struct{})
		res, err := w.p.Read(ReadRequest{From: from, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Stream: w, Ready: func() { close(ready) }})
		if err != nil {
			w.t.Fatalf("read at %d: %v", from, err)
		}
		if res.Loading {
			<-ready
			continue
		}
		if res.Run.Len() == 0 {
			return all
		}
		for rest := bytesOf(w.t, res.Run); len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break // the last may be cut short
			}
			if err := v.CheckCRC(); err != nil {
				w.t.Fatal(err)
			}
			all, from, rest = append(all, v), v.NextOffset(), next
		}
	}
}

func bytesOf(t tb, run batch.Run) []byte {
	defer run.Release()
	p := make([]byte, run.Len())
	if run.File == nil {
		copy(p, run.Bytes)
	} else if _, err := run.File.ReadAt(p, run.Pos); err != nil {
		t.Fatal(err)
	}
	return p
}
