package batch

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	defaultMaxUncompressed = 1 << 30
	defaultMaxRatio        = 1024
	// ratioFloor is how much may come out before its ratio is looked at: small batches of zeros are no attack.
	ratioFloor = 32 << 20

	// Windows that zstd frames may ask for: all levels but "ultra" need at most 8 MiB; ultra (20-22) up to 128 MiB,
	// the most that decoders accept by default (RFC 8878), of which one at a time is decoded.
	zstdWindow      = 8 << 20
	zstdUltraWindow = 128 << 20

	streamBuffer = 32 << 10

	// takesTurns is what comes out of a batch beyond which it waits for its turn: see turns.
	takesTurns = 4 << 20
)

// turns are taken by batches of which much comes out, and whose records are in memory for that or keep a processor: half of the
// processors, and few, have one at a time. A hundred clients that sent 3 kB each, 31 MiB when unpacked, took 6 GB and every processor
// for ten seconds, and who flushes for others waited behind them. All others, of which little comes out, pass by.
var turns = make(chan struct{}, max(1, min(8, runtime.GOMAXPROCS(0)/2)))

// stream is decompressed records as a buffered reader that fails with ErrTooLarge past its caps. Pooled.
type stream struct {
	*bufio.Reader
	src   bytes.Reader
	codec Codec
	out   io.Reader // the decompressor, set up on src
	total int64     // bytes that came out
	max   int64     // ErrTooLarge beyond

	gzip   *gzip.Reader
	lz4    *lz4.Reader
	zstd   *zstd.Decoder
	snappy snappyReader
	ultra  bool // holds zstdUltra

	inTurns bool // whoever unpacks for a client, which sends what it likes
	turn    bool // holds one of turns
}

// takeTurn waits for a turn, which ends with close.
func (s *stream) takeTurn() {
	if s.inTurns && !s.turn {
		turns <- struct{}{}
		s.turn = true
	}
}

// One pool per codec: a stream's decompressor is what makes it worth keeping.
var streams [Zstd + 1]sync.Pool

// zstdUltra is the one decoder with a large window, and the turn to use it.
var zstdUltra struct {
	sync.Mutex
	decoder *zstd.Decoder
}

// Decompress returns what a codec has made data of, up to most bytes. It is for what is no batch. Errors: ErrCodec, ErrTooLarge, ErrInvalid.
func Decompress(codec Codec, data []byte, most int64) ([]byte, error) {
	return decompress(codec, data, &Limits{MaxUncompressed: most})
}

// openStream starts decompressing. The caller closes it. With inTurns it has to do so soon, and to open no other meanwhile.
func openStream(codec Codec, data []byte, limits *Limits, inTurns bool) (*stream, error) {
	if codec <= None || codec > Zstd {
		return nil, fmt.Errorf("%w: %d", ErrCodec, codec)
	}
	s, _ := streams[codec].Get().(*stream)
	if s == nil {
		s = &stream{codec: codec}
		s.Reader = bufio.NewReaderSize(nil, streamBuffer)
	}
	s.src.Reset(data)
	s.total, s.max, s.inTurns = 0, outputCap(len(data), limits), inTurns
	if err := s.start(data); err != nil {
		s.close()
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s.Reader.Reset((*cappedReader)(s))
	return s, nil
}

func outputCap(compressed int, limits *Limits) int64 {
	most, ratio := limits.MaxUncompressed, limits.MaxRatio
	if most <= 0 {
		most = defaultMaxUncompressed
	}
	if ratio <= 0 {
		ratio = defaultMaxRatio
	}
	return min(most, max(ratioFloor, int64(compressed)*ratio))
}

// start points the codec's decompressor at data.
func (s *stream) start(data []byte) (err error) {
	switch s.codec {
	case Gzip:
		if s.gzip == nil {
			s.gzip = new(gzip.Reader)
		}
		s.out = s.gzip
		return s.gzip.Reset(&s.src)
	case Snappy:
		s.out = &s.snappy
		s.snappy.beforeLarge = s.takeTurn
		return s.snappy.reset(data, s.max)
	case LZ4:
		if s.lz4 == nil {
			s.lz4 = lz4.NewReader(nil)
		}
		s.out = s.lz4
		s.lz4.Reset(&s.src)
		return nil
	default:
		return s.startZstd(data)
	}
}

func (s *stream) startZstd(data []byte) (err error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return err
	}
	if window := h.WindowSize; window > zstdWindow {
		if window > zstdUltraWindow {
			return zstd.ErrWindowSizeExceeded
		}
		zstdUltra.Lock()
		s.ultra = true
		if zstdUltra.decoder == nil {
			if zstdUltra.decoder, err = newZstd(zstdUltraWindow); err != nil {
				return err
			}
		}
		s.out = zstdUltra.decoder
		return zstdUltra.decoder.Reset(&s.src)
	}
	if s.zstd == nil {
		if s.zstd, err = newZstd(zstdWindow); err != nil {
			return err
		}
	}
	s.out = s.zstd
	return s.zstd.Reset(&s.src)
}

// newZstd makes a decoder that works on its caller's goroutine and never holds a whole output.
func newZstd(window uint64) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecodeBuffersBelow(0))
}

// close gives the decompressor back. Nothing read from the stream may be used afterwards.
func (s *stream) close() {
	s.src.Reset(nil)
	s.snappy.release()
	if s.ultra {
		s.ultra = false
		zstdUltra.decoder = nil // 128 MiB are not kept for the next time, which may never come
		zstdUltra.Unlock()
	}
	s.out = nil
	if s.turn {
		s.turn = false
		<-turns
	}
	streams[s.codec].Put(s)
}

// cappedReader is a stream's output with its caps.
type cappedReader stream

func (r *cappedReader) Read(p []byte) (int, error) {
	if r.total > takesTurns {
		(*stream)(r).takeTurn()
	}
	n, err := r.out.Read(p)
	if r.total += int64(n); r.total > r.max {
		return 0, fmt.Errorf("%w: more than %d bytes come out of %d", ErrTooLarge, r.max, r.src.Size())
	}
	return n, err
}

// streamError makes an error of a decompressor one of this package's.
func streamError(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: decompress: %w", ErrInvalid, err)
}

// xerialHeader opens snappy-java's framing: chunks, each with its length. Whatever begins otherwise is one raw block.
var xerialHeader = []byte("\x82SNAPPY\x00")

const xerialHeaderLen = 16 // with two version numbers, which nobody ever changed

func isXerial(data []byte) bool {
	return len(data) >= xerialHeaderLen && bytes.HasPrefix(data, xerialHeader)
}

// snappyReader decodes snappy blocks one after the other.
type snappyReader struct {
	data   []byte // not yet decoded
	xerial bool
	max    int64
	buf    []byte // reused between blocks
	block  []byte // decoded, not yet read

	beforeLarge func() // called before a block is decoded of which much comes out
}

func (r *snappyReader) reset(data []byte, limit int64) error {
	r.data, r.xerial, r.max, r.block = data, isXerial(data), limit, nil
	if r.xerial {
		r.data = data[xerialHeaderLen:]
	}
	return nil
}

// release drops references; a buffer that one large block grew is not kept.
func (r *snappyReader) release() {
	r.data, r.block, r.beforeLarge = nil, nil, nil
	if cap(r.buf) > maxPooledBlock {
		r.buf = nil
	}
}

func (r *snappyReader) Read(p []byte) (int, error) {
	for len(r.block) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

func (r *snappyReader) next() error {
	if len(r.data) == 0 {
		return io.EOF
	}
	block := r.data
	if r.xerial {
		// Concatenated streams repeat the header; snappy-java's reader accepts that.
		if isXerial(r.data) {
			r.data = r.data[xerialHeaderLen:]
			return nil
		}
		if len(r.data) < 4 {
			return io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(r.data))
		if n > int64(len(r.data)-4) {
			return io.ErrUnexpectedEOF
		}
		block = r.data[4 : 4+n]
	}
	if large(block) {
		r.beforeLarge()
	}
	out, err := snappyBlock(r.buf, block, r.max)
	if err != nil {
		return err
	}
	r.buf, r.block = out[:cap(out)], out
	r.data = r.data[len(block):]
	if r.xerial {
		r.data = r.data[4:]
	}
	return nil
}

// snappyBlock decodes one raw block. No snappy block grows more than 64 bytes out of 3, so a larger promise is refused
// before memory is taken for it.
func snappyBlock(buf, block []byte, limit int64) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if int64(n) > limit {
		return nil, fmt.Errorf("%w: snappy block of %d bytes", ErrTooLarge, n)
	}
	if n > 22*len(block) {
		return nil, fmt.Errorf("snappy block of %d bytes cannot hold %d", len(block), n)
	}
	return s2.Decode(buf, block)
}

// large tells whether so much comes out of a snappy block that its decoding waits for a turn. What is no block is none.
func large(block []byte) bool {
	n, err := s2.DecodedLen(block)
	return err == nil && n > takesTurns
}
