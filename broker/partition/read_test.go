package partition

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// all is a look from the offset on that checks no epochs.
func all(from kafka.Offset) ReadRequest {
	return ReadRequest{From: from, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20}
}

// A reader would be shown what a power cut can still take back, or be told that an offset does not exist that was written.
func TestReadEndsAtTheHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(2), 0)
		release := w.hold()
		w.produce(plain(3), 1)
		for _, committed := range []bool{false, true} {
			r := all(0)
			r.Committed = committed
			res, err := w.p.Read(r)
			if err != nil || res.HighWatermark != 2 || res.LastStable != 2 {
				t.Fatalf("%+v, %v", res, err)
			}
			v, rest, err := batch.Next(bytesOf(t, res.Run))
			if err != nil || len(rest) > 0 || v.NextOffset() != 2 {
				t.Errorf("read up to %d with %d bytes behind it, %v", v.NextOffset(), len(rest), err)
			}
		}
		for from := kafka.Offset(2); from <= 5; from++ {
			if res, err := w.p.Read(all(from)); err != nil || res.Run.Len() != 0 {
				t.Errorf("at %d: %d bytes, %v", from, res.Run.Len(), err)
			}
		}
		for _, from := range []kafka.Offset{-1, 6, 1 << 40} {
			if res, err := w.p.Read(all(from)); !errors.Is(err, ErrOutOfRange) || res.HighWatermark != 2 || res.LogStart != 0 {
				t.Errorf("at %d: %+v, %v", from, res, err)
			}
		}
		release()
		synctest.Wait()
		if n := len(w.read(0)); n != 2 {
			t.Errorf("%d batches after the flush, want 2", n)
		}
	})
}

// A stale or future epoch would be served, a follower of another history would not be told where it parts, or a new
// leadership would write under the old one's epoch.
func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(3), 0)
		w.lead(4)
		w.must(plain(2), 3)
		w.lead(6)
		if got := w.p.EpochEnd(6); got != (EpochEnd{6, 5}) {
			t.Errorf("epoch 6, of no batch yet: %+v", got)
		}
		w.must(plain(1), 5)
		for i, want := range []kafka.LeaderEpoch{0, 4, 6} {
			if got := w.read(0)[i].LeaderEpoch(); got != want {
				t.Errorf("batch %d has epoch %d, want %d", i, got, want)
			}
		}
		for current, want := range map[kafka.LeaderEpoch]error{-1: nil, 6: nil, 5: ErrFencedEpoch, 0: ErrFencedEpoch, 7: ErrUnknownEpoch} {
			r := all(0)
			r.CurrentEpoch = current
			res, err := w.p.Read(r)
			res.Run.Release()
			if !errors.Is(err, want) {
				t.Errorf("current epoch %d: %v, want %v", current, err, want)
			}
		}
		for _, c := range []struct {
			last kafka.LeaderEpoch
			from kafka.Offset
			want *EpochEnd
		}{
			{0, 3, nil}, {0, 4, &EpochEnd{0, 3}}, {2, 3, &EpochEnd{0, 3}}, {4, 5, nil}, {5, 5, &EpochEnd{4, 5}}, {6, 6, nil}, {4, 6, &EpochEnd{4, 5}},
		} {
			r := all(c.from)
			r.LastFetchedEpoch = c.last
			res, err := w.p.Read(r)
			res.Run.Release()
			if err != nil || (res.Diverging == nil) != (c.want == nil) || c.want != nil && *res.Diverging != *c.want {
				t.Errorf("last fetched epoch %d at %d: %+v, %v; want %+v", c.last, c.from, res.Diverging, err, c.want)
			}
		}
		r := all(6)
		r.LastFetchedEpoch = 7
		if res, err := w.p.Read(r); err != ErrOutOfRange || res.Diverging != nil {
			t.Errorf("last fetched epoch 7, which nobody has led: %+v, %v", res.Diverging, err)
		}
		if _, err := w.p.ReplicaFetched(Replica{ID: 2, Epoch: 1}, 6, Position{From: 6, Last: 7}); err != ErrOutOfRange {
			t.Errorf("a replica with records of epoch 7: %v", err)
		}
		for requested, want := range map[kafka.LeaderEpoch]EpochEnd{-1: {-1, -1}, 0: {0, 3}, 3: {0, 3}, 4: {4, 5}, 6: {6, 6}, 7: {-1, -1}} {
			if got := w.p.EpochEnd(requested); got != want {
				t.Errorf("epoch %d ends at %+v, want %+v", requested, got, want)
			}
		}
	})
}

// A waiter would hang, or be told of success, when leadership ends; or a partition without it would take requests.
func TestResign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		var l counter
		defer w.p.Subscribe(&l)()
		release := w.hold()
		var a answers
		w.p.Produce(plain(1), nil, -1, time.Minute, &a, 0)
		w.p.Produce(plain(1), nil, -1, time.Minute, &a, 1)
		w.p.Resign()
		if !slices.Equal(a.order, []int{0, 1}) || !errors.Is(a.by[0][0].Err, ErrNotLeader) || !errors.Is(a.by[1][0].Err, ErrNotLeader) {
			t.Errorf("answers %+v", a.by)
		}
		if l.n.Load() == 0 {
			t.Error("listeners were not told")
		}
		for _, acks := range []Acks{-1, 0, 1} {
			w.p.Produce(plain(1), nil, acks, time.Minute, &a, 2)
			if r := a.by[2][len(a.by[2])-1]; !errors.Is(r.Err, ErrNotLeader) {
				t.Errorf("acks %d without leadership: %+v", acks, r)
			}
		}
		if _, err := w.p.Read(all(0)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("read without leadership: %v", err)
		}
		release()
		synctest.Wait()
		if a.len() != 5 {
			t.Errorf("%d answers, want 5", a.len())
		}
		w.lead(1)
		w.must(plain(1), 3)
	})
}

// counter is a Listener that counts.
type counter struct{ n atomic.Int64 }

func (c *counter) Advanced(*Partition) { c.n.Add(1) }

// A subscriber would not hear of an advance, a new start or a leadership, or would go on hearing after it has cancelled.
func TestListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		var a, b counter
		cancelA, cancelB := w.p.Subscribe(&a), w.p.Subscribe(&b)
		w.must(plain(5), 0)
		if a.n.Load() != 1 || b.n.Load() != 1 {
			t.Errorf("told %d and %d times of an advance", a.n.Load(), b.n.Load())
		}
		cancelA()
		cancelA() // twice is harmless
		w.p.Publish(w.manifest, 2)
		w.p.Publish(w.manifest, 2) // no news
		w.lead(1)
		if a.n.Load() != 1 || b.n.Load() != 3 {
			t.Errorf("told %d and %d times, want 1 and 3", a.n.Load(), b.n.Load())
		}
		cancelB()
		w.must(plain(1), 5)
		if b.n.Load() != 3 {
			t.Error("told after the cancellation")
		}
		// One listener may be subscribed twice, as a request may name a partition twice.
		one, two := w.p.Subscribe(&a), w.p.Subscribe(&a)
		one()
		w.must(plain(1), 6)
		two()
		w.must(plain(1), 7)
		if a.n.Load() != 2 {
			t.Errorf("told %d times, want 2", a.n.Load())
		}
	})
}

// Subscribing, cancelling and notifying at the same time would race or lose someone who had subscribed before the advance.
func TestListenersConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.SegmentBytes = 16 << 20 })
		defer w.close()
		var stay counter
		defer w.p.Subscribe(&stay)()
		var g sync.WaitGroup
		for range 4 {
			g.Go(func() {
				for range 200 {
					var c counter
					cancel := w.p.Subscribe(&c)
					w.p.listeners.notify(w.p)
					if c.n.Load() == 0 {
						t.Error("not told of an advance after Subscribe")
					}
					cancel()
				}
			})
		}
		var a answers
		for i := range 4 {
			g.Go(func() {
				for j := range 50 {
					w.p.Produce(plain(1), nil, -1, time.Minute, &a, i*50+j)
					_, _ = w.p.Read(all(0))
				}
			})
		}
		g.Wait()
		synctest.Wait()
		if a.len() != 200 || w.p.HighWatermark() != 200 || stay.n.Load() < 800 {
			t.Errorf("%d answers, high watermark %d, told %d times", a.len(), w.p.HighWatermark(), stay.n.Load())
		}
		if n := len(*w.p.listeners.set.Load()); n != 1 {
			t.Errorf("%d are subscribed, want 1", n)
		}
	})
}

// ListOffsets would answer something else than the tiers hold.
func TestListOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.RemoteStorage, c.SegmentBytes, c.LocalRetentionBytes = true, 1, 0 })
		defer w.close()
		check := func(when string, ts int64, offset kafka.Offset, stamp int64, epoch kafka.LeaderEpoch) {
			t.Helper()
			if got, err := w.p.ListOffset(t.Context(), ts, false); err != nil || got != (Listed{offset, stamp, epoch}) {
				t.Errorf("%s: timestamp %d: %+v, %v; want %d, %d, %d", when, ts, got, err, offset, stamp, epoch)
			}
		}
		for ts, want := range map[int64]kafka.Offset{latest: 0, earliest: 0, maxTimestamp: -1, earliestLocal: 0, latestTiered: -1, earliestPending: 0, 0: -1} {
			if got, err := w.p.ListOffset(t.Context(), ts, true); err != nil || got.Offset != want || got.Timestamp != -1 {
				t.Errorf("empty log: timestamp %d: %+v, %v, want %d", ts, got, err, want)
			}
		}
		t0 := time.Now().UnixMilli()
		for i := range 6 {
			w.must(plain(2), kafka.Offset(2*i))
			time.Sleep(time.Second)
		}
		w.archive.Poke(w.p.ID())
		synctest.Wait()
		if w.manifest.End() != 10 || w.p.Log().LocalStart() != 10 {
			t.Fatalf("the bucket ends at %d, the disk begins at %d, want 10", w.manifest.End(), w.p.Log().LocalStart())
		}
		check("tiered", latest, 12, -1, 0)
		check("tiered", earliest, 0, -1, 0)
		check("tiered", maxTimestamp, 10, t0+5000, 0)
		check("tiered", earliestLocal, 10, -1, 0)
		check("tiered", latestTiered, 9, -1, 0)
		check("tiered", earliestPending, 10, -1, 0)
		for i := range int64(6) {
			check("time", t0+1000*i, kafka.Offset(2*i), t0+1000*i, 0)
			check("just after", t0+1000*i-999, kafka.Offset(2*i), t0+1000*i, 0)
		}
		check("after all", t0+5001, -1, -1, -1)
		if _, err := w.p.ListOffset(t.Context(), -7, false); err == nil {
			t.Error("a timestamp without meaning was answered")
		}
		if !w.p.MayBlock(0) || !w.p.MayBlock(maxTimestamp) || w.p.MayBlock(latest) || w.p.MayBlock(earliest) {
			t.Error("MayBlock is wrong about what needs the bucket")
		}
		if err := w.TrimSegments(t.Context(), w.p.ID(), 0, 3); err != nil {
			t.Fatal(err)
		}
		check("trimmed", earliest, 3, -1, 0)
		if got, err := w.p.ListOffset(t.Context(), t0, false); err != nil || got.Offset < 3 {
			t.Errorf("trimmed: %+v, %v", got, err)
		}
		if _, err := w.p.Read(all(2)); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("read below the start: %v", err)
		}
		w.set(func(c *config.Topic) { c.RemoteStorage = false })
		check("not remote", earliestPending, -1, -1, -1)
	})
}

// A lookup by time would find a record above the high watermark.
func TestListOffsetStaysBelowTheHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		time.Sleep(time.Second)
		now := time.Now().UnixMilli()
		release := w.hold()
		w.produce(plain(1), 1)
		if got, err := w.p.ListOffset(t.Context(), now, false); err != nil || got.Offset != -1 {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := w.p.ListOffset(t.Context(), latest, false); err != nil || got.Offset != 1 {
			t.Errorf("latest: %+v, %v", got, err)
		}
		release()
		synctest.Wait()
		if got, err := w.p.ListOffset(t.Context(), now, false); err != nil || got.Offset != 1 {
			t.Errorf("after the flush: %+v, %v", got, err)
		}
	})
}

// After a reopening under too few in-sync replicas the high watermark would be below the log's start, or what the bucket
// holds would be hidden.
func TestHighWatermarkAfterReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.RemoteStorage, c.SegmentBytes = true, 1 })
		defer func() { w.close() }()
		for i := range kafka.Offset(5) {
			w.must(plain(1), i)
		}
		w.archive.Poke(w.p.ID())
		synctest.Wait()
		w.set(func(c *config.Topic) { c.MinISR = 2 })
		w.replicas = []kafka.BrokerID{1, 2}
		w.reopen()
		if hw := w.p.HighWatermark(); hw != w.manifest.End() || hw != 4 {
			t.Errorf("high watermark %d, the bucket ends at %d, want 4", hw, w.manifest.End())
		}
		if n := len(w.read(0)); n != 4 {
			t.Errorf("%d batches to read, want 4", n)
		}
	})
}

// A bucket that gives an unreadable producer state would leave the log open, so that the next try opens it a second time.
func TestUnreadableProducerState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		files := &counted{FS: w.fs}
		env := w.p.env
		env.Log.Hot.FS = files
		spec := Spec{Partition: kafka.Partition{Topic: kafka.TopicID{2}}, Topic: "u", Dir: hot.Dir(w.dir, kafka.Partition{Topic: kafka.TopicID{2}}), Settings: &w.settings}
		p, _, err := Open(t.Context(), env, spec)
		if err != nil {
			t.Fatal(err)
		}
		p.log.SetState(garbage{}, &p.appendMu)
		p.Lead(Leadership{Replicas: w.isr, ISR: w.isr})
		p.Produce(plain(1), nil, -1, time.Minute, &answers{}, 0)
		synctest.Wait()
		if err := p.log.Local().Roll(); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		before := files.open.Load()
		if _, _, err := Open(t.Context(), env, spec); err == nil {
			t.Fatal("an unreadable producer state was taken")
		}
		if now := files.open.Load(); now != before {
			t.Errorf("%d files were left open", now-before)
		}
	})
}

// counted counts the files that are open.
type counted struct {
	vfs.FS
	open atomic.Int64
}

func (c *counted) Open(name string) (vfs.File, error)   { return c.count(c.FS.Open(name)) }
func (c *counted) OpenRW(name string) (vfs.File, error) { return c.count(c.FS.OpenRW(name)) }

func (c *counted) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedFile{f, c}, nil
}

type countedFile struct {
	vfs.File
	of *counted
}

func (f *countedFile) Close() error {
	f.of.open.Add(-1)
	return f.File.Close()
}

type garbage struct{}

func (garbage) Snapshot() []byte { return []byte{0xff, 0xff, 1} }

func (garbage) Aborted(_, _ kafka.Offset) []segment.AbortedTxn { return nil }
