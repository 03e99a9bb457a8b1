package segment

import (
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// scanBuffer is read at a time. It stays in a core's second-level cache between
// the two checksums taken of it, and divides ChunkSize.
const scanBuffer = 256 << 10

var scanBuffers = sync.Pool{New: func() any { return new([scanBuffer]byte) }}

// crcStart is where a batch's checksum begins to cover it: at the attributes.
const crcStart = 21

// Scan walks the batches of r[0:size) in one pass with constant memory,
// verifies each (header, CRC, record count, contiguous offsets, epochs not
// decreasing) and returns the facts that the data itself tells: Base, Next,
// DataSize, timestamps, Records, Chunks, Index, Epochs (those in this data
// only), and Compacted: batches may have fewer records than offsets, as
// compaction leaves them, but between batches no offset is missing.
//
// Bad bytes are an error that wraps ErrCorrupt, and the footer then describes
// the sound batches before them (DataSize is where they end; Chunks is nil).
// Errors of r are returned as they are.
func Scan(r io.ReaderAt, size int64) (Footer, error) {
	s := scanner{size: size, footer: Footer{MinTimestamp: NoTimestamp, MaxTimestamp: NoTimestamp}}
	buf := scanBuffers.Get().(*[scanBuffer]byte)
	defer scanBuffers.Put(buf)
	chunks := make([]uint32, 0, chunksOf(size))
	for at := int64(0); at < size; at += scanBuffer {
		p := buf[:min(size-at, scanBuffer)]
		if err := readFull(r, p, at); err != nil {
			return s.footer, fmt.Errorf("scan segment: %w", err)
		}
		if at%ChunkSize == 0 {
			chunks = append(chunks, 0)
		}
		last := &chunks[len(chunks)-1]
		*last = crc32.Update(*last, castagnoli, p)
		if err := s.feed(p); err != nil {
			return s.footer, fmt.Errorf("scan segment: batch at %d: %w", s.footer.DataSize, err)
		}
	}
	if s.footer.DataSize != size {
		return s.footer, fmt.Errorf("scan segment: %w", corruptf("batch at %d is cut short at %d", s.footer.DataSize, size))
	}
	s.footer.Chunks = chunks
	return s.footer, nil
}

// scanner takes a segment's bytes piece by piece. A batch may be spread over
// any number of pieces, so nothing but its header is ever kept.
type scanner struct {
	size   int64
	footer Footer // of the whole batches so far; DataSize is where the current one began

	header     [batch.HeaderLen]byte // of the current batch, when pieces split it
	headerHave int
	body       int    // bytes of the current batch still to come, once its header is whole
	crc        uint32 // of the current batch so far
	current    batch.View

	nextIndex int64 // position from which the next batch gets an index entry
	running   int64 // largest timestamp so far
}

// feed takes the next bytes.
func (s *scanner) feed(p []byte) error {
	for len(p) > 0 {
		if s.current == nil {
			var err error
			if p, err = s.begin(p); err != nil {
				return err
			}
			if s.current == nil {
				return nil // the header goes on in the next piece
			}
		}
		n := min(s.body, len(p))
		s.crc = crc32.Update(s.crc, castagnoli, p[:n])
		s.body -= n
		p = p[n:]
		if s.body == 0 {
			if err := s.end(); err != nil {
				return err
			}
		}
	}
	// The piece is about to be overwritten.
	if s.current != nil && s.headerHave == 0 {
		s.headerHave = copy(s.header[:], s.current)
		s.current = s.header[:]
	}
	return nil
}

// begin takes a header, in place where p has all of it. What it returns of p is
// what comes after the header.
func (s *scanner) begin(p []byte) ([]byte, error) {
	h := p
	if s.headerHave > 0 || len(p) < batch.HeaderLen {
		n := copy(s.header[s.headerHave:], p)
		s.headerHave += n
		p = p[n:]
		if s.headerHave < batch.HeaderLen {
			return nil, nil
		}
		h = s.header[:]
	} else {
		p = p[batch.HeaderLen:]
	}
	v := batch.View(h[:batch.HeaderLen])
	if err := s.check(v); err != nil {
		return nil, err
	}
	s.current = v
	s.body = v.Size() - batch.HeaderLen
	s.crc = crc32.Checksum(v[crcStart:], castagnoli)
	return p, nil
}

// check judges a header by itself and by the batches before it.
func (s *scanner) check(v batch.View) error {
	f := &s.footer
	size := int64(v.Size())
	switch {
	case size < batch.HeaderLen || size > s.size-f.DataSize:
		return corruptf("length %d with %d bytes left", size, s.size-f.DataSize)
	case v.Magic() != 2:
		return corruptf("magic %d", v.Magic())
	case v.LastOffsetDelta() < 0 || v.BaseOffset() < 0 || v.BaseOffset() > math.MaxInt64-math.MaxInt32-1:
		return corruptf("offsets from %d by %d", v.BaseOffset(), v.LastOffsetDelta())
	case v.LeaderEpoch() < kafka.NoEpoch:
		return corruptf("leader epoch %d", v.LeaderEpoch())
	}
	count, span := int64(v.RecordCount()), int64(v.LastOffsetDelta())+1
	if count < 0 || count > span {
		return corruptf("%d records over %d offsets", count, span)
	}
	if f.DataSize == 0 {
		return nil
	}
	if v.BaseOffset() != f.Next {
		return corruptf("offset %d where %d is expected", v.BaseOffset(), f.Next)
	}
	if v.LeaderEpoch() < f.Epoch {
		return corruptf("leader epoch %d after %d", v.LeaderEpoch(), f.Epoch)
	}
	return nil
}

// end judges the checksum of the batch that just ended and counts it.
func (s *scanner) end() error {
	v, f := s.current, &s.footer
	if s.crc != v.CRC() {
		return corruptf("checksum of offset %d does not match", v.BaseOffset())
	}
	first := f.DataSize == 0
	if first {
		f.Base = v.BaseOffset()
		s.running = BeforeAll
	}
	if f.DataSize >= s.nextIndex {
		f.Index = append(f.Index, IndexEntry{Offset: v.BaseOffset(), Pos: f.DataSize, MaxTimestamp: s.running})
		s.nextIndex = f.DataSize + IndexInterval
	}
	if epoch := v.LeaderEpoch(); epoch >= 0 && (len(f.Epochs) == 0 || epoch > f.Epochs[len(f.Epochs)-1].Epoch) {
		f.Epochs = append(f.Epochs, EpochStart{Epoch: epoch, Start: v.BaseOffset()})
	}
	low, high := v.BaseTimestamp(), v.MaxTimestamp()
	if _, horizon := v.DeleteHorizon(); horizon || v.Attributes().LogAppendTime() {
		low = high // the base is no record's time
	}
	low = min(low, high)
	if first {
		f.MinTimestamp = low
	}
	s.running = max(s.running, high)
	f.MinTimestamp, f.MaxTimestamp = min(f.MinTimestamp, low), s.running
	f.Epoch = v.LeaderEpoch()
	f.Next = v.NextOffset()
	f.Records += int64(v.RecordCount())
	f.Compacted = f.Compacted || v.RecordCount() <= v.LastOffsetDelta()
	f.DataSize += int64(v.Size())
	s.current, s.headerHave = nil, 0
	return nil
}
