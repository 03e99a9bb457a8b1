package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Decisions about bad bytes. Every error of this package wraps exactly one of them.
var (
	// ErrCorrupt is a batch whose frame, CRC or lengths are wrong: bytes were damaged or cut on the way
	// (CORRUPT_MESSAGE; clients send again).
	ErrCorrupt = errors.New("batch is corrupt")
	// ErrShort is an ErrCorrupt: the bytes end inside the batch. A torn tail, or the cut end of a fetched run.
	ErrShort = fmt.Errorf("%w: bytes end inside it", ErrCorrupt)
	// ErrMagic is a message set of format v0 or v1, which is not kept (INVALID_RECORD).
	ErrMagic = errors.New("message formats v0 and v1 are not kept: send record batches (v2)")
	// ErrTooLarge is a batch that is, or would be when decompressed, beyond a limit.
	ErrTooLarge = errors.New("batch is too large")
	// ErrInvalid is a batch that arrived as it was sent, but says what no producer may say: a lying count, offsets that
	// are not 0..n-1, a control batch (INVALID_RECORD; clients give up on it).
	ErrInvalid = errors.New("batch is invalid")
	// ErrTimestamp is a record whose timestamp is outside the limits (INVALID_TIMESTAMP).
	ErrTimestamp = errors.New("timestamp out of bounds")
	// ErrCodec is a compression codec that does not exist (INVALID_RECORD).
	ErrCodec = errors.New("unknown compression codec")
)

// castagnoli is CRC32C, which the standard library computes with the CPU's own instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcFrom is where the bytes that the CRC covers begin: the attributes.
const crcFrom = 21

// Next cuts the first batch off p. It looks at the frame only (lengths and magic), never at the CRC or the records,
// allocates nothing unless it fails, and guarantees that the view is whole: len(v) == v.Size() >= HeaderLen.
//
// Errors: ErrShort when p ends inside the batch, else ErrMagic or ErrCorrupt. On error v is nil and rest is p.
func Next(p []byte) (v View, rest []byte, err error) {
	// Magic first: it lies at the same place in all three formats, and an old client is told so rather than "corrupt".
	const magicAt = 16
	if len(p) <= magicAt {
		return nil, p, fmt.Errorf("%w: %d of %d header bytes", ErrShort, len(p), HeaderLen)
	}
	switch magic := int8(p[magicAt]); magic {
	case 2:
	case 0, 1:
		return nil, p, fmt.Errorf("%w: magic %d", ErrMagic, magic)
	default:
		return nil, p, fmt.Errorf("%w: magic %d", ErrCorrupt, magic)
	}
	length := int32(binary.BigEndian.Uint32(p[8:]))
	if length < HeaderLen-prefixLen {
		return nil, p, fmt.Errorf("%w: batch length %d is less than a header", ErrCorrupt, length)
	}
	if size := prefixLen + int(length); size <= len(p) {
		return View(p[:size:size]), p[size:], nil
	}
	return nil, p, fmt.Errorf("%w: %d of %d bytes", ErrShort, len(p), prefixLen+int(length))
}

// CheckCRC compares the stored CRC32C with the bytes. It fails with ErrCorrupt.
func (v View) CheckCRC() error { return v.compareCRC(v.computeCRC()) }

func (v View) compareCRC(got uint32) error {
	if got != v.CRC() {
		return fmt.Errorf("%w: crc %08x, bytes have %08x", ErrCorrupt, v.CRC(), got)
	}
	return nil
}

func (v View) computeCRC() uint32 { return crc32.Checksum(v[crcFrom:], castagnoli) }

// seal writes the CRC of the bytes as they are now.
func (v View) seal() { binary.BigEndian.PutUint32(v[17:], v.computeCRC()) }

// Check walks a sequence of whole batches: frame and CRC of each. It returns how many there are, up to the first bad
// one, and that one's error. It allocates nothing unless it fails.
func Check(p []byte) (batches int, err error) {
	for len(p) > 0 {
		v, rest, err := Next(p)
		if err != nil {
			return batches, fmt.Errorf("batch %d: %w", batches, err)
		}
		if err := v.CheckCRC(); err != nil {
			return batches, fmt.Errorf("batch %d: %w", batches, err)
		}
		batches++
		p = rest
	}
	return batches, nil
}

// SetMaxTimestamp corrects the header's largest timestamp (milliseconds) and the CRC with it.
func (v View) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(v[35:], uint64(ms))
	v.seal()
}

// SetLogAppendTime makes ms (milliseconds) the timestamp of every record, as message.timestamp.type=LogAppendTime asks,
// and corrects the CRC. The records themselves keep the deltas that the client wrote; readers ignore them.
func (v View) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(v[21:], uint16(v.Attributes())|logAppendTimeBit)
	v.SetMaxTimestamp(ms)
}
