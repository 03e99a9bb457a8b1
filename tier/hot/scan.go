package hot

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// errBadBatch says that the bytes at a border are not the batch that must be there.
var errBadBatch = errors.New("not the batch that belongs here")

// errNoEntry says that an index entry should have been found before.
var errNoEntry = errors.New("index has a hole")

// checkHeader checks that v, a header at at with room bytes to the end of the segment, begins the batch that must be there.
func checkHeader(v batch.View, at border, room int64) error {
	switch {
	case v.Magic() != 2:
		return fmt.Errorf("%w: magic %d at position %d", errBadBatch, v.Magic(), at.pos)
	case v.BaseOffset() != at.offset:
		return fmt.Errorf("%w: offset %d at position %d, want %d", errBadBatch, v.BaseOffset(), at.pos, at.offset)
	case v.Size() < batch.HeaderLen || int64(v.Size()) > room:
		return fmt.Errorf("%w: %d bytes at position %d, where %d are left", errBadBatch, v.Size(), at.pos, room)
	case v.LastOffsetDelta() < 0:
		return fmt.Errorf("%w: last offset delta %d at position %d", errBadBatch, v.LastOffsetDelta(), at.pos)
	}
	return nil
}

const (
	lookupBuffer = 4 << 10  // for walks of one index interval
	scanBuffer   = 64 << 10 // for walks of whole segments
	verifyBuffer = 1 << 20
)

type buffer struct{ b []byte }

var (
	lookupBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, lookupBuffer)} }}
	scanBuffers   = sync.Pool{New: func() any { return &buffer{make([]byte, scanBuffer)} }}
	verifyBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, verifyBuffer)} }}
)

// walk visits the headers of the batches from from up to position end, reading little more than them. visit gets a view of
// HeaderLen bytes, valid during the call, and says whether to go on. walk returns the border where it stopped:
// before the batch that visit refused, or at the end. Errors wrap errBadBatch, or come from r or visit.
func walk(r io.ReaderAt, from border, end int64, buf *buffer, visit func(v batch.View, at border) (bool, error)) (border, error) {
	at := from
	var have []byte // bytes of the file from position `begins`
	begins := int64(0)
	for at.pos < end {
		if room := end - at.pos; room < batch.HeaderLen {
			return at, fmt.Errorf("%w: %d bytes at position %d", errBadBatch, room, at.pos)
		}
		if at.pos+batch.HeaderLen > begins+int64(len(have)) {
			have, begins = buf.b[:min(int64(len(buf.b)), end-at.pos)], at.pos
			if err := readFull(r, have, at.pos); err != nil {
				return at, shortIsBad(err, at)
			}
		}
		v := batch.View(have[at.pos-begins:][:batch.HeaderLen])
		if err := checkHeader(v, at, end-at.pos); err != nil {
			return at, err
		}
		more, err := visit(v, at)
		if err != nil || !more {
			return at, err
		}
		at = border{v.NextOffset(), at.pos + int64(v.Size())}
	}
	return at, nil
}

// shortIsBad makes the early end of a file a bad batch; other errors are the disk's.
func shortIsBad(err error, at border) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: file ends at position %d or soon after", errBadBatch, at.pos)
	}
	return err
}

// verify reads whole batches from from up to position end and checks frame, order and CRC of each. It returns the
// border after the last good one; err wraps errBadBatch when the next is bad, by itself or by visit's judgement, or is the disk's.
func verify(r io.ReaderAt, from border, end int64, visit func(v batch.View, at border) error) (border, error) {
	pooled := verifyBuffers.Get().(*buffer)
	defer verifyBuffers.Put(pooled)
	buf := pooled.b
	at := from
	have, begins := buf[:0], from.pos
	fill := func(n int64) error { // makes at least n bytes from at available
		if at.pos+n <= begins+int64(len(have)) {
			return nil
		}
		if n > int64(len(buf)) {
			buf = make([]byte, n) // at most what the file holds, and only for batches beyond 1 MiB
		}
		have, begins = buf[:min(int64(len(buf)), end-at.pos)], at.pos
		return shortIsBadOrNil(readFull(r, have, at.pos), at)
	}
	for at.pos < end {
		if room := end - at.pos; room < batch.HeaderLen {
			return at, fmt.Errorf("%w: %d bytes at position %d", errBadBatch, room, at.pos)
		}
		if err := fill(batch.HeaderLen); err != nil {
			return at, err
		}
		v := batch.View(have[at.pos-begins:])
		if err := checkHeader(v, at, end-at.pos); err != nil {
			return at, err
		}
		size := int64(v.Size())
		if err := fill(size); err != nil {
			return at, err
		}
		v = batch.View(have[at.pos-begins:][:size])
		if err := v.CheckCRC(); err != nil {
			return at, fmt.Errorf("%w: at position %d: %w", errBadBatch, at.pos, err)
		}
		if err := visit(v, at); err != nil {
			return at, err
		}
		at = border{v.NextOffset(), at.pos + size}
	}
	return at, nil
}

func shortIsBadOrNil(err error, at border) error {
	if err == nil {
		return nil
	}
	return shortIsBad(err, at)
}

// indexer builds sparse index entries and facts from batches in order.
type indexer struct {
	entries []segment.IndexEntry
	facts   facts
}

func (x *indexer) add(v batch.View, at border) {
	if n := len(x.entries); n == 0 || at.pos-x.entries[n-1].Pos >= segment.IndexInterval {
		x.entries = append(x.entries, segment.IndexEntry{Offset: at.offset, Pos: at.pos, MaxTimestamp: x.facts.maxTimestamp})
	}
	x.facts.add(v.BaseOffset(), v.MaxTimestamp())
}

// indexOf walks the headers of [0, end) of a segment. end must be a border with the given offset.
func indexOf(r io.ReaderAt, base kafka.Offset, end border) (indexer, error) {
	buf := scanBuffers.Get().(*buffer)
	defer scanBuffers.Put(buf)
	x := indexer{facts: noFacts}
	last, err := walk(r, border{offset: base}, end.pos, buf, func(v batch.View, at border) (bool, error) {
		x.add(v, at)
		return true, nil
	})
	if err == nil && last != end {
		err = fmt.Errorf("%w: offset %d at position %d, where the segment ends with %d", errBadBatch, last.offset, last.pos, end.offset)
	}
	return x, err
}
