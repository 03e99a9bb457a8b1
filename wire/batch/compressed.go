package batch

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// walkCompressed checks records as they come out of the decompressor. Memory does not follow the size of the output:
// what is larger than the stream's buffer is skipped through.
func (c *checker) walkCompressed(v View) error {
	if data := v[HeaderLen:]; v.Attributes().Codec() == Snappy && !isXerial(data) {
		return c.walkSnappyBlock(data)
	}
	s, err := openStream(v.Attributes().Codec(), v[HeaderLen:], c.limits, true)
	if err != nil {
		return err
	}
	defer s.close()
	for c.index = 0; c.index < c.want; c.index++ {
		if err := c.streamed(s); err != nil {
			return err
		}
	}
	if _, err := s.ReadByte(); err == nil {
		return fmt.Errorf("%w: bytes after the last record", ErrInvalid)
	} else if !errors.Is(err, io.EOF) {
		return streamError(err) // a checksum at the stream's end
	}
	c.info.Uncompressed = s.total
	return nil
}

// walkSnappyBlock takes a shorter way for the commonest framing: the block has to be decoded in one piece anyway.
func (c *checker) walkSnappyBlock(data []byte) error {
	if large(data) {
		turns <- struct{}{}
		defer func() { <-turns }()
	}
	buf, _ := blocks.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	out, err := snappyBlock(*buf, data, outputCap(len(data), c.limits))
	if err != nil {
		return streamError(err)
	}
	err = c.walk(out)
	if *buf = out[:cap(out)]; cap(out) <= maxPooledBlock {
		blocks.Put(buf)
	}
	return err
}

// blocks are *[]byte, for decoded snappy blocks; larger ones than maxPooledBlock are left to the garbage collector.
var blocks sync.Pool

const maxPooledBlock = 1 << 20

// streamed checks the next record of a stream.
func (c *checker) streamed(s *stream) error {
	r := recordStream{s: s, left: maxVarintLen}
	length := r.varint()
	if r.err != nil {
		return c.streamFail(r.err)
	}
	if length < 0 {
		return c.fail(ErrInvalid, "length is beyond the batch")
	}
	if length <= streamBuffer {
		p, err := s.Peek(int(length))
		if err != nil {
			return c.streamFail(err)
		}
		if err := c.record(p); err != nil {
			return err
		}
		_, err = s.Discard(int(length))
		return err
	}
	r.left = length
	return c.large(&r)
}

// large checks a record that does not fit the stream's buffer: what record does, by skipping.
func (c *checker) large(r *recordStream) error {
	r.skip(1)
	ts, delta := r.varint(), r.varint()
	if r.err != nil {
		return c.streamFail(r.err)
	}
	if err := c.deltas(ts, delta); err != nil {
		return err
	}
	if hasKey := r.bytes(); r.err == nil && !hasKey && c.limits.RequireKeys {
		return c.fail(ErrInvalid, ReasonNoKey)
	}
	r.bytes()
	headers := r.varint()
	if r.err == nil && (headers < 0 || headers > r.left) {
		return c.fail(ErrInvalid, "bad number of headers")
	}
	for ; headers > 0 && r.err == nil; headers-- {
		if present := r.bytes(); r.err == nil && !present {
			return c.fail(ErrInvalid, "bad header key")
		}
		r.bytes()
	}
	if r.err != nil {
		return c.streamFail(r.err)
	}
	if r.left > 0 {
		return c.fail(ErrInvalid, "bytes after the headers")
	}
	return nil
}

// streamFail reports err of the record looked at, unless it is the stream's own.
func (c *checker) streamFail(err error) error {
	if errors.Is(err, errBeyondRecord) {
		return c.fail(ErrInvalid, "field is beyond the record")
	}
	return fmt.Errorf("record %d of %d: %w", c.index, c.want, streamError(err))
}

const maxVarintLen = 10

var errBeyondRecord = errors.New("beyond the record")

// recordStream reads fields of a record of left bytes; after the first error all reads are no-ops.
type recordStream struct {
	s    *stream
	left int64
	err  error
}

func (r *recordStream) varint() int64 {
	if r.err != nil {
		return 0
	}
	p, err := r.s.Peek(int(min(r.left, maxVarintLen)))
	x, n := varint(p)
	if n <= 0 {
		if r.err = err; err == nil {
			r.err = errBeyondRecord
		}
		return 0
	}
	r.skip(int64(n))
	return x
}

func (r *recordStream) skip(n int64) {
	if r.err != nil {
		return
	}
	if n > r.left {
		r.err = errBeyondRecord
		return
	}
	r.left -= n
	_, r.err = r.s.Discard(int(n))
}

// bytes passes over a length and as many bytes; present is false for null.
func (r *recordStream) bytes() (present bool) {
	n := r.varint()
	if n < -1 && r.err == nil {
		r.err = errBeyondRecord
	}
	if n < 0 {
		return false
	}
	r.skip(n)
	return true
}
