package partition

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/wire/batch"
)

// verify checks what a client sent before anything is locked, and puts what
// the topic's settings ask for into it: another codec, the broker's time.
func verify(records []byte, seen *batch.Checked, settings *config.Topic, now time.Time) (batch.View, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: no record batch", ErrInvalidRecord)
	}
	v, rest, err := batch.Next(records)
	if err != nil {
		return nil, translate(err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: more than one record batch for the partition", ErrInvalidRecord)
	}
	if v.BaseOffset() != 0 { // as Kafka: whoever names one has taken the batch from a log, and believes that it keeps its offsets
		return nil, fmt.Errorf("%w: the batch has base offset %d, which is not the producer's to give: send 0", ErrInvalidRecord, v.BaseOffset())
	}
	if len(v) > int(settings.MaxMessageBytes) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(v), settings.MaxMessageBytes)
	}
	if err := v.CheckCRCSeen(seen); err != nil {
		return nil, translate(err)
	}
	l := limits(settings, now)
	info, err := batch.ValidateSeen(v, l, seen)
	if err != nil {
		return nil, withAllKeyless(v, l, translate(err))
	}
	if settings.LogAppendTime {
		v.SetLogAppendTime(now.UnixMilli())
	} else if info.MaxTimestamp != v.MaxTimestamp() && !v.Attributes().LogAppendTime() {
		v.SetMaxTimestamp(info.MaxTimestamp)
	}
	// What a topic keeps uncompressed is bounded by the limit before it is unpacked, or a small batch could ask for a gigabyte.
	if settings.Compression == "uncompressed" &&
		info.Uncompressed+batch.HeaderLen > int64(settings.MaxMessageBytes) {
		return nil, fmt.Errorf("%w: %d bytes uncompressed, at most %d", ErrTooLarge, info.Uncompressed+batch.HeaderLen, settings.MaxMessageBytes)
	}
	if v, err = recompress(v, settings, l); err != nil {
		return nil, err
	}
	if len(v) > int(settings.MaxMessageBytes) {
		return nil, fmt.Errorf("%w: %d bytes under the topic's codec, at most %d", ErrTooLarge, len(v), settings.MaxMessageBytes)
	}
	return v, nil
}

func limits(settings *config.Topic, now time.Time) batch.Limits {
	l := batch.Limits{LogAppendTime: settings.LogAppendTime, RequireKeys: settings.Compact, Earliest: math.MinInt64, Latest: math.MaxInt64}
	ms := now.UnixMilli()
	if before := settings.TimestampBefore.Milliseconds(); before < ms {
		l.Earliest = ms - before
	}
	if after := settings.TimestampAfter.Milliseconds(); after < math.MaxInt64-ms {
		l.Latest = ms + after
	}
	return l
}

// keyless is the refusal of a batch for a compacted topic: which of its records have no key. Clients give the others another
// error, or send them again.
type keyless struct {
	error
	records []RecordError
}

func (k *keyless) Unwrap() error { return k.error }

// withAllKeyless names all records without a key, where the first of them is what a batch is refused for. Source: KIP-467, Kafka's LogValidator.
func withAllKeyless(v batch.View, l batch.Limits, err error) error {
	var first *batch.RecordError
	if !l.RequireKeys || !errors.As(err, &first) || first.Reason != batch.ReasonNoKey {
		return err
	}
	k := &keyless{error: err}
	index := int32(0)
	it := batch.RecordsWithin(v, l)
	for r := range it.All {
		if r.Key == nil {
			k.records = append(k.records, RecordError{Index: index, Message: batch.ReasonNoKey})
		}
		index++
	}
	return k
}

// recompressBytes bounds what a batch that gets another codec may be when it is not compressed: all of it is in memory then.
const recompressBytes = 64 << 20

// recompress gives the batch the codec of the topic's compression.type, unless that is the producer's choice.
func recompress(v batch.View, settings *config.Topic, l batch.Limits) (batch.View, error) {
	codec, ok := codecs[settings.Compression]
	if !ok || codec == v.Attributes().Codec() {
		return v, nil
	}
	level, ok := settings.CompressionLevel[settings.Compression]
	if !ok {
		level = batch.DefaultLevel
	}
	l.MaxUncompressed = recompressBytes
	out, err := batch.Recompress(nil, v, codec, level, l)
	if err != nil {
		return nil, translate(err)
	}
	return out, nil
}

// codecs are the values of compression.type but "producer".
var codecs = map[string]batch.Codec{
	"uncompressed": batch.None, "gzip": batch.Gzip, "snappy": batch.Snappy, "lz4": batch.LZ4, "zstd": batch.Zstd,
}

func translate(err error) error {
	for kind, ours := range map[error]error{
		batch.ErrMagic: ErrUnsupportedMagic, batch.ErrCorrupt: ErrCorruptBatch, batch.ErrTooLarge: ErrTooLarge,
		batch.ErrTimestamp: ErrInvalidTimestamp, batch.ErrInvalid: ErrInvalidRecord, batch.ErrCodec: ErrInvalidRecord,
	} {
		if errors.Is(err, kind) {
			return &badBatch{ours, err}
		}
	}
	return &badBatch{ErrCorruptBatch, err}
}

// badBatch is an error of package batch under this package's decision. Its text is the former's alone: the two say the same,
// and a producer reads it.
type badBatch struct{ kind, cause error }

func (e *badBatch) Error() string   { return e.cause.Error() }
func (e *badBatch) Unwrap() []error { return []error{e.kind, e.cause} }
