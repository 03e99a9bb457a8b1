package batch

import (
	"encoding/binary"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Builder builds a batch record by record, for tools, tests and what is made up to be read (broker/statelog); the data path never
// builds batches. Set the fields before the first Add. Not safe for concurrent use.
type Builder struct {
	BaseOffset    kafka.Offset
	LeaderEpoch   kafka.LeaderEpoch
	Codec         Codec
	Level         int  // 0: DefaultLevel
	Transactional bool // and whether it is a transaction's marker:
	Control       bool
	// Idempotent says that the three fields below it count; else the batch has no producer.
	Idempotent    bool
	ProducerID    kafka.ProducerID
	ProducerEpoch kafka.ProducerEpoch
	BaseSequence  int32

	count, next int32 // records; the offset after the last, less BaseOffset
	first, max  int64 // timestamps, ms
	records     []byte
}

// Header is one header of a record to be built.
type Header struct {
	Key   string
	Value []byte // nil is null
}

// Add appends a record; nil keys and values are null. Its offset is the next one.
func (b *Builder) Add(timestampMs int64, key, value []byte, headers ...Header) {
	b.AddAt(b.BaseOffset+kafka.Offset(b.next), timestampMs, key, value, headers...)
}

// AddAt is Add at an offset that is not below the next one, and less than 2³¹ above BaseOffset.
func (b *Builder) AddAt(offset kafka.Offset, timestampMs int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.first, b.max = timestampMs, timestampMs
	}
	b.max = max(b.max, timestampMs)
	rec := []byte{0}
	rec = binary.AppendVarint(rec, timestampMs-b.first)
	rec = binary.AppendVarint(rec, int64(offset-b.BaseOffset))
	rec = appendBytes(rec, key)
	rec = appendBytes(rec, value)
	rec = binary.AppendVarint(rec, int64(len(headers)))
	for _, h := range headers {
		rec = binary.AppendVarint(rec, int64(len(h.Key)))
		rec = append(rec, h.Key...)
		rec = appendBytes(rec, h.Value)
	}
	b.records = binary.AppendVarint(b.records, int64(len(rec)))
	b.records = append(b.records, rec...)
	b.count++
	b.next = int32(offset-b.BaseOffset) + 1
}

// Through has the batch cover the offsets below next, with no records there: who reads it goes on at next. Not below what was added.
func (b *Builder) Through(next kafka.Offset) { b.next = int32(next - b.BaseOffset) }

// Count is how many records there are.
func (b *Builder) Count() int { return int(b.count) }

// Size is the number of bytes that the batch would have uncompressed.
func (b *Builder) Size() int { return HeaderLen + len(b.records) }

// Build returns the batch. The builder may go on: a later Build has the later records too.
func (b *Builder) Build() (View, error) {
	v := make(View, HeaderLen, HeaderLen+len(b.records))
	v.Stamp(b.BaseOffset, b.LeaderEpoch)
	v[16] = 2
	var a uint16
	if b.Transactional {
		a |= transactionalBit
	}
	if b.Control {
		a |= controlBit
	}
	be := binary.BigEndian
	be.PutUint16(v[21:], a)
	be.PutUint32(v[23:], uint32(b.next-1))
	be.PutUint64(v[27:], uint64(b.first))
	be.PutUint64(v[35:], uint64(b.max))
	id, epoch, sequence := kafka.NoProducer, kafka.ProducerEpoch(-1), int32(-1)
	if b.Idempotent {
		id, epoch, sequence = b.ProducerID, b.ProducerEpoch, b.BaseSequence
	}
	be.PutUint64(v[43:], uint64(id))
	be.PutUint16(v[51:], uint16(epoch))
	be.PutUint32(v[53:], uint32(sequence))
	be.PutUint32(v[57:], uint32(b.count))
	level := b.Level
	if level == 0 {
		level = DefaultLevel
	}
	p, err := compress(v, b.records, b.Codec, level)
	if err != nil {
		return nil, err
	}
	return finish(p, b.Codec)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}
