package segment

import (
	"io"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// EpochStart says that epoch's first batch is at Start.
type EpochStart struct {
	Epoch kafka.LeaderEpoch
	Start kafka.Offset
}

// IndexEntry places a batch: the one that begins at Pos begins with offset
// Offset, and no batch before it in the segment has a timestamp above MaxTimestamp.
// (MaxTimestamp is the running maximum up to, not including, this batch.)
type IndexEntry struct {
	Offset       kafka.Offset
	Pos          int64
	MaxTimestamp int64
}

// IndexInterval is the distance in bytes between index entries, at least.
const IndexInterval = 64 << 10

// Footer is what an object says of itself behind its batches.
type Footer struct {
	Cluster                    string
	Topic                      string // the name at the time of upload, for people and for recovery
	Partition                  kafka.Partition
	Base                       kafka.Offset
	Next                       kafka.Offset
	Epoch                      kafka.LeaderEpoch // the uploader's
	DataSize                   int64
	MinTimestamp, MaxTimestamp int64
	Records                    int64
	Chunks                     []uint32 // CRC32C of each ChunkSize bytes of data
	Index                      []IndexEntry
	Epochs                     []EpochStart // the log's epochs up to Next, oldest first
	Aborted                    []AbortedTxn // overlapping the segment, by first offset
	State                      []byte       // opaque to the tier: producer state as of Next
}

// ChunkSize is the unit of checksums in an object.
const ChunkSize = 1 << 20

// AbortedTxn is an aborted transaction: KIP-98's index entry.
type AbortedTxn struct {
	Producer                kafka.ProducerID
	First, Last, LastStable kafka.Offset
}

// Scan walks the batches of r[0:size), verifies each (header, CRC, offset
// order, epochs not decreasing) and returns the footer's facts that the data
// itself tells: Base, Next, DataSize, timestamps, Records, Chunks, Index, and Epochs (those in this data only).
func Scan(r io.ReaderAt, size int64) (Footer, error) { panic("skeleton") }

// Append encodes the trailer (all sections and the fixed footer) behind dst. The object is data followed by it.
func (f *Footer) Append(dst []byte) []byte { panic("skeleton") }

// ReadFooter reads the trailer of an object of the given size with at most two reads; tail is how many bytes to ask for first.
func ReadFooter(r io.ReaderAt, size int64) (*Footer, error) { panic("skeleton") }

// Locate returns the range of positions to read for a read that starts at offset: the floor index entry.
func (f *Footer) Locate(offset kafka.Offset) IndexEntry { panic("skeleton") }

// Search walks batches in p (which begins on a batch) to the one that holds offset and returns its position in p.
func Search(p []byte, offset kafka.Offset) (pos int, ok bool) { panic("skeleton") }

var _ batch.View
