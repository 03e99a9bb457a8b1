package index

import (
	"log/slog"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Index is safe for concurrent use.
type Index struct{}

// Open opens or creates the index in dir; an index that does not open is removed and made anew (logged).
func Open(dir string, log *slog.Logger) (*Index, error) { panic("skeleton") }

// Put keeps the entries of a closed segment. Asynchronous and bounded: it may drop (the segment is rescanned on Lookup's miss).
func (x *Index) Put(p kafka.Partition, base kafka.Offset, entries []segment.IndexEntry) {
	panic("skeleton")
}

// Lookup returns the last entry of the segment at or below offset; ok is false when the index does not know the segment.
func (x *Index) Lookup(p kafka.Partition, base, offset kafka.Offset) (e segment.IndexEntry, ok bool) {
	panic("skeleton")
}

// LookupTime returns the last entry of the segment whose running MaxTimestamp is below ts: a scan from there finds the first record at or after ts.
func (x *Index) LookupTime(p kafka.Partition, base kafka.Offset, ts int64) (e segment.IndexEntry, ok bool) {
	panic("skeleton")
}

// Drop forgets a segment; DropPartition all of a partition's.
func (x *Index) Drop(p kafka.Partition, base kafka.Offset) { panic("skeleton") }
func (x *Index) DropPartition(p kafka.Partition)           { panic("skeleton") }

func (x *Index) Close() error { panic("skeleton") }
