package batch

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func build(t testing.TB, codec Codec, records, valueLen int) View {
	t.Helper()
	b := &Builder{Codec: codec, BaseOffset: 1000}
	for i := range records {
		b.Add(1_700_000_000_000+int64(i), []byte(fmt.Sprintf("key-%d", i)), bytes.Repeat([]byte{byte('a' + i%26)}, valueLen), Header{"h", []byte("v")}, Header{"null", nil})
	}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// What is built is whole, valid and reads back as it was, under every codec and for records smaller and larger than any
// buffer.
func TestBuildValidateRead(t *testing.T) {
	for _, codec := range codecs {
		for _, valueLen := range []int{0, 10, 1000, streamBuffer - 10, streamBuffer, 3 * streamBuffer} {
			v := build(t, codec, 20, valueLen)
			if n, err := Check(v); n != 1 || err != nil {
				t.Fatalf("codec %d: Check: %d, %v", codec, n, err)
			}
			info, err := Validate(v, Limits{})
			if err != nil {
				t.Fatalf("codec %d, values of %d: %v", codec, valueLen, err)
			}
			if info.Count != 20 || info.MaxTimestamp != 1_700_000_000_019 || info.MaxTimestampDelta != 19 {
				t.Errorf("codec %d: %+v", codec, info)
			}
			it, i := Records(v), 0
			for r := range it.All {
				var headers []string
				for k, val := range r.Headers.All {
					headers = append(headers, fmt.Sprintf("%s=%s,%v", k, val, val == nil))
				}
				if int(r.Offset) != 1000+i || r.Timestamp != 1_700_000_000_000+int64(i) || string(r.Key) != fmt.Sprintf("key-%d", i) ||
					len(r.Value) != valueLen || fmt.Sprint(headers) != "[h=v,false null=,true]" {
					t.Fatalf("codec %d: record %d is %+v with headers %v", codec, i, r, headers)
				}
				i++
			}
			if it.Err() != nil || i != 20 {
				t.Errorf("codec %d: %d records, %v", codec, i, it.Err())
			}
		}
	}
}

// A batch recompressed to any codec has the same records, and its own CRC.
func TestRecompress(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			v := build(t, from, 10, 5000)
			w, err := Recompress([]byte("before"), v, to, DefaultLevel, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Check(w); err != nil {
				t.Fatal(err)
			}
			info, err := Validate(w, Limits{})
			if err != nil || w.Attributes().Codec() != to {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
			if want, _ := Validate(v, Limits{}); info != want {
				t.Errorf("%d to %d: %+v, want %+v", from, to, info, want)
			}
		}
	}
}

// Cutting a batch short anywhere is told as ErrShort, which is an ErrCorrupt, or as bad magic; never as a whole batch.
func TestNextShort(t *testing.T) {
	v := build(t, None, 3, 10)
	for n := range len(v) {
		if _, _, err := Next(v[:n]); !errors.Is(err, ErrShort) || !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(v), err)
		}
	}
	two := append(append([]byte{}, v...), v...)
	got, rest, err := Next(two)
	if err != nil || !bytes.Equal(got, v) || !bytes.Equal(rest, v) {
		t.Fatalf("%d, %d, %v", len(got), len(rest), err)
	}
}
