package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Limits bound what Validate accepts. The zero value accepts what any topic with default configuration would.
type Limits struct {
	// Earliest and Latest bound record timestamps, in milliseconds, inclusive: the topic's
	// message.timestamp.before.max.ms and after.max.ms around now. Both zero: unbounded.
	Earliest, Latest int64
	// RequireKeys refuses records without a key: the topic is compacted.
	RequireKeys bool
	// AllowControl admits control batches: the batch comes from a leader or a file, not from a client.
	AllowControl bool
	// LogAppendTime says that the topic stamps its own time: what the client wrote there is not looked at.
	LogAppendTime bool
	// MaxUncompressed bounds the records' bytes after decompression. Zero: 1 GiB.
	MaxUncompressed int64
	// MaxRatio bounds uncompressed : compressed, once more than 32 MiB came out. Zero: 1024.
	MaxRatio int64
}

// bounds tells whether there are any for timestamps.
func (l *Limits) bounds() bool { return l.Earliest != 0 || l.Latest != 0 }

// RecordsInfo is what a walk over a batch's records found.
type RecordsInfo struct {
	// Count is the number of records.
	Count int32
	// MaxTimestamp is the largest timestamp of a record, milliseconds; the header may say otherwise, in which case
	// whoever appends the batch corrects it with SetMaxTimestamp, as Kafka does. -1 when no record has one.
	MaxTimestamp int64
	// MaxTimestampDelta is the offset delta of the first record that has MaxTimestamp.
	MaxTimestampDelta int32
	// Uncompressed is the number of bytes of the records when not compressed.
	Uncompressed int64
}

// RecordError is a fault of one record in a batch. It wraps ErrInvalid or ErrTimestamp.
type RecordError struct {
	Index  int32 // of the record in its batch
	Reason string
	Kind   error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%v: record %d: %s", e.Kind, e.Index, e.Reason)
}

// Unwrap makes errors.Is see ErrInvalid or ErrTimestamp.
func (e *RecordError) Unwrap() error { return e.Kind }

// Validate checks everything that a CRC cannot: that the header's promises (count, offsets, attributes) hold and that
// each record is whole and where it should be. Compressed records are decompressed in a stream and thrown away. It does
// not check the CRC. It allocates nothing for uncompressed records unless it fails.
//
// Errors: ErrInvalid, ErrTimestamp (both perhaps as *RecordError), ErrCodec, ErrTooLarge.
// Source: Kafka's LogValidator and DefaultRecordBatch.
func Validate(v View, limits Limits) (RecordsInfo, error) {
	if err := validateHeader(v, &limits); err != nil {
		return RecordsInfo{}, err
	}
	c := checker{limits: &limits, base: v.BaseTimestamp(), want: v.RecordCount()}
	c.info.MaxTimestamp = -1
	c.timestamps = !limits.LogAppendTime && !v.Attributes().LogAppendTime()
	c.bounded = c.timestamps && limits.bounds()
	var err error
	if v.Attributes().Codec() == None {
		err = c.walk(v[HeaderLen:])
	} else {
		err = c.walkCompressed(v)
	}
	if err != nil {
		return RecordsInfo{}, err
	}
	if v.Attributes().LogAppendTime() {
		c.info.MaxTimestamp = v.MaxTimestamp()
	}
	c.info.Count = c.want
	return c.info, nil
}

func validateHeader(v View, limits *Limits) error {
	a, count := v.Attributes(), v.RecordCount()
	switch {
	case count <= 0:
		return fmt.Errorf("%w: %d records", ErrInvalid, count)
	case v.LastOffsetDelta() != count-1:
		return fmt.Errorf("%w: %d records, but last offset delta %d", ErrInvalid, count, v.LastOffsetDelta())
	case a.Codec() > Zstd:
		return fmt.Errorf("%w: %d", ErrCodec, a.Codec())
	case a&deleteHorizonBit != 0 && !limits.AllowControl:
		return fmt.Errorf("%w: when tombstones go is not for clients to say", ErrInvalid)
	case a.Control() && !limits.AllowControl:
		return fmt.Errorf("%w: control batches are not for clients to write", ErrInvalid)
	case v.Idempotent() && v.BaseSequence() < 0:
		return fmt.Errorf("%w: producer id %d with sequence %d", ErrInvalid, v.ProducerID(), v.BaseSequence())
	case v.Idempotent() && v.ProducerEpoch() < 0:
		return fmt.Errorf("%w: producer id %d with epoch %d", ErrInvalid, v.ProducerID(), v.ProducerEpoch())
	case a.Transactional() && !v.Idempotent():
		return fmt.Errorf("%w: transactional without a producer id", ErrInvalid)
	case a.LogAppendTime() && !limits.LogAppendTime && !limits.AllowControl:
		return fmt.Errorf("%w: a producer must not set LogAppendTime", ErrTimestamp)
	}
	return nil
}

// ReasonNoKey is the Reason of a record that lacks the key which Limits.RequireKeys wants.
const ReasonNoKey = "a compacted topic takes no record without a key"

// checker walks the records of one batch and remembers what it saw.
type checker struct {
	limits     *Limits
	base       int64 // base timestamp
	want       int32 // records the header promises
	index      int32 // of the record looked at
	timestamps bool  // the records' own timestamps count
	bounded    bool  // and are held against limits
	info       RecordsInfo
	seen       *Checked // notes what limits may ask for, where those are not known yet; else nil
}

// walk checks records that lie in memory.
func (c *checker) walk(p []byte) error {
	c.info.Uncompressed = int64(len(p))
	for c.index = 0; c.index < c.want; c.index++ {
		length, n := varint(p)
		if n <= 0 || length < 0 || length > int64(len(p)-n) {
			return c.fail(ErrInvalid, "length is beyond the batch")
		}
		if err := c.record(p[n : n+int(length)]); err != nil {
			return err
		}
		p = p[n+int(length):]
	}
	if len(p) > 0 {
		return fmt.Errorf("%w: %d bytes after the last record", ErrInvalid, len(p))
	}
	return nil
}

// record checks one record without its length: attributes, timestamp and offset deltas, key, value, headers.
func (c *checker) record(p []byte) error {
	if len(p) < 1 {
		return c.fail(ErrInvalid, "no attributes")
	}
	p = p[1:] // a record's attributes have no meaning yet
	ts, n := varint(p)
	if n <= 0 {
		return c.fail(ErrInvalid, "bad timestamp delta")
	}
	p = p[n:]
	delta, n := varint(p)
	if n <= 0 {
		return c.fail(ErrInvalid, "bad offset delta")
	}
	p = p[n:]
	if err := c.deltas(ts, delta); err != nil {
		return err
	}
	p, hasKey, ok := skipBytes(p)
	if !ok {
		return c.fail(ErrInvalid, "key is beyond the record")
	}
	if !hasKey {
		if c.limits.RequireKeys {
			return c.fail(ErrInvalid, ReasonNoKey)
		}
		if c.seen != nil {
			c.seen.keyless = true
		}
	}
	p, _, ok = skipBytes(p)
	if !ok {
		return c.fail(ErrInvalid, "value is beyond the record")
	}
	return c.headers(p)
}

// deltas checks and remembers a record's place in time and in the batch.
func (c *checker) deltas(ts, offset int64) error {
	if offset != int64(c.index) {
		return c.fail(ErrInvalid, fmt.Sprintf("offset delta %d", offset))
	}
	if !c.timestamps {
		return nil
	}
	at := c.base + ts // wraps with a lying base, harmlessly: the bounds below refuse or nobody asked
	if c.bounded && (at < c.limits.Earliest || at > c.limits.Latest) {
		return c.fail(ErrTimestamp, fmt.Sprintf("timestamp %d is outside [%d, %d]", at, c.limits.Earliest, c.limits.Latest))
	}
	if c.seen != nil {
		c.seen.time(at, c.index)
	}
	if at > c.info.MaxTimestamp {
		c.info.MaxTimestamp, c.info.MaxTimestampDelta = at, c.index
	}
	return nil
}

// headers checks a record's headers, which must end exactly where p ends.
func (c *checker) headers(p []byte) error {
	count, n := varint(p)
	if n <= 0 || count < 0 || count > int64(len(p)-n) {
		return c.fail(ErrInvalid, "bad number of headers")
	}
	p = p[n:]
	for range count {
		var ok, present bool
		if p, present, ok = skipBytes(p); !ok || !present {
			return c.fail(ErrInvalid, "bad header key")
		}
		if p, _, ok = skipBytes(p); !ok {
			return c.fail(ErrInvalid, "bad header value")
		}
	}
	if len(p) > 0 {
		return c.fail(ErrInvalid, "bytes after the headers")
	}
	return nil
}

func (c *checker) fail(kind error, reason string) error {
	return &RecordError{Index: c.index, Reason: reason, Kind: kind}
}

// varint reads a zigzag varint of at most 64 bits; n <= 0 when there is none.
func varint(p []byte) (x int64, n int) {
	if len(p) > 0 && p[0] < 0x80 { // most are one byte
		return int64(p[0]>>1) ^ -int64(p[0]&1), 1
	}
	if len(p) > 1 && p[1] < 0x80 { // and nearly all others two
		u := uint64(p[0]&0x7f) | uint64(p[1])<<7
		return int64(u>>1) ^ -int64(u&1), 2
	}
	return binary.Varint(p)
}

// skipBytes passes over length-prefixed bytes, where a length of -1 stands for null.
func skipBytes(p []byte) (rest []byte, present, ok bool) {
	length, n := varint(p)
	if n <= 0 || length < -1 || length > math.MaxInt32 {
		return nil, false, false
	}
	p = p[n:]
	if length < 0 {
		return p, false, true
	}
	if length > int64(len(p)) {
		return nil, false, false
	}
	return p[length:], true, true
}
