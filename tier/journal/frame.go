package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Sizes of the format, drawn in docs/formats-local.md, golden in testdata/journal.golden.
const (
	block        = vfs.Alignment // frames and headers begin at multiples of it
	frameMagic   = 0x514a4652    // "QJFR"
	frameHeader  = 4 + 4 + 8 + 8 + 4 + 4
	recordHeader = 16 + 4 + 8 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is records on their way to the disk: what one Write makes durable.
//
//	0      4       8           16        24      28     32
//	│magic │CRC32C │generation │sequence │length │ 0    │ records …
//	        └──── of everything behind it, up to length ────┘
type frame struct {
	buf []byte // aligned; its capacity is never exceeded
}

func newFrame(records int) *frame {
	f := &frame{buf: vfs.Aligned(roundUp(frameHeader + records))[:0]}
	f.reset()
	return f
}

func roundUp(n int) int { return (n + block - 1) &^ (block - 1) }

func (f *frame) reset() { f.buf = f.buf[:frameHeader] }

func (f *frame) empty() bool { return len(f.buf) == frameHeader }

// padded is the room that the frame takes in a half.
func (f *frame) padded() int64 { return int64(roundUp(len(f.buf))) }

// begin adds the header of a record of n bytes, which the caller appends, if there is room.
func (f *frame) begin(p kafka.Partition, segment kafka.Offset, pos int64, n int) bool {
	if len(f.buf)+recordHeader+n > cap(f.buf) {
		return false
	}
	be := binary.BigEndian
	f.buf = append(f.buf, p.Topic[:]...)
	f.buf = be.AppendUint32(f.buf, uint32(p.Index))
	f.buf = be.AppendUint64(f.buf, uint64(segment))
	f.buf = be.AppendUint64(f.buf, uint64(pos))
	f.buf = be.AppendUint32(f.buf, uint32(n))
	return true
}

// seal fills in the header and returns the frame as it is written: what pads it is of no meaning.
func (f *frame) seal(generation, seq uint64) []byte {
	be := binary.BigEndian
	b := f.buf
	be.PutUint32(b, frameMagic)
	be.PutUint64(b[8:], generation)
	be.PutUint64(b[16:], seq)
	be.PutUint32(b[24:], uint32(len(b)))
	be.PutUint32(b[28:], 0)
	be.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b[:roundUp(len(b))]
}

// parseFrame finds the frame at the beginning of b. ok is false when there is none of that generation.
func parseFrame(b []byte, generation uint64) (records []byte, seq uint64, size int, ok bool) {
	be := binary.BigEndian
	if len(b) < frameHeader || be.Uint32(b) != frameMagic || be.Uint64(b[8:]) != generation {
		return nil, 0, 0, false
	}
	n := int64(be.Uint32(b[24:]))
	if n < frameHeader || n > int64(len(b)) || crc32.Checksum(b[8:n], castagnoli) != be.Uint32(b[4:]) {
		return nil, 0, 0, false
	}
	return b[frameHeader:n], be.Uint64(b[16:]), roundUp(int(n)), true
}

// nextRecord cuts a record off. ok is false when b is not made of records.
func nextRecord(b []byte) (r Record, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return r, nil, false
	}
	be := binary.BigEndian
	copy(r.Partition.Topic[:], b)
	r.Partition.Index = int32(be.Uint32(b[16:]))
	r.Segment = kafka.Offset(be.Uint64(b[20:]))
	r.Pos = int64(be.Uint64(b[28:]))
	n := int64(be.Uint32(b[36:]))
	b = b[recordHeader:]
	if n > int64(len(b)) || r.Pos < 0 || r.Segment < 0 || r.Partition.Index < 0 {
		return r, nil, false
	}
	r.Bytes = b[:n:n]
	return r, b[n:], true
}
