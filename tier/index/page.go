package index

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// pageEntries is how many index entries share a key: 4 MiB of log.
const pageEntries = 64

// pageBytes bounds an encoded page below Badger's ValueThreshold, so that
// pages live in the tables and never in the value log, which would need
// garbage collection of its own.
const pageBytes = 1000

// maxEntryBytes is an entry's three varints at their longest.
const maxEntryBytes = 3 * binary.MaxVarintLen64

// lastPage stands where a page names its successor's first offset.
const lastPage = kafka.Offset(math.MaxInt64)

// pageKind begins every page's key. Other first bytes are free for other kinds.
const pageKind = 'p'

const (
	partitionPrefixLen = 1 + 16 + 4
	segmentPrefixLen   = partitionPrefixLen + 8
	pageKeyLen         = segmentPrefixLen + 8
)

// pageVersion begins every page's value.
const pageVersion = 1

// errPage says that a page's bytes are not what was written.
var errPage = errors.New("index page is damaged")

// castagnoli is CRC32C's table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentID names a local segment.
type segmentID struct {
	partition kafka.Partition
	base      kafka.Offset
}

// page is a run of a segment's entries. It answers for offsets in [entries[0].Offset, next).
type page struct {
	entries []segment.IndexEntry
	next    kafka.Offset // first entry's offset of the following page, or lastPage
}

// holds tells whether the page has the floor of offset.
func (p *page) holds(offset kafka.Offset) bool {
	return p.entries[0].Offset <= offset && offset < p.next
}

func appendPartition(b []byte, p kafka.Partition) []byte {
	b = append(b, pageKind)
	b = append(b, p.Topic[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(p.Index))
}

func appendSegment(b []byte, s segmentID) []byte {
	return binary.BigEndian.AppendUint64(appendPartition(b, s.partition), uint64(s.base))
}

// appendPageKey makes the key of the page that begins at first. Keys of a
// segment sort by offset: offsets are never negative.
func appendPageKey(b []byte, s segmentID, first kafka.Offset) []byte {
	return binary.BigEndian.AppendUint64(appendSegment(b, s), uint64(first))
}

// cutPage returns how many of the entries go into the first page.
func cutPage(entries []segment.IndexEntry) int {
	var scratch [maxEntryBytes]byte
	size := 0
	var last segment.IndexEntry
	for i, e := range entries[:min(len(entries), pageEntries)] {
		size += len(appendEntry(scratch[:0], e, last))
		if size > pageBytes {
			return i
		}
		last = e
	}
	return min(len(entries), pageEntries)
}

func appendEntry(b []byte, e, last segment.IndexEntry) []byte {
	b = binary.AppendUvarint(b, uint64(e.Offset-last.Offset))
	b = binary.AppendUvarint(b, uint64(e.Pos-last.Pos))
	return binary.AppendVarint(b, e.MaxTimestamp-last.MaxTimestamp) // may wrap, and wraps back
}

// appendPage encodes a page's value. The checksum covers the key too, so that
// a page cannot answer for another.
func appendPage(b, key []byte, p page) []byte {
	at := len(b)
	b = append(b, pageVersion, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(p.next))
	b = append(b, byte(len(p.entries)))
	var last segment.IndexEntry
	for _, e := range p.entries {
		b = appendEntry(b, e, last)
		last = e
	}
	binary.BigEndian.PutUint32(b[at+1:], pageCRC(key, b[at+5:]))
	return b
}

func pageCRC(key, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, payload)
}

// decodePage reads what appendPage wrote. It fails with errPage on anything else.
func decodePage(key, b []byte) (*page, error) {
	const head = 1 + 4 + 8 + 1
	if len(key) != pageKeyLen || len(b) < head || b[0] != pageVersion || binary.BigEndian.Uint32(b[1:]) != pageCRC(key, b[5:]) {
		return nil, errPage
	}
	count := int(b[13])
	p := &page{next: kafka.Offset(binary.BigEndian.Uint64(b[5:]))}
	b = b[head:]
	if count == 0 || count > pageEntries || len(b) < 3*count {
		return nil, errPage
	}
	p.entries = make([]segment.IndexEntry, count)
	var last segment.IndexEntry
	for i := range p.entries {
		offset, n1 := binary.Uvarint(b)
		pos, n2 := binary.Uvarint(b[max(n1, 0):])
		if n1 <= 0 || n2 <= 0 {
			return nil, errPage
		}
		at, n3 := binary.Varint(b[n1+n2:])
		if n3 <= 0 {
			return nil, errPage
		}
		b = b[n1+n2+n3:]
		last.Offset += kafka.Offset(offset)
		last.Pos += int64(pos)
		last.MaxTimestamp += at
		p.entries[i] = last
	}
	first := kafka.Offset(binary.BigEndian.Uint64(key[segmentPrefixLen:]))
	if len(b) != 0 || p.entries[0].Offset != first || p.next <= last.Offset {
		return nil, errPage
	}
	return p, nil
}
