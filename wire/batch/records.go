package batch

import (
	"fmt"
	"io"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Record is one record of a batch. Key, Value and Headers alias the batch, or a buffer that the next record overwrites
// when the batch is compressed: copy what is kept.
type Record struct {
	Offset    kafka.Offset
	Timestamp int64  // milliseconds; the batch's own with LogAppendTime
	Key       []byte // nil is null
	Value     []byte // nil is null: a tombstone
	Headers   Headers
}

// Headers are a record's headers as they stand in the batch: the count, then keys and values.
type Headers []byte

// Len is the number of headers.
func (h Headers) Len() int {
	n, _ := varint(h)
	return int(n)
}

// All yields keys and values in order. The bytes were checked when the record was read.
func (h Headers) All(yield func(key, value []byte) bool) {
	count, n := varint(h)
	p := []byte(h[max(n, 0):])
	for range count {
		var key, value []byte
		var ok bool
		if key, p, ok = takeBytes(p); !ok {
			return
		}
		if value, p, ok = takeBytes(p); !ok {
			return
		}
		if !yield(key, value) {
			return
		}
	}
}

// Iterator walks the records of a batch once:
//
//	it := batch.Records(v)
//	for r := range it.All {
//		…
//	}
//	if err := it.Err(); err != nil { … }
type Iterator struct {
	v      View
	limits Limits
	err    error

	inTurns bool
}

// Records is an iterator over v's records, decompressing as it goes, with default limits.
func Records(v View) *Iterator { return &Iterator{v: v} }

// RecordsWithin is Records of what a client has sent, with limits on decompression: a large batch waits for its turn, so that the loop must
// not wait for anything else, and must not unpack another.
func RecordsWithin(v View, limits Limits) *Iterator {
	return &Iterator{v: v, limits: limits, inTurns: true}
}

// Err is what ended the walk early; nil when the caller did or all records were seen. It wraps ErrInvalid, ErrCodec or
// ErrTooLarge.
func (it *Iterator) Err() error { return it.err }

// All yields the records in order.
func (it *Iterator) All(yield func(Record) bool) {
	if it.v.Attributes().Codec() == None {
		it.inMemory(it.v[HeaderLen:], yield)
		return
	}
	s, err := openStream(it.v.Attributes().Codec(), it.v[HeaderLen:], &it.limits, it.inTurns)
	if err != nil {
		it.err = err
		return
	}
	defer s.close()
	it.streamed(s, yield)
}

func (it *Iterator) inMemory(p []byte, yield func(Record) bool) {
	for i := range it.v.RecordCount() {
		length, n := varint(p)
		if n <= 0 || length < 0 || length > int64(len(p)-n) {
			it.err = fmt.Errorf("%w: record %d is beyond the batch", ErrInvalid, i)
			return
		}
		r, err := it.v.parseRecord(p[n : n+int(length)])
		if err != nil {
			it.err = fmt.Errorf("record %d: %w", i, err)
			return
		}
		if !yield(r) {
			return
		}
		p = p[n+int(length):]
	}
}

func (it *Iterator) streamed(s *stream, yield func(Record) bool) {
	var large []byte
	for i := range it.v.RecordCount() {
		r := recordStream{s: s, left: maxVarintLen}
		length := r.varint()
		if r.err == nil && length < 0 {
			r.err = errBeyondRecord
		}
		if r.err != nil {
			it.err = fmt.Errorf("record %d: %w", i, streamError(r.err))
			return
		}
		var p []byte
		var err error
		if length <= streamBuffer {
			p, err = s.Peek(int(length))
		} else {
			large, err = readInto(large[:0], s, length)
			p = large
		}
		if err != nil {
			it.err = fmt.Errorf("record %d: %w", i, streamError(err))
			return
		}
		rec, err := it.v.parseRecord(p)
		if err != nil {
			it.err = fmt.Errorf("record %d: %w", i, err)
			return
		}
		if !yield(rec) {
			return
		}
		if length <= streamBuffer {
			if _, err := s.Discard(int(length)); err != nil {
				it.err = streamError(err)
				return
			}
		}
	}
}

// readInto reads n bytes, taking memory only as bytes arrive: n is a stranger's promise.
func readInto(buf []byte, r io.Reader, n int64) ([]byte, error) {
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, max(len(buf), 2*streamBuffer))...)[:len(buf)]
		}
		part := buf[len(buf):min(int64(cap(buf)), n)]
		m, err := io.ReadFull(r, part)
		buf = buf[:len(buf)+m]
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// parseRecord reads a record without its length.
func (v View) parseRecord(p []byte) (Record, error) {
	if len(p) < 1 {
		return Record{}, fmt.Errorf("%w: no attributes", ErrInvalid)
	}
	p = p[1:]
	ts, n := varint(p)
	if n <= 0 {
		return Record{}, fmt.Errorf("%w: bad timestamp delta", ErrInvalid)
	}
	p = p[n:]
	delta, n := varint(p)
	if n <= 0 {
		return Record{}, fmt.Errorf("%w: bad offset delta", ErrInvalid)
	}
	p = p[n:]
	r := Record{Offset: v.BaseOffset() + kafka.Offset(delta), Timestamp: v.BaseTimestamp() + ts}
	if v.Attributes().LogAppendTime() {
		r.Timestamp = v.MaxTimestamp()
	}
	var ok bool
	if r.Key, p, ok = takeBytes(p); !ok {
		return Record{}, fmt.Errorf("%w: key is beyond the record", ErrInvalid)
	}
	if r.Value, p, ok = takeBytes(p); !ok {
		return Record{}, fmt.Errorf("%w: value is beyond the record", ErrInvalid)
	}
	if count, n := varint(p); n <= 0 || count < 0 || count > int64(len(p)-n) {
		return Record{}, fmt.Errorf("%w: bad number of headers", ErrInvalid)
	}
	r.Headers = Headers(p)
	return r, nil
}

// takeBytes reads length-prefixed bytes; a length of -1 gives nil.
func takeBytes(p []byte) (b, rest []byte, ok bool) {
	rest, present, ok := skipBytes(p)
	if !ok || !present {
		return nil, rest, ok
	}
	_, n := varint(p)
	end := len(p) - len(rest)
	return p[n:end:end], rest, true
}
