package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/producer"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/compact"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

func keyed(t *testing.T, keys ...string) []byte {
	var b batch.Builder
	for _, k := range keys {
		var key []byte
		if k != "" {
			key = []byte(k)
		}
		b.Add(1, key, []byte("value"))
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// False if it failed: "a compacted topic takes no record without a key, says which of the batch have none, and appends none of it".
func TestCompactedTopicWantsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.Compact = true })
		defer w.close()
		r := w.produce(keyed(t, "a", "", "b", ""), -1)
		if !errors.Is(r.Err, ErrInvalidRecord) || len(r.RecordErrors) != 2 || r.RecordErrors[0].Index != 1 || r.RecordErrors[1].Index != 3 {
			t.Errorf("%+v", r)
		}
		w.must(keyed(t, "a", "b"), 0)
		if w.p.Compactable().Policy() == nil {
			t.Error("it is not compacted")
		}
		w.set(func(c *config.Topic) { c.Compact = false })
		w.must(keyed(t, ""), 2)
		if w.p.Compactable().Policy() != nil {
			t.Error("it is compacted")
		}
	})
}

// False if it failed: "a follower that has fetched a part of what its leader has compacted since goes on behind it".
func TestFollowerTakesTheRestOfAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.must(keyed(t, "a", "b"), 0)
		w.p.Follow(2, 7)
		at, _ := w.p.Position()
		next := batch.View(keyed(t, "c"))
		next.Stamp(10, 5)
		if grew, err := w.p.AppendFetched(Fetched{Epoch: 7, At: at, Records: slices.Concat(batch.Gap(nil, 0, 10, 5), next)}); !grew || err != nil {
			t.Fatal(grew, err)
		}
		if w.p.LocalEnd() != 11 {
			t.Errorf("the log ends at %d", w.p.LocalEnd())
		}
		if err := w.flusher.Flush(); err != nil {
			t.Fatal(err)
		}
	})
}

// False if it failed: "of a producer's batches the newest is the one that compaction has to keep".
func TestLastBatchOfAProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		for i := range 3 {
			w.must(from(4, 0, int32(2*i), 2), kafka.Offset(2*i))
		}
		c := w.p.Compactable()
		for i := range 3 {
			v := batch.View(from(4, 0, int32(2*i), 2))
			v.Stamp(kafka.Offset(2*i), 0)
			if got := c.LastOfProducer(v); got != (i == 2) {
				t.Errorf("batch %d is the last: %v", i, got)
			}
		}
	})
}

// False if it failed: "a read_committed reader of a compacted topic sees the last committed record of each key and no aborted one, before and
// after the transactions' markers have been compacted away, and after everything about them was learnt anew from what is left".
func TestTransactionsAreCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) {
			c.Compact, c.SegmentBytes, c.MaxCompactionLag, c.DeleteRetention = true, 1000, math.MaxInt64, time.Minute
		})
		defer w.close()
		rng := rand.New(rand.NewPCG(1, 2))
		want := map[string]string{}
		sequence := int32(0)
		for epoch := range kafka.ProducerEpoch(120) {
			commit, sequence0 := rng.IntN(2) > 0, sequence
			pairs := map[string]string{}
			for range 1 + rng.IntN(3) {
				key, value := fmt.Sprint("key ", rng.IntN(5)), fmt.Sprintf("value %d of epoch %d", sequence, epoch)
				r := w.within(verified, keyedOf(t, 4, epoch, sequence-sequence0, key, value))
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				pairs[key] = value
				sequence++
			}
			if r := w.mark(ended(4, epoch, commit)); r.Err != nil {
				t.Fatal(r.Err)
			}
			if commit {
				maps.Copy(want, pairs)
			}
			checkCommitted(t, w, want)
			if epoch%40 == 39 {
				// One that is undecided while its neighbours are compacted, and aborted then.
				if r := w.within(verified, keyedOf(t, 5, epoch, 0, "key 0", "undecided")); r.Err != nil {
					t.Fatal(r.Err)
				}
				w.must(keyed(t, "beside"), w.p.LocalEnd())
				w.compact(t)
				if r := w.mark(ended(5, epoch, false)); r.Err != nil {
					t.Fatal(r.Err)
				}
				want["beside"] = "value"
				for range 3 { // the markers go a pass and a minute later than what they speak of
					w.compact(t)
					checkCommitted(t, w, want)
					time.Sleep(2 * time.Minute)
					w.must(keyed(t, "filler", "filler", "filler"), w.p.LocalEnd())
					want["filler"] = "value"
				}
				if epoch > 80 {
					w.reopen()
					checkCommitted(t, w, want)
				}
			}
		}
		batches := 0
		if err := w.p.Log().Replay(0, func(batch.View) error { batches++; return nil }); err != nil || batches > 80 {
			t.Errorf("%d batches are left of some 400, %v", batches, err)
		}
	})
}

func keyedOf(t *testing.T, id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32, key, value string) []byte {
	t.Helper()
	b := batch.Builder{Idempotent: true, Transactional: true, ProducerID: id, ProducerEpoch: epoch, BaseSequence: sequence}
	b.Add(1, []byte(key), []byte(value))
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// compact runs the cleaner until it has nothing to do.
func (w *world) compact(t *testing.T) {
	t.Helper()
	if err := w.p.Log().Local().Roll(); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	c := compact.New(func(yield func(compact.Log)) { yield(w.p.Compactable()) },
		func() compact.Config { return compact.Config{MapBytes: 1 << 20, Backoff: time.Second} }, time.Now, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Run(ctx); err != nil || c.Stats().Failed > 0 || c.Stats().Passes == 0 {
		t.Fatalf("%v, %+v", err, c.Stats())
	}
}

// checkCommitted reads all that a read_committed client is shown.
func checkCommitted(t *testing.T, w *world, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for from := kafka.Offset(0); ; {
		res, err := w.p.Read(ReadRequest{From: from, CurrentEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 700, Committed: true})
		if err != nil {
			t.Fatal(err)
		}
		if res.Run.Len() == 0 {
			break
		}
		list, aborted := res.Aborted, map[kafka.ProducerID]bool{}
		for rest := bytesOf(t, res.Run); len(rest) > 0; {
			v, next, err := batch.Next(rest)
			if err != nil {
				break
			}
			rest, from = next, v.NextOffset()
			for len(list) > 0 && list[0].First <= v.LastOffset() {
				aborted[list[0].Producer] = true
				list = list[1:]
			}
			if m, ok, _ := v.Marker(); ok {
				if !m.Commit {
					delete(aborted, v.ProducerID())
				}
				continue
			}
			if v.Attributes().Transactional() && aborted[v.ProducerID()] {
				continue
			}
			it := batch.Records(v)
			for r := range it.All {
				got[string(r.Key)] = string(r.Value)
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("a reader ends with %v, committed was %v", got, want)
	}
	if w.p.LastStable() != w.p.HighWatermark() {
		t.Fatalf("last stable offset %d, high watermark %d", w.p.LastStable(), w.p.HighWatermark())
	}
	// A replica that copies the log knows nothing else.
	anew := producer.New()
	if err := w.p.Log().Replay(0, func(v batch.View) error { anew.Append(v, 0); return nil }); err != nil {
		t.Fatal(err)
	}
	anew.Open(func(id kafka.ProducerID, first kafka.Offset) {
		t.Fatalf("the log speaks of an open transaction at %d", first)
	})
	if err := w.p.Log().Replay(0, func(v batch.View) error {
		if at := v.BaseOffset(); v.RecordCount() > 0 && v.Attributes().Transactional() && !v.Attributes().Control() &&
			producer.IsAborted(anew.Aborted(), v.ProducerID(), at) != producer.IsAborted(w.p.producers.Aborted(), v.ProducerID(), at) {
			return fmt.Errorf("who learns from the log takes the batch at %d for what it is not", at)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
