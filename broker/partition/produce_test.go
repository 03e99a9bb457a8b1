package partition

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// acks=all would be answered, or shown to a reader, before the flush that covers it; or acks=1 only after it.
func TestAcksAllWaitsForTheFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		release := w.hold()
		var all answers
		w.p.Produce(plain(2), nil, -1, time.Minute, &all, 7)
		w.p.Produce(plain(3), nil, -1, time.Minute, &all, 8)
		var one answers
		w.p.Produce(plain(1), nil, 1, time.Minute, &one, 0)
		w.p.Produce(plain(1), nil, 0, time.Minute, &one, 1)
		synctest.Wait()
		if all.len() != 0 {
			t.Error("acks=all was answered while the flush had not returned")
		}
		if !slices.Equal(one.order, []int{0, 1}) || one.by[0][0].Base != 6 || one.by[1][0].Base != 7 {
			t.Errorf("acks=1 and 0 were answered with %v", one.by)
		}
		if hw, end := w.p.HighWatermark(), w.p.LocalEnd(); hw != 1 || end != 8 {
			t.Errorf("high watermark %d and end %d during the flush, want 1 and 8", hw, end)
		}
		release()
		synctest.Wait()
		if !slices.Equal(all.order, []int{7, 8}) || all.by[7][0].Base != 1 || all.by[8][0].Base != 3 || w.p.HighWatermark() != 8 {
			t.Errorf("after the flush: %v, high watermark %d", all.by, w.p.HighWatermark())
		}
	})
}

// A leader proposes nothing while nothing has changed: not even the order that the controller has given eligible replicas in.
func TestNothingToPropose(t *testing.T) {
	w := newWorld(t, func(c *config.Topic) { c.MinISR = 2 })
	defer w.close()
	me := w.p.env.Node
	w.p.Lead(Leadership{Epoch: 9, PartitionEpoch: 9, Replicas: []kafka.BrokerID{me, me + 1, me + 2}, ISR: []kafka.BrokerID{me}, ELR: []kafka.BrokerID{me + 2, me + 1}})
	if c, ok := w.p.ProposeISR(time.Hour, func(Replica) bool { return true }); ok {
		t.Errorf("proposed %+v", c)
	}
}

// Who was answered with acks=1 would be told of an end before its own records, where no other replica is waited for; or a wait for the
// disk would outlast its context, or begin where another replica is what is waited for.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		if w.p.Unsettled() {
			t.Error("all is on the disk, and it is not settled")
		}
		w.p.Settle(t.Context())
		release := w.hold()
		var one answers
		w.p.Produce(plain(2), nil, 1, time.Minute, &one, 0)
		if one.len() != 1 || !w.p.Unsettled() {
			t.Errorf("answered %d times; unsettled: %t", one.len(), w.p.Unsettled())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.p.Settle(ctx)
		if w.p.HighWatermark() != 1 || ctx.Err() == nil {
			t.Errorf("during the flush: settled at %d, %v", w.p.HighWatermark(), ctx.Err())
		}
		done := make(chan kafka.Offset, 1)
		go func() {
			w.p.Settle(t.Context())
			done <- w.p.HighWatermark()
		}()
		synctest.Wait()
		if len(done) != 0 {
			t.Error("settled during the flush")
		}
		release()
		if got := <-done; got != 3 {
			t.Errorf("settled at %d, want 3", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := emptyWorld(t, nil)
		w.isr, w.replicas = []kafka.BrokerID{1, 2}, []kafka.BrokerID{1, 2}
		w.newDisk()
		w.open()
		defer w.close()
		var one answers
		w.p.Produce(plain(2), nil, 1, time.Minute, &one, 0)
		synctest.Wait()
		if one.len() != 1 || w.p.HighWatermark() != 0 || w.p.Unsettled() {
			t.Errorf("with a follower that has not fetched: %d answers, high watermark %d, unsettled %t", one.len(), w.p.HighWatermark(), w.p.Unsettled())
		}
		w.p.Settle(t.Context()) // or this would be for ever
	})
}

// Who waits for acks=all would not be told when its batch was flushed here: between the append and what a replica's delay adds.
func TestTracedFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := emptyWorld(t, nil)
		w.isr, w.replicas = []kafka.BrokerID{1, 2}, []kafka.BrokerID{1, 2}
		w.newDisk()
		w.open()
		defer w.close()
		var a answers
		begun := time.Now()
		release := w.hold()
		w.p.Produce(plain(2), nil, -1, time.Minute, &a, 0)
		time.Sleep(time.Second)
		release()
		synctest.Wait()
		w.p.Produce(plain(1), nil, -1, time.Minute, &a, 1)
		time.Sleep(time.Second)
		if a.len() != 0 {
			t.Fatal("answered before the replica has it")
		}
		for _, from := range []kafka.Offset{0, 3} {
			if _, err := w.p.ReplicaFetched(Replica{ID: 2, Epoch: 1}, w.p.LeaderEpoch(), Position{From: from, Last: min(w.p.LeaderEpoch(), kafka.LeaderEpoch(from)-1)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if a.len() != 2 {
			t.Fatalf("%d answers", a.len())
		}
		if got := a.by[0][0].Flushed.Sub(begun); got != time.Second {
			t.Errorf("the first was flushed after %s, want 1s", got)
		}
		if got := a.by[1][0].Flushed.Sub(begun); got != time.Second {
			t.Errorf("the second was flushed after %s, want 1s", got)
		}
	})
}

// Waiters would be answered in another order than that of their batches, or not exactly once each.
func TestWaitersAreAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.SegmentBytes = 16 << 20 })
		defer w.close()
		release := w.hold()
		var a answers
		const n = 3000 // more than the queue keeps before it gives its front back
		for i := range n {
			w.p.Produce(plain(1), nil, -1, time.Minute, &a, i)
		}
		release()
		synctest.Wait()
		if len(a.order) != n || !slices.IsSorted(a.order) {
			t.Fatalf("%d answers, in order: %v", len(a.order), slices.IsSorted(a.order))
		}
		for i := range n {
			if r := a.by[i][0]; r.Err != nil || r.Base != kafka.Offset(i) {
				t.Fatalf("slot %d: %+v", i, r)
			}
		}
	})
}

// The queue would lose, repeat or reorder waiters when it gives its front back under a load that never lets it run empty.
func TestWaitersUnderSteadyLoad(t *testing.T) {
	var q waiters
	pushed, popped := 0, 0
	for round := range 5000 {
		for range 1 + round%3 {
			q.push(waiter{next: kafka.Offset(pushed), slot: pushed})
			pushed++
		}
		for pushed-popped > 700 {
			w, ok := q.pop(kafka.Offset(popped))
			if !ok || w.slot != popped {
				t.Fatalf("popped %d %v, want %d", w.slot, ok, popped)
			}
			popped++
		}
		if _, ok := q.pop(kafka.Offset(popped - 1)); ok {
			t.Fatal("a waiter was popped that the high watermark had not passed")
		}
	}
	if len(q.queue) > 4096 {
		t.Errorf("the queue holds %d entries for %d waiters", len(q.queue), pushed-popped)
	}
}

// A retry would be appended again, or be answered with another offset or before its original is durable: with the
// original in flight, flushed, read from the log after a reopening, or from the bucket's snapshot when the disk was lost.
func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.RemoteStorage, c.SegmentBytes = true, 1 })
		defer func() { w.close() }()
		w.must(plain(2), 0)
		w.must(from(9, 0, 0, 3), 2)
		w.must(from(9, 0, 0, 3), 2)
		w.set(func(c *config.Topic) { c.SegmentBytes = 1 << 20 }) // a roll would wait for the held disk
		release := w.hold()
		var a answers
		w.p.Produce(from(9, 0, 3, 2), nil, -1, time.Minute, &a, 0)
		w.p.Produce(from(9, 0, 3, 2), nil, -1, time.Minute, &a, 1)
		synctest.Wait()
		if a.len() != 0 {
			t.Error("the duplicate of a batch in flight was answered before the flush")
		}
		release()
		synctest.Wait()
		if a.by[0][0].Base != 5 || a.by[1][0].Base != 5 || a.by[1][0].Err != nil || w.p.LocalEnd() != 7 {
			t.Errorf("in flight: %+v, end %d", a.by, w.p.LocalEnd())
		}
		w.reopen()
		w.must(from(9, 0, 0, 3), 2)
		w.must(from(9, 0, 3, 2), 5)
		if end := w.p.LocalEnd(); end != 7 {
			t.Fatalf("the log ends at %d, want 7", end)
		}
		if err := w.p.Log().Local().Roll(); err != nil {
			t.Fatal(err)
		}
		w.archive.Poke(w.p.ID())
		synctest.Wait()
		if w.manifest.End() != 7 {
			t.Fatalf("the bucket ends at %d, want 7", w.manifest.End())
		}
		w.close()
		w.newDisk()
		w.open()
		if !w.rec.FromBucket {
			t.Error("the state did not come from the bucket")
		}
		w.must(from(9, 0, 3, 2), 5)
		w.must(from(9, 0, 5, 1), 7)
		if n := len(w.read(0)); n != 4 {
			t.Errorf("%d batches in the log, want 4", n)
		}
	})
}

// A gap in a producer's sequence or an old epoch of it would be appended.
func TestSequencesAndEpochsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(from(9, 1, 0, 3), 0)
		for _, c := range []struct {
			name string
			b    []byte
			want error
		}{
			{"gap", from(9, 1, 4, 1), ErrOutOfOrderSequence},
			{"back", from(9, 1, 1, 1), ErrOutOfOrderSequence},
			{"older epoch", from(9, 0, 3, 1), ErrProducerFenced},
			{"newer epoch not from zero", from(9, 2, 3, 1), ErrOutOfOrderSequence},
		} {
			if r := w.produce(c.b, -1); !errors.Is(r.Err, c.want) || r.Base != -1 {
				t.Errorf("%s: %v at %d", c.name, r.Err, r.Base)
			}
		}
		w.must(from(9, 1, 3, 1), 3)
		w.must(from(9, 2, 0, 1), 4)
		if ps := w.p.Producers(); len(ps) != 1 || ps[0].Epoch != 2 || ps[0].LastSequence != 0 {
			t.Errorf("producers %+v", ps)
		}
		if err := w.p.Tick(time.Now().Add(25 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		if ps := w.p.Producers(); len(ps) != 0 {
			t.Errorf("producers %+v after their expiry", ps)
		}
	})
}

// Something that no producer may send would be appended, or be refused for another reason than its own.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) {
			c.MaxMessageBytes, c.TimestampBefore, c.TimestampAfter = 2000, time.Hour, time.Minute
		})
		defer w.close()
		at := func(d time.Duration) []byte {
			var b batch.Builder
			b.Add(time.Now().UnixMilli(), nil, []byte("x"))
			b.Add(time.Now().Add(d).UnixMilli(), nil, []byte("y"))
			v, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		damage := func(i int, b []byte) []byte { b[i] ^= 1; return b }
		for _, c := range []struct {
			name string
			b    []byte
			want error
		}{
			{"nothing", nil, ErrInvalidRecord},
			{"crc", damage(70, plain(1)), ErrCorruptBatch},
			{"cut short", plain(1)[:80], ErrCorruptBatch},
			{"magic 1", func() []byte { b := plain(1); b[16] = 1; return b }(), ErrUnsupportedMagic},
			{"two batches", slices.Concat(plain(1), plain(1)), ErrInvalidRecord},
			{"too large", plain(100), ErrTooLarge},
			{"too old", at(-time.Hour - time.Millisecond), ErrInvalidTimestamp},
			{"too new", at(time.Minute + time.Millisecond), ErrInvalidTimestamp},
			{"transactional", build(1, func(b *batch.Builder) {
				b.Idempotent, b.ProducerID, b.Transactional = true, 4, true
			}), ErrTransactional},
			{"control", build(1, func(b *batch.Builder) { b.Control = true }), ErrInvalidRecord},
			{"negative sequence", from(4, 0, -2, 1), ErrInvalidRecord},
			{"an offset of its own", func() []byte { b := plain(1); b[7] = 9; return b }(), ErrInvalidRecord},
		} {
			for _, acks := range []Acks{-1, 1, 0} {
				r := w.produce(slices.Clone(c.b), acks)
				if !errors.Is(r.Err, c.want) || r.Base != -1 || r.LogAppendTime != -1 {
					t.Errorf("%s: %+v, want %v", c.name, r, c.want)
				}
				if strings.Count(r.Err.Error(), "batch is") > 1 {
					t.Errorf("%s says it twice: %v", c.name, r.Err)
				}
				if errors.Is(c.want, ErrInvalidTimestamp) && (len(r.RecordErrors) != 1 || r.RecordErrors[0].Index != 1) {
					t.Errorf("%s: record errors %+v, want one for record 1", c.name, r.RecordErrors)
				}
			}
		}
		if w.p.LocalEnd() != 0 || len(w.p.Producers()) != 0 {
			t.Error("something was appended, or remembered of its producer")
		}
		w.must(at(-time.Hour), 0)
		w.must(at(time.Minute), 2)
	})
}

// A topic with LogAppendTime would keep the producer's time, or answer another than it stamped, also to a retry.
func TestLogAppendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.LogAppendTime = true })
		defer w.close()
		b := from(3, 0, 0, 2)
		time.Sleep(time.Hour)
		now := time.Now().UnixMilli()
		if r := w.must(slices.Clone(b), 0); r.LogAppendTime != now {
			t.Errorf("answered %d, want %d", r.LogAppendTime, now)
		}
		time.Sleep(time.Hour)
		if r := w.must(b, 0); r.LogAppendTime != now {
			t.Errorf("answered %d to the retry, want %d", r.LogAppendTime, now)
		}
		v := w.read(0)[0]
		it := batch.Records(v)
		for r := range it.All {
			if r.Timestamp != now {
				t.Errorf("record %d has time %d, want %d", r.Offset, r.Timestamp, now)
			}
		}
		if !v.Attributes().LogAppendTime() || it.Err() != nil {
			t.Errorf("attributes %b, %v", v.Attributes(), it.Err())
		}
		w.set(func(c *config.Topic) { c.LogAppendTime = false })
		if r := w.must(plain(1), 2); r.LogAppendTime != -1 {
			t.Errorf("without LogAppendTime %d was answered", r.LogAppendTime)
		}
	})
}

// A batch would not get the codec that compression.type names, would not be readable under it, or would lose its producer.
func TestCompressionType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		names := []string{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"}
		at, sequence := kafka.Offset(0), int32(0)
		for _, name := range names {
			for sent := batch.None; sent <= batch.Zstd; sent++ {
				w.set(func(c *config.Topic) { c.Compression = name })
				b := build(5, func(b *batch.Builder) {
					b.Codec, b.Idempotent, b.ProducerID, b.BaseSequence = sent, true, 5, sequence
				})
				w.must(b, at)
				v := w.read(at)[0]
				want, ok := codecs[name]
				if !ok {
					want = sent
				}
				n, it := 0, batch.Records(v)
				for r := range it.All {
					if r.Offset != at+kafka.Offset(n) || len(r.Value) < 40 {
						t.Fatalf("%s: record %d: %d %q", name, n, r.Offset, r.Value)
					}
					n++
				}
				if v.Attributes().Codec() != want || n != 5 || it.Err() != nil || v.BaseSequence() != sequence || v.ProducerID() != 5 {
					t.Errorf("%s sent to %s: codec %d, %d records, %v", name, name, v.Attributes().Codec(), n, it.Err())
				}
				at, sequence = at+5, sequence+5
			}
		}
	})
}

// A small compressed batch could become one above max.message.bytes in a topic that has another codec.
func TestRecompressionStaysWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.MaxMessageBytes, c.Compression = 4000, "uncompressed" })
		defer w.close()
		b := build(200, func(b *batch.Builder) { b.Codec = batch.Gzip })
		if len(b) > 4000 {
			t.Fatalf("the batch has %d bytes: the test tests nothing", len(b))
		}
		if r := w.produce(slices.Clone(b), -1); !errors.Is(r.Err, ErrTooLarge) || w.p.LocalEnd() != 0 {
			t.Errorf("%+v, end %d", r, w.p.LocalEnd())
		}
		w.set(func(c *config.Topic) { c.Compression = "producer" })
		w.must(b, 0)
	})
}

// acks=all would be taken, or the high watermark move, with fewer in-sync replicas than min.insync.replicas; or it would
// stay when that is set low again.
func TestMinInsyncReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		w.p.Lead(Leadership{PartitionEpoch: 1, Replicas: []kafka.BrokerID{1, 2}, ISR: w.isr})
		w.set(func(c *config.Topic) { c.MinISR = 2 })
		if r := w.produce(plain(1), -1); !errors.Is(r.Err, ErrNotEnoughReplicas) || w.p.LocalEnd() != 1 {
			t.Errorf("%+v, end %d", r, w.p.LocalEnd())
		}
		if r := w.produce(plain(1), 1); r.Err != nil || r.Base != 1 {
			t.Errorf("acks=1: %+v", r)
		}
		if hw := w.p.HighWatermark(); hw != 1 {
			t.Errorf("high watermark %d, want 1", hw)
		}
		w.set(func(c *config.Topic) { c.MinISR = 1 })
		if hw := w.p.HighWatermark(); hw != 2 {
			t.Errorf("high watermark %d after the limit was lowered, want 2", hw)
		}
	})
}

// A partition with fewer replicas than min.insync.replicas could never be written to with acks=all.
func TestMinInsyncReplicasIsAtMostTheReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.MinISR = 2 })
		defer w.close()
		w.must(plain(1), 0)
		w.p.Lead(Leadership{PartitionEpoch: 1, Replicas: []kafka.BrokerID{1, 2}, ISR: w.isr})
		if r := w.produce(plain(1), -1); !errors.Is(r.Err, ErrNotEnoughReplicas) {
			t.Errorf("one of two in sync: %+v", r)
		}
	})
}

// A full disk would be another error than ErrNoSpace, would leave something behind, or would refuse producers for ever.
func TestNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(from(1, 0, 0, 1), 0)
		w.fs.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindWrite && strings.HasSuffix(op.Path, ".log") { // what is small, and the journal, have their room
				return &vfs.Partial{N: 10, Err: syscall.ENOSPC}
			}
			return nil
		})
		for _, acks := range []Acks{-1, 1} {
			if r := w.produce(from(1, 0, 1, 300), acks); !errors.Is(r.Err, ErrNoSpace) || r.Base != -1 {
				t.Errorf("acks %d: %+v", acks, r)
			}
		}
		w.fs.SetHook(nil)
		w.must(from(1, 0, 1, 300), 1)
		w.reopen()
		if n := len(w.read(0)); n != 2 {
			t.Errorf("%d batches, want 2", n)
		}
	})
}

// What acks=1 has acknowledged would be gone with the process, though the machine goes on.
func TestAcksOneSurvivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.must(plain(1), 0) // with the file's name
		gate := make(chan struct{})
		w.fs.SetHook(func(op vfs.Op) error { // neither the journal nor a flush is in time
			if op.Kind == vfs.KindSyncVol || op.Kind == vfs.KindWrite && strings.Contains(op.Path, "journal") {
				<-gate
			}
			return nil
		})
		if r := w.produce(plain(1), 1); r.Err != nil {
			t.Fatal(r.Err)
		}
		after := w.disk.CutNow(vfs.Cut{})
		w.fs.SetHook(nil)
		close(gate)
		w.close()
		w.disk, w.fs = after, vfs.NewFaulty(after)
		w.open()
		defer w.close()
		if n := len(w.read(0)); n != 2 {
			t.Errorf("%d batches, want 2", n)
		}
	})
}

// A disk that fails would be taken for a bad request, or be answered with success, and the broker would go on.
func TestStorageError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ended := 0
		w.fatal = func(error) { ended++ }
		w.fs.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.KindWrite {
				return syscall.EIO
			}
			return nil
		})
		if r := w.produce(plain(1000), -1); !errors.Is(r.Err, ErrStorage) { // too large to be written later
			t.Errorf("%+v", r)
		}
		if ended != 1 {
			t.Errorf("the broker was ended %d times", ended)
		}
		w.fs.SetHook(nil)
		w.archive.Remove(w.p.ID())
		if err := w.p.Close(); err == nil {
			t.Error("a log that was broken has closed cleanly")
		}
		w.end()
	})
}

// The archive would not hear that a segment was closed, or would before what it holds is durable.
func TestSealedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.SegmentBytes = 400 })
		defer w.close()
		w.must(plain(2), 0)
		if w.sealed != 0 {
			t.Fatal("told of a segment that is open")
		}
		w.must(plain(5), 2)
		w.must(plain(5), 7)
		if w.sealed == 0 {
			t.Error("a segment was closed, and nobody told")
		}
	})
}

// The archive would be told of a segment before it can be uploaded, look, find nothing to do, and not be told again: it would stay out of the bucket
// until the next look that nobody asks for, minutes later.
func TestSealedIsToldOfWhenItCanBeUploaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.SegmentBytes = 400 })
		defer w.close()
		both := []kafka.BrokerID{1, 2}
		w.p.Lead(Leadership{Epoch: 1, Replicas: both, ISR: both})
		var late answers
		fetched := func(from kafka.Offset) {
			t.Helper()
			if _, err := w.p.ReplicaFetched(Replica{ID: 2, Epoch: 1}, 1, Position{From: from, Last: 1}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for range 6 {
			w.p.Produce(plain(5), nil, -1, time.Minute, &late, 0)
		}
		synctest.Wait()
		segments := w.p.Log().Local().Segments()
		if len(segments) < 3 || segments[1].Next >= 30 {
			t.Fatalf("segments: %+v", segments)
		}
		for i, s := range segments[:2] {
			if before := w.sealed; s.Next-5 > s.Base {
				if fetched(s.Next - 5); w.sealed != before {
					t.Errorf("told of segment %d while the high watermark is at %d of its %d", i, w.p.HighWatermark(), s.Next)
				}
			}
			before := w.sealed
			if fetched(s.Next + 5); w.sealed == before {
				t.Errorf("not told of segment %d, which ends at %d, at %d", i, s.Next, w.p.HighWatermark())
			}
		}
	})
}

// The ends of segments that were cut away would be waited for, or one of several be forgotten.
func TestRolls(t *testing.T) {
	var r rolls
	for _, end := range []kafka.Offset{10, 20, 30} {
		r.add(end)
	}
	if r.passed(9) || !r.passed(20) || r.passed(20) || r.passed(29) {
		t.Error("of 10, 20 and 30, two end at 20 or below")
	}
	r.add(25) // cut, and grown again
	if r.passed(24) || !r.passed(25) || r.passed(30) {
		t.Error("30 was cut away")
	}
}

// Of a partition whose newest segment is damaged nothing could be read any more, where no other broker has it; or records be appended without its
// knowing its producers; or what an undecided transaction wrote be shown as if it were committed.
func TestOnlyReplicaIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.SegmentBytes = 400 })
		for at := range kafka.Offset(6) {
			w.must(plain(5), 5*at)
		}
		if err := w.p.Log().Hot().Written(); err != nil {
			t.Fatal(err)
		}
		segments, end := w.p.Log().Local().Segments(), w.p.LocalEnd()
		newest := segments[len(segments)-1]
		path := filepath.Join(hot.Dir(w.dir, w.p.ID()), fmt.Sprintf("%020d.log", newest.Base))
		w.close()
		f, err := w.fs.OpenRW(path)
		if err == nil {
			err = errors.Join(f.Truncate(10), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		w.only = true
		w.open()
		defer w.close()
		if w.p.Damage() == nil || w.p.LocalEnd() != end {
			t.Fatalf("it ends at %d, %v", w.p.LocalEnd(), w.p.Damage())
		}
		for at := kafka.Offset(0); at < newest.Base; {
			r, err := w.p.Read(ReadRequest{From: at, CurrentEpoch: kafka.NoEpoch, LastFetchedEpoch: kafka.NoEpoch, MaxBytes: 1 << 20})
			if err != nil || r.Run.N == 0 {
				t.Fatalf("read at %d of %d: %d bytes, %v", at, newest.Base, r.Run.N, err)
			}
			at += 5
			r.Run.Release()
		}
		if r := w.produce(plain(1), -1); r.Err == nil {
			t.Error("a damaged partition took a record")
		}
		if err := w.p.Tick(time.Now()); err != nil {
			t.Errorf("tick: %v", err)
		}
	})
}

// A round of answers that began in one leadership would go on into the next, and acknowledge what that has just appended at
// offsets that the round's high watermark had passed: of records that were cut away since.
func TestAnswersEndWithTheirLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(plain(1), 0)
		both := []kafka.BrokerID{1, 2}
		lead := func(epoch kafka.LeaderEpoch) { w.p.Lead(Leadership{Epoch: epoch, Replicas: both, ISR: both}) }
		lead(1)
		var late answers
		between := waiterFunc(func(r Produced) { // the partition is led by another broker and comes back, all within this answer
			w.p.Follow(2, 2)
			at, _ := w.p.Position()
			if err := w.p.Truncate(2, at, EpochEnd{Epoch: 0, End: 1}); err != nil {
				t.Fatal(err)
			}
			lead(3)
			w.p.Produce(plain(1), nil, -1, time.Minute, &late, 0)
		})
		w.p.Produce(plain(1), nil, -1, time.Minute, between, 0)
		synctest.Wait() // flushed here, and waiting for the other replica
		if _, err := w.p.ReplicaFetched(Replica{ID: 2, Epoch: 1}, 1, Position{From: 2, Last: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if late.len() != 0 {
			t.Errorf("what the other replica does not have was answered with %+v", late.by[0])
		}
		if _, err := w.p.ReplicaFetched(Replica{ID: 2, Epoch: 1}, 3, Position{From: 2, Last: 3}); err != nil {
			t.Fatal(err)
		}
		if late.len() != 1 || late.by[0][0].Err != nil || late.by[0][0].Base != 1 {
			t.Errorf("when it has it: %+v", late.by)
		}
	})
}

// A follower whose disk does not give the log for a moment, just when it was cut, would take no records any more; or it would take
// them with the producers' state of before, and, as leader, answer a retry of what was cut away as a duplicate of it.
func TestProducersAfterACutThatCouldNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(from(7, 0, 0, 1), 0)
		w.must(from(7, 0, 1, 1), 1)
		w.p.Follow(2, 1)
		at, _ := w.p.Position()
		cut := false
		w.fs.SetHook(func(op vfs.Op) error {
			cut = cut || op.Kind == vfs.KindTruncate
			if cut && op.Kind == vfs.KindRead {
				return syscall.EIO
			}
			return nil
		})
		if err := w.p.Truncate(1, at, EpochEnd{Epoch: 0, End: 1}); !errors.Is(err, ErrStorage) {
			t.Fatalf("cut with a disk that does not answer: %v", err)
		}
		w.lead(2)
		if r := w.produce(from(7, 0, 1, 1), -1); !errors.Is(r.Err, ErrStorage) {
			t.Errorf("a retry before the producers' state is the log's: %+v", r)
		}
		if err := w.p.Tick(time.Now()); !errors.Is(err, ErrStorage) {
			t.Errorf("the disk still does not answer: %v", err)
		}
		w.fs.SetHook(nil)
		if err := w.p.Tick(time.Now()); err != nil {
			t.Fatal(err)
		}
		w.must(from(7, 0, 1, 1), 1)
		if r := w.produce(from(7, 0, 0, 1), -1); r.Err != nil || r.Base != 0 {
			t.Errorf("a retry of what has stayed: %+v", r)
		}
		if n := len(w.read(0)); n != 2 {
			t.Errorf("%d batches, want 2", n)
		}
	})
}

// A flush that ends between the two steps of a cut would have the high watermark go up again, beyond what the log then holds.
func TestLoweredHighWatermarkStaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		for i := range kafka.Offset(5) {
			w.must(plain(1), i)
		}
		w.p.Follow(2, 1)
		at, _ := w.p.Position()
		if _, err := w.p.AppendFetched(Fetched{Epoch: 1, At: at, HighWatermark: 5}); err != nil {
			t.Fatal(err)
		}
		w.p.lower(3)
		w.p.flushed(5)
		if hw := w.p.HighWatermark(); hw != 3 {
			t.Errorf("the high watermark is %d before the log is cut to 3", hw)
		}
	})
}

// waiterFunc is a Waiter of one slot.
type waiterFunc func(Produced)

func (f waiterFunc) Produced(_ int, r Produced) { f(r) }
