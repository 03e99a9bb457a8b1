package partition

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/qanat-io/qanat/metadata/config"
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

// False if it failed: "a compacted topic takes no record without a key, says which of the batch has none, and appends none of it".
func TestCompactedTopicWantsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *config.Topic) { c.Compact = true })
		defer w.close()
		r := w.produce(keyed(t, "a", "b", ""), -1)
		if !errors.Is(r.Err, ErrInvalidRecord) || len(r.RecordErrors) != 1 || r.RecordErrors[0].Index != 2 {
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
