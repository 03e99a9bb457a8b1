package segment

import (
	"fmt"
	"sort"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Verify checks p, whole batches that were read from position at of the
// object's data, where at is an index entry's position and p ends at another's
// or at the data's end. It checks each batch's frame and CRC, and what the CRC
// does not cover: that offsets run from one index entry to the next without a
// gap (unless compacted), and that leader epochs are the log's. It allocates
// nothing unless it fails, with an error that wraps ErrCorrupt.
func (f *Footer) Verify(p []byte, at int64) error {
	i := sort.Search(len(f.Index), func(i int) bool { return f.Index[i].Pos >= at })
	if i == len(f.Index) || f.Index[i].Pos != at {
		return corruptf("position %d begins no index entry", at)
	}
	expect := f.Index[i].Offset
	epochs := epochWalk{epochs: f.Epochs, uploader: f.Epoch}
	for len(p) > 0 {
		if i < len(f.Index) && f.Index[i].Pos <= at {
			if f.Index[i].Pos != at || f.Index[i].Offset < expect {
				return corruptf("batch at %d: index entry %d lies elsewhere", at, i)
			}
			expect = f.Index[i].Offset
			i++
		}
		v, rest, err := batch.Next(p)
		if err != nil {
			return corruptf("batch at %d: %v", at, err)
		}
		if err := v.CheckCRC(); err != nil {
			return corruptf("batch at %d: %v", at, err)
		}
		if v.BaseOffset() < expect || v.BaseOffset() > expect && !f.Compacted || v.LastOffsetDelta() < 0 {
			return corruptf("batch at %d: offset %d where %d is expected", at, v.BaseOffset(), expect)
		}
		if err := epochs.check(v); err != nil {
			return fmt.Errorf("batch at %d: %w", at, err)
		}
		expect = v.NextOffset()
		at += int64(len(v))
		p = rest
	}
	end, border := f.Next, f.DataSize
	if i < len(f.Index) {
		end, border = f.Index[i].Offset, f.Index[i].Pos
	}
	if at != border || expect > end || expect < end && !f.Compacted {
		return corruptf("batches end at %d with offset %d, expected are %d and %d", at, expect, border, end)
	}
	return nil
}

// epochWalk compares the epochs of batches, in offset order, with the log's.
type epochWalk struct {
	epochs   []EpochStart
	uploader kafka.LeaderEpoch
	i        int // epochs[:i] have started at or before the last batch
}

func (w *epochWalk) check(v batch.View) error {
	if w.i == 0 {
		w.i = sort.Search(len(w.epochs), func(i int) bool { return w.epochs[i].Start > v.BaseOffset() })
	}
	for w.i < len(w.epochs) && w.epochs[w.i].Start <= v.BaseOffset() {
		w.i++
	}
	if w.i == 0 { // the history does not reach back so far
		if v.LeaderEpoch() > w.uploader {
			return corruptf("leader epoch %d was uploaded under %d", v.LeaderEpoch(), w.uploader)
		}
		return nil
	}
	if want := w.epochs[w.i-1].Epoch; v.LeaderEpoch() != want {
		return corruptf("leader epoch %d where %d is expected", v.LeaderEpoch(), want)
	}
	return nil
}
