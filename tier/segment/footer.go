package segment

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrCorrupt says that bytes are not a segment, or are no longer the one that
// was written. It is wrapped with where and why.
var ErrCorrupt = errors.New("segment is corrupt")

// ErrVersion says that an object has a major format version that this program
// does not know. Its bytes may be perfectly well: a newer Qanat reads them.
var ErrVersion = errors.New("segment has an unknown format version")

// ChunkSize is the unit of checksums in an object: data byte i is covered by
// Chunks[i/ChunkSize].
const ChunkSize = 1 << 20

// IndexInterval is the distance in bytes between index entries, at least.
const IndexInterval = 64 << 10

// NoTimestamp is the timestamp of a segment without records (Kafka's NO_TIMESTAMP).
const NoTimestamp int64 = -1

// BeforeAll is the MaxTimestamp of a segment's first index entry: no batch
// comes before it, so every timestamp is above it.
const BeforeAll int64 = math.MinInt64

// EpochStart says that epoch's first batch is at Start.
type EpochStart struct {
	Epoch kafka.LeaderEpoch
	Start kafka.Offset
}

// IndexEntry places a batch: the one that begins at Pos begins with offset
// Offset, and no batch before it in the segment has a timestamp above MaxTimestamp.
// (MaxTimestamp is the running maximum up to, not including, this batch;
// BeforeAll in the first entry.)
type IndexEntry struct {
	Offset       kafka.Offset
	Pos          int64
	MaxTimestamp int64 // milliseconds
}

// AbortedTxn is an aborted transaction: KIP-98's index entry.
type AbortedTxn struct {
	Producer                kafka.ProducerID
	First, Last, LastStable kafka.Offset
}

// Footer is what an object says of itself behind its batches. A Footer that
// was read or scanned is not changed afterwards and may be shared.
type Footer struct {
	Cluster                    string
	Topic                      string // the name at the time of upload, for people and for recovery
	Partition                  kafka.Partition
	Base                       kafka.Offset
	Next                       kafka.Offset
	Epoch                      kafka.LeaderEpoch // the uploader's
	DataSize                   int64             // bytes of batches; also where the trailer begins
	MinTimestamp, MaxTimestamp int64             // milliseconds; Min is the least of the batches' first records
	Records                    int64
	Compacted                  bool         // offsets may be missing, between batches and inside them
	Chunks                     []uint32     // CRC32C of each ChunkSize bytes of data
	Index                      []IndexEntry // by offset; the first is the first batch
	Epochs                     []EpochStart // the log's epochs up to Next, oldest first
	Aborted                    []AbortedTxn // overlapping the segment, by first offset
	State                      []byte       // opaque to the tier: producer state as of Next
}

// Locate returns where to begin reading for offset: the last index entry at or
// below it, or the first entry when offset is below all of them. The zero entry
// when the segment holds no batch.
func (f *Footer) Locate(offset kafka.Offset) IndexEntry { return Floor(f.Index, offset) }

// LocateTime returns where to begin looking for the first record at or after
// ts: the last entry before which every timestamp is below ts.
func (f *Footer) LocateTime(ts int64) IndexEntry { return FloorTime(f.Index, ts) }

// Floor is Locate on entries alone, as kept by tier/index and the active segment.
func Floor(entries []IndexEntry, offset kafka.Offset) IndexEntry {
	return before(entries, func(e IndexEntry) bool { return e.Offset > offset })
}

// FloorTime is LocateTime on entries alone.
func FloorTime(entries []IndexEntry, ts int64) IndexEntry {
	return before(entries, func(e IndexEntry) bool { return e.MaxTimestamp >= ts })
}

// before returns the last entry that is not beyond, or the first of all.
func before(entries []IndexEntry, beyond func(IndexEntry) bool) IndexEntry {
	if len(entries) == 0 {
		return IndexEntry{}
	}
	i := sort.Search(len(entries), func(i int) bool { return beyond(entries[i]) })
	return entries[max(i-1, 0)]
}

// SetHistory puts the log's epochs from before this data in front of those that
// Scan found in it. What history says of offsets that the data has is left
// aside: the data's own batches decide, as readers compare each with Epochs.
func (f *Footer) SetHistory(history []EpochStart) {
	own := f.Epochs
	n := 0
	for n < len(history) && history[n].Start <= f.Base && (len(own) == 0 || history[n].Epoch < own[0].Epoch) {
		n++
	}
	if n < len(history) && len(own) > 0 && history[n].Epoch == own[0].Epoch && history[n].Start <= own[0].Start {
		// The data's first epoch began before it.
		own = append([]EpochStart{history[n]}, own[1:]...)
	}
	f.Epochs = append(history[:n:n], own...)
}

// Check tells whether the facts agree with each other. What Append writes must
// pass it, and what ReadFooter returns has. The error wraps ErrCorrupt.
func (f *Footer) Check() error {
	switch {
	case f.Base < 0 || f.Next < f.Base:
		return corruptf("offsets [%d, %d)", f.Base, f.Next)
	case f.DataSize < 0 || f.Records < 0:
		return corruptf("%d bytes of data with %d records", f.DataSize, f.Records)
	case (f.DataSize == 0) != (len(f.Index) == 0):
		return corruptf("%d bytes of data with %d index entries", f.DataSize, len(f.Index))
	case len(f.Cluster) > math.MaxUint16 || len(f.Topic) > math.MaxUint16:
		return corruptf("name of %d bytes", max(len(f.Cluster), len(f.Topic)))
	case int64(len(f.Chunks)) != chunksOf(f.DataSize):
		return corruptf("%d chunk checksums for %d bytes of data", len(f.Chunks), f.DataSize)
	}
	if err := f.checkIndex(); err != nil {
		return err
	}
	for i, e := range f.Epochs {
		if e.Epoch < 0 || e.Start < 0 || e.Start > f.Next {
			return corruptf("epoch %d starts at %d, log ends at %d", e.Epoch, e.Start, f.Next)
		}
		if i > 0 && (e.Epoch <= f.Epochs[i-1].Epoch || e.Start < f.Epochs[i-1].Start) {
			return corruptf("epoch %d at %d follows epoch %d at %d", e.Epoch, e.Start, f.Epochs[i-1].Epoch, f.Epochs[i-1].Start)
		}
	}
	for i, a := range f.Aborted {
		if a.Producer < 0 || a.First < 0 || a.Last < a.First {
			return corruptf("aborted transaction of producer %d over [%d, %d]", a.Producer, a.First, a.Last)
		}
		if i > 0 && a.First < f.Aborted[i-1].First {
			return corruptf("aborted transactions out of order at offset %d", a.First)
		}
	}
	return nil
}

func (f *Footer) checkIndex() error {
	for i, e := range f.Index {
		if i == 0 {
			if e.Pos != 0 || e.MaxTimestamp != BeforeAll || e.Offset < f.Base || e.Offset >= f.Next {
				return corruptf("index begins with offset %d at %d", e.Offset, e.Pos)
			}
			continue
		}
		last := f.Index[i-1]
		if e.Offset <= last.Offset || e.Pos <= last.Pos || e.MaxTimestamp < last.MaxTimestamp {
			return corruptf("index entry %d does not follow its predecessor", i)
		}
		if e.Offset >= f.Next || e.Pos >= f.DataSize {
			return corruptf("index entry %d lies outside the segment", i)
		}
	}
	return nil
}

// chunksOf is how many chunk checksums cover size bytes.
func chunksOf(size int64) int64 {
	n := size / ChunkSize
	if size%ChunkSize != 0 {
		n++
	}
	return n
}

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
