package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "write the golden batches anew")

// foreign is a batch as franz-go's producer makes it: its structs, its compressors.
func foreign(t testing.TB, codec kgo.CompressionCodec, records int) []byte {
	t.Helper()
	var raw []byte
	for i := range records {
		r := kmsg.Record{TimestampDelta64: int64(i * 3), OffsetDelta: int32(i), Key: []byte(fmt.Sprint("key", i)),
			Value: bytes.Repeat([]byte("value "), i%50), Headers: []kmsg.Header{{Key: "h", Value: []byte{byte(i)}}}}
		if i%5 == 0 {
			r.Key = nil
		}
		if i%7 == 0 {
			r.Value = nil
		}
		// The length stands for itself as a varint: encode with none, then with the right one.
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		raw = r.AppendTo(raw)
	}
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	kind := kgo.CodecNone
	if compressor != nil {
		raw, kind = compressor.Compress(new(bytes.Buffer), raw)
	}
	b := kmsg.RecordBatch{FirstOffset: 0, Magic: 2, Attributes: int16(kind), LastOffsetDelta: int32(records - 1),
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000 + int64((records-1)*3),
		ProducerID: 12, ProducerEpoch: 3, FirstSequence: 77, NumRecords: int32(records), Records: raw}
	p := b.AppendTo(nil)
	binary.BigEndian.PutUint32(p[8:], uint32(len(p)-12))
	View(p).seal()
	return p
}

var foreignCodecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

// Batches that another implementation made, kept as they were, are whole and valid and have the records that went in:
// under every codec, snappy in both its framings.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, codec := range foreignCodecs {
			if err := os.WriteFile(filepath.Join(dir, name+".batch"), foreign(t, codec, 100), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		plain := View(foreign(t, kgo.NoCompression(), 100))
		xerial, err := Recompress(nil, plain, Snappy, DefaultLevel, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "xerial.batch"), xerial, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.batch"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%d golden batches, %v", len(files), err)
	}
	for _, file := range files {
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := Check(p); n != 1 || err != nil {
			t.Fatalf("%s: %d batches, %v", file, n, err)
		}
		v := View(p)
		info, err := Validate(v, Limits{})
		if err != nil || info.Count != 100 || info.MaxTimestamp != v.MaxTimestamp() || info.MaxTimestampDelta != 99 {
			t.Errorf("%s: %+v, %v", file, info, err)
		}
		if v.ProducerID() != 12 || v.ProducerEpoch() != 3 || v.BaseSequence() != 77 {
			t.Errorf("%s: producer %d, epoch %d, sequence %d", file, v.ProducerID(), v.ProducerEpoch(), v.BaseSequence())
		}
		it, i := Records(v), 0
		for r := range it.All {
			if (r.Key == nil) != (i%5 == 0) || (r.Value == nil) != (i%7 == 0) || len(r.Value) > 0 && len(r.Value) != 6*(i%50) ||
				r.Timestamp != 1_700_000_000_000+int64(3*i) || r.Headers.Len() != 1 {
				t.Fatalf("%s: record %d is %+v", file, i, r)
			}
			i++
		}
		if i != 100 || it.Err() != nil {
			t.Errorf("%s: %d records, %v", file, i, it.Err())
		}
	}
}

// What is compressed here, at any level, another implementation decompresses to the same records.
func TestOthersReadOurs(t *testing.T) {
	d := kgo.DefaultDecompressor()
	plain := build(t, None, 50, 300)
	for _, codec := range codecs[1:] {
		for _, level := range []int{DefaultLevel, 1, 3, 9} {
			v, err := Recompress(nil, plain, codec, level, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Decompress(v[HeaderLen:], kgo.CompressionCodecType(codec))
			if err != nil || !bytes.Equal(got, plain[HeaderLen:]) {
				t.Errorf("codec %d, level %d: %d bytes, %v", codec, level, len(got), err)
			}
		}
	}
}

// A level that a codec does not have is an error, not another level.
func TestLevels(t *testing.T) {
	plain := build(t, None, 1, 10)
	for codec, level := range map[Codec]int{Gzip: 10, LZ4: 18} {
		if _, err := Recompress(nil, plain, codec, level, Limits{}); err == nil {
			t.Errorf("codec %d takes level %d", codec, level)
		}
	}
	if _, err := Recompress(nil, plain, 7, DefaultLevel, Limits{}); !errors.Is(err, ErrCodec) {
		t.Errorf("codec 7: %v", err)
	}
}
