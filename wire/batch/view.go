package batch

import (
	"encoding/binary"

	"github.com/qanat-io/qanat/wire/kafka"
)

// HeaderLen is the length of a batch before its records.
const HeaderLen = 61

// prefixLen is the length of the two fields that frame a batch: base offset and batch length.
const prefixLen = 12

// View is one whole batch, header first. Its accessors read fields in place;
// they must only be called on bytes of at least HeaderLen, which Next and
// Check guarantee.
type View []byte

// BaseOffset is the offset of the batch's first record.
func (v View) BaseOffset() kafka.Offset { return kafka.Offset(binary.BigEndian.Uint64(v[0:])) }

// Size is the whole batch's length in bytes as its header states it.
func (v View) Size() int { return prefixLen + int(int32(binary.BigEndian.Uint32(v[8:]))) }

// LeaderEpoch is the epoch under which the batch was appended.
func (v View) LeaderEpoch() kafka.LeaderEpoch {
	return kafka.LeaderEpoch(binary.BigEndian.Uint32(v[12:]))
}

// Magic is the format's version; only 2 is kept.
func (v View) Magic() int8 { return int8(v[16]) }

// CRC is the stored CRC32C.
func (v View) CRC() uint32 { return binary.BigEndian.Uint32(v[17:]) }

// Attributes are the batch's flags.
func (v View) Attributes() Attributes { return Attributes(binary.BigEndian.Uint16(v[21:])) }

// LastOffsetDelta is the last record's offset relative to the base.
func (v View) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(v[23:])) }

// LastOffset is the offset of the batch's last record.
func (v View) LastOffset() kafka.Offset { return v.BaseOffset() + kafka.Offset(v.LastOffsetDelta()) }

// NextOffset is the offset after the batch: [BaseOffset, NextOffset) is its range.
func (v View) NextOffset() kafka.Offset { return v.LastOffset() + 1 }

// BaseTimestamp is the timestamp that records' deltas are relative to, in milliseconds.
func (v View) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(v[27:])) }

// MaxTimestamp is the largest timestamp in the batch, in milliseconds.
func (v View) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(v[35:])) }

// ProducerID is kafka.NoProducer where idempotence is off.
func (v View) ProducerID() kafka.ProducerID {
	return kafka.ProducerID(binary.BigEndian.Uint64(v[43:]))
}

// ProducerEpoch is the epoch of the producer that wrote the batch.
func (v View) ProducerEpoch() kafka.ProducerEpoch {
	return kafka.ProducerEpoch(binary.BigEndian.Uint16(v[51:]))
}

// BaseSequence is the sequence number of the first record, -1 without idempotence.
func (v View) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(v[53:])) }

// RecordCount is the number of records that the header promises.
func (v View) RecordCount() int32 { return int32(binary.BigEndian.Uint32(v[57:])) }

// Stamp writes the base offset and leader epoch, neither of which the CRC covers.
func (v View) Stamp(base kafka.Offset, epoch kafka.LeaderEpoch) {
	binary.BigEndian.PutUint64(v[0:], uint64(base))
	binary.BigEndian.PutUint32(v[12:], uint32(epoch))
}

// Idempotent tells whether a producer id stands in the batch.
func (v View) Idempotent() bool { return v.ProducerID() >= 0 }

// Attributes are a batch's flags.
type Attributes int16

const (
	codecBits        = 0x07
	logAppendTimeBit = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
	deleteHorizonBit = 0x40
)

// Codec is the compression of the records.
func (a Attributes) Codec() Codec { return Codec(a & codecBits) }

// LogAppendTime tells whether MaxTimestamp is the broker's time for every record.
func (a Attributes) LogAppendTime() bool { return a&logAppendTimeBit != 0 }

// Transactional tells whether the batch belongs to a transaction.
func (a Attributes) Transactional() bool { return a&transactionalBit != 0 }

// Control tells whether the batch is a transaction marker.
func (a Attributes) Control() bool { return a&controlBit != 0 }

// Codec is a compression codec's number in the attributes.
type Codec int8

// The codecs of Kafka.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)
