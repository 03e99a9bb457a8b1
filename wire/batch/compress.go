package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLevel asks for a codec's own default. Other levels are Kafka's: compression.gzip.level, .lz4.level, .zstd.level.
const DefaultLevel = math.MinInt32

// Recompress appends v with its records under another codec to dst, as compression.type asks, and leaves v as it is.
// The header is v's but for length, codec and CRC. The batch must have passed Validate. Level is ignored where the codec
// has none.
func Recompress(dst []byte, v View, codec Codec, level int, limits Limits) (View, error) {
	if codec < None || codec > Zstd {
		return nil, fmt.Errorf("%w: %d", ErrCodec, codec)
	}
	records := []byte(v[HeaderLen:])
	if v.Attributes().Codec() != None {
		s, err := openStream(v.Attributes().Codec(), records, &limits, true)
		if err != nil {
			return nil, err
		}
		defer s.close() // what has come out of it is in memory until it is compressed again: so long lasts its turn
		if records, err = s.readAll(); err != nil {
			return nil, err
		}
	}
	start := len(dst)
	dst = append(dst, v[:HeaderLen]...)
	dst, err := compress(dst, records, codec, level)
	if err != nil {
		return nil, err
	}
	return finish(dst[start:], codec)
}

// finish makes a batch of a header and the records that follow it: length, codec, CRC.
func finish(p []byte, codec Codec) (View, error) {
	if len(p)-prefixLen > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(p))
	}
	out := View(p)
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-prefixLen))
	binary.BigEndian.PutUint16(out[21:], uint16(out.Attributes())&^codecBits|uint16(codec))
	out.seal()
	return out, nil
}

func decompress(codec Codec, data []byte, limits *Limits) ([]byte, error) {
	s, err := openStream(codec, data, limits, false)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.readAll()
}

func (s *stream) readAll() ([]byte, error) {
	var out bytes.Buffer
	if _, err := out.ReadFrom(s); err != nil {
		return nil, streamError(err)
	}
	return out.Bytes(), nil
}

// compress appends src under codec to dst.
func compress(dst, src []byte, codec Codec, level int) ([]byte, error) {
	switch codec {
	case Gzip:
		return compressGzip(dst, src, level)
	case Snappy:
		// snappy-java's framing, which is what Kafka's broker writes.
		return append(dst, xerial.Encode(nil, src)...), nil
	case LZ4:
		return compressLZ4(dst, src, level)
	case Zstd:
		return compressZstd(dst, src, level)
	default:
		return append(dst, src...), nil
	}
}

// gzipWriters has a pool for each level from -1 to 9.
var gzipWriters [11]sync.Pool

func compressGzip(dst, src []byte, level int) ([]byte, error) {
	if level == DefaultLevel {
		level = gzip.DefaultCompression
	}
	if level < gzip.DefaultCompression || level > gzip.BestCompression {
		return nil, fmt.Errorf("gzip level %d is not -1 … 9", level)
	}
	pool := &gzipWriters[level+1]
	out := bytes.NewBuffer(dst)
	w, _ := pool.Get().(*gzip.Writer)
	if w == nil {
		var err error
		if w, err = gzip.NewWriterLevel(out, level); err != nil {
			return nil, err
		}
	}
	w.Reset(out)
	if err := writeAll(w, src); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	pool.Put(w)
	return out.Bytes(), nil
}

var lz4Writers sync.Pool

// Kafka's default level 9 is lz4's fast mode; every other is a high-compression level, of which this library has nine.
const kafkaLZ4Default = 9

func compressLZ4(dst, src []byte, level int) ([]byte, error) {
	l := lz4.Fast
	if level != DefaultLevel && level != kafkaLZ4Default {
		if level < 1 || level > 17 {
			return nil, fmt.Errorf("lz4 level %d is not 1 … 17", level)
		}
		l = lz4.CompressionLevel(1 << (8 + min(level, 9)))
	}
	out := bytes.NewBuffer(dst)
	w, _ := lz4Writers.Get().(*lz4.Writer)
	if w == nil {
		w = lz4.NewWriter(out)
	}
	w.Reset(out)
	if err := w.Apply(lz4.CompressionLevelOption(l), lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
		return nil, fmt.Errorf("lz4: %w", err)
	}
	if err := writeAll(w, src); err != nil {
		return nil, fmt.Errorf("lz4: %w", err)
	}
	lz4Writers.Put(w)
	return out.Bytes(), nil
}

func writeAll(w io.WriteCloser, src []byte) error {
	if _, err := w.Write(src); err != nil {
		return err
	}
	return w.Close()
}

// zstdEncoders has one encoder per speed of the library, made when first asked for; EncodeAll is safe for all to share.
var zstdEncoders struct {
	sync.Mutex
	by [zstd.SpeedBestCompression + 1]*zstd.Encoder
}

func compressZstd(dst, src []byte, level int) ([]byte, error) {
	speed := zstd.SpeedDefault
	if level != DefaultLevel {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	zstdEncoders.Lock()
	e := zstdEncoders.by[speed]
	if e == nil {
		var err error
		e, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
		if err != nil {
			zstdEncoders.Unlock()
			return nil, fmt.Errorf("zstd: %w", err)
		}
		zstdEncoders.by[speed] = e
	}
	zstdEncoders.Unlock()
	return e.EncodeAll(src, dst), nil
}
