package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// raw is an uncompressed record of parts that may lie.
func raw(timestampDelta, offsetDelta, keyLen int64, key []byte, valueLen int64, value []byte, headers int64, rest ...byte) []byte {
	p := []byte{0}
	p = binary.AppendVarint(p, timestampDelta)
	p = binary.AppendVarint(p, offsetDelta)
	p = append(binary.AppendVarint(p, keyLen), key...)
	p = append(binary.AppendVarint(p, valueLen), value...)
	p = append(binary.AppendVarint(p, headers), rest...)
	return append(binary.AppendVarint(nil, int64(len(p))), p...)
}

// around makes a batch with a right CRC of records, which are taken as they are.
func around(t testing.TB, codec Codec, records []byte, count int32) View {
	t.Helper()
	b := Builder{Codec: codec, count: count, next: count, first: 1000, max: 1000, records: records}
	v, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Records that lie about counts, offsets or lengths are refused, whether they are compressed or not, and whether or not
// they fit a buffer.
func TestValidateRefusesLies(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 2*streamBuffer)
	good := raw(0, 0, -1, nil, 3, []byte("abc"), 0)
	for name, c := range map[string]struct {
		records []byte
		count   int32
	}{
		"no records":               {nil, 1},
		"more promised than there": {good, 2},
		"fewer promised":           {append(bytes.Clone(good), raw(0, 1, -1, nil, -1, nil, 0)...), 1},
		"offset twice":             {append(bytes.Clone(good), good...), 2},
		"offset from 1":            {raw(0, 1, -1, nil, -1, nil, 0), 1},
		"key too long":             {raw(0, 0, 100, nil, -1, nil, 0), 1},
		"value too long":           {raw(0, 0, -1, nil, 4, []byte("abc"), 0), 1},
		"value too short":          {raw(0, 0, -1, nil, 2, []byte("abc"), 0), 1},
		"key of -2":                {raw(0, 0, -2, nil, -1, nil, 0), 1},
		"headers of -1":            {raw(0, 0, -1, nil, -1, nil, -1), 1},
		"2^40 headers":             {raw(0, 0, -1, nil, -1, nil, 1<<40), 1},
		"null header key":          {raw(0, 0, -1, nil, -1, nil, 1, 1, 1), 1},
		"bytes behind headers":     {raw(0, 0, -1, nil, -1, nil, 0, 9), 1},
		"a record of -1":           {[]byte{1}, 1},
		"a record of 2^60":         {binary.AppendVarint(nil, 1<<60), 1},
		"an endless varint":        {bytes.Repeat([]byte{0xff}, 20), 1},
		"big, value too long":      {raw(0, 0, -1, nil, int64(len(big))+1, big, 0), 1},
		"big, value too short":     {raw(0, 0, -1, nil, int64(len(big))-5, big, 0), 1},
		"big, offset from 1":       {raw(0, 1, -1, nil, int64(len(big)), big, 0), 1},
		"big, key of -2":           {raw(0, 0, -2, nil, int64(len(big)), big, 0), 1},
		"big, many headers":        {raw(0, 0, -1, nil, int64(len(big)), big, 1<<30), 1},
		"big, null header key":     {raw(0, 0, -1, nil, int64(len(big)), big, 1, 1, 1), 1},
		"big, bytes behind":        {raw(0, 0, -1, nil, int64(len(big)), big, 0, 9), 1},
		"big, cut short":           {raw(0, 0, -1, nil, int64(len(big)), big, 0)[:len(big)], 1},
	} {
		for _, codec := range codecs {
			v := around(t, codec, c.records, c.count)
			if err := v.CheckCRC(); err != nil {
				t.Fatal(err)
			}
			if _, err := Validate(v, Limits{}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, codec %d: %v", name, codec, err)
			}
			for range Records(v).All { // must end
			}
		}
	}
}

// Headers that say what no producer may say are refused, each with its own kind of error.
func TestValidateHeader(t *testing.T) {
	set := func(at int, b ...byte) func(View) { return func(v View) { copy(v[at:], b) } }
	for name, c := range map[string]struct {
		change func(View)
		limits Limits
		want   error
	}{
		"as built":                      {func(View) {}, Limits{}, nil},
		"no records":                    {set(57, 0, 0, 0, 0), Limits{}, ErrInvalid},
		"count -1":                      {set(57, 0xff, 0xff, 0xff, 0xff), Limits{}, ErrInvalid},
		"last offset delta":             {set(23, 0, 0, 0, 9), Limits{}, ErrInvalid},
		"codec 5":                       {set(22, 5), Limits{}, ErrCodec},
		"control":                       {set(22, controlBit), Limits{}, ErrInvalid},
		"control from a leader":         {set(22, controlBit), Limits{AllowControl: true}, nil},
		"delete horizon from a client":  {set(22, deleteHorizonBit), Limits{}, ErrInvalid},
		"delete horizon from a leader":  {set(22, deleteHorizonBit), Limits{AllowControl: true}, nil},
		"transactional, no producer":    {set(22, transactionalBit), Limits{}, ErrInvalid},
		"producer without sequence":     {set(43, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), Limits{}, ErrInvalid},
		"producer without epoch":        {set(43, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0), Limits{}, ErrInvalid},
		"producer":                      {set(43, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0), Limits{}, nil},
		"LogAppendTime from a producer": {set(22, logAppendTimeBit), Limits{}, ErrTimestamp},
		"the topic's own LogAppendTime": {set(22, logAppendTimeBit), Limits{LogAppendTime: true}, nil},
		"too early":                     {func(View) {}, Limits{Earliest: 1_700_000_000_001, Latest: 1 << 60}, ErrTimestamp},
		"too late":                      {func(View) {}, Limits{Latest: 1_700_000_000_000}, ErrTimestamp},
		"in time":                       {func(View) {}, Limits{Earliest: 1_700_000_000_000, Latest: 1_700_000_000_001}, nil},
		"with keys":                     {func(View) {}, Limits{RequireKeys: true}, nil},
	} {
		v := build(t, None, 2, 5)
		c.change(v)
		if _, err := Validate(v, c.limits); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A keyless record on a compacted topic is named by its index, compressed or not, small or large.
func TestKeylessRecord(t *testing.T) {
	for _, codec := range codecs {
		for _, n := range []int{10, 2 * streamBuffer} {
			b := Builder{Codec: codec}
			b.Add(1, []byte("key"), []byte("v"))
			b.Add(1, nil, bytes.Repeat([]byte("v"), n))
			v, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			var rec *RecordError
			if _, err := Validate(v, Limits{RequireKeys: true}); !errors.As(err, &rec) || rec.Index != 1 {
				t.Errorf("codec %d: %v", codec, err)
			}
			if _, err := Validate(v, Limits{}); err != nil {
				t.Errorf("codec %d: %v", codec, err)
			}
		}
	}
}

// Batches of the old formats are told apart from damage, so that their clients hear which it is.
func TestMagic(t *testing.T) {
	v := build(t, None, 1, 10)
	for magic, want := range map[byte]error{0: ErrMagic, 1: ErrMagic, 2: nil, 3: ErrCorrupt, 0xff: ErrCorrupt} {
		v[16] = magic
		if _, _, err := Next(v); !errors.Is(err, want) {
			t.Errorf("magic %d: %v", magic, err)
		}
	}
	old := append(make([]byte, 8), 0, 0, 0, 14, 1, 2, 3, 4, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	if _, err := Check(old); !errors.Is(err, ErrMagic) {
		t.Errorf("a message of format v1: %v", err)
	}
}

// A changed byte anywhere that the CRC covers is found by it.
func TestCRC(t *testing.T) {
	v := build(t, Zstd, 5, 100)
	for i := crcFrom; i < len(v); i++ {
		v[i] ^= 0x40
		if err := v.CheckCRC(); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
		v[i] ^= 0x40
	}
	v.Stamp(1<<40, 77)
	if err := v.CheckCRC(); err != nil || v.BaseOffset() != 1<<40 || v.LeaderEpoch() != 77 {
		t.Errorf("stamped: %v", err)
	}
}

// Stamping a timestamp keeps the batch whole, and LogAppendTime makes it every record's.
func TestTimestamps(t *testing.T) {
	v := build(t, Gzip, 3, 10)
	v.SetMaxTimestamp(5)
	if err := v.CheckCRC(); err != nil || v.MaxTimestamp() != 5 || v.Attributes().LogAppendTime() {
		t.Errorf("%v, %d", err, v.MaxTimestamp())
	}
	v.SetLogAppendTime(99)
	if err := v.CheckCRC(); err != nil || v.MaxTimestamp() != 99 || !v.Attributes().LogAppendTime() || v.Attributes().Codec() != Gzip {
		t.Errorf("%v, %d", err, v.MaxTimestamp())
	}
	for r := range Records(v).All {
		if r.Timestamp != 99 {
			t.Errorf("record at %d", r.Timestamp)
		}
	}
	if info, err := Validate(v, Limits{LogAppendTime: true}); err != nil || info.MaxTimestamp != 99 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Decompression stops at its caps: a bomb is refused having used little memory, whatever it is packed in.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	bomb := raw(0, 0, -1, nil, int64(len(zeros)), zeros, 0)
	for _, codec := range codecs[1:] {
		v := around(t, codec, bomb, 1)
		_, err := Validate(v, Limits{MaxUncompressed: 1 << 20})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("codec %d: %v", codec, err)
		}
		_, err = Validate(v, Limits{MaxRatio: 2})
		if want := len(bomb)/len(v) >= 4; want != errors.Is(err, ErrTooLarge) {
			t.Errorf("codec %d of ratio %d: %v", codec, len(bomb)/len(v), err)
		}
		if _, err := Validate(v, Limits{MaxRatio: 1 << 40}); err != nil {
			t.Errorf("codec %d without a cap that matters: %v", codec, err)
		}
	}
}

// A crowd of clients that send little of which much comes out would take all memory and every processor.
func TestLargeBatchesTakeTurns(t *testing.T) {
	record := func(n int) []byte { return raw(0, 0, -1, nil, int64(n), make([]byte, n), 0) }
	block := func(n int) View { // of snappy without framing
		v := around(t, None, s2.EncodeSnappy(nil, record(n)), 1)
		v[22] |= byte(Snappy)
		v.seal()
		return v
	}
	const little, much = takesTurns / 2, takesTurns * 3 / 2
	validate := func(v View) func() error {
		return func() error { _, err := Validate(v, Limits{}); return err }
	}
	for name, c := range map[string]struct {
		do    func() error
		waits bool
	}{
		"little gzip":         {validate(around(t, Gzip, record(little), 1)), false},
		"little snappy":       {validate(around(t, Snappy, record(little), 1)), false},
		"little snappy block": {validate(block(little)), false},
		"uncompressed":        {validate(around(t, None, record(much), 1)), false},
		"gzip":                {validate(around(t, Gzip, record(much), 1)), true},
		"snappy":              {validate(around(t, Snappy, record(much), 1)), true},
		"snappy block":        {validate(block(much)), true},
		"another codec": {func() error {
			_, err := Recompress(nil, around(t, Gzip, record(much), 1), Snappy, DefaultLevel, Limits{})
			return err
		}, true},
		"a walk": {func() error {
			it := RecordsWithin(block(much), Limits{})
			for range it.All {
			}
			return it.Err()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			// The other codecs' readers keep channels between uses, which synctest forbids; they are streams as gzip is.
			synctest.Test(t, func(t *testing.T) {
				defer func(all chan struct{}) { turns = all }(turns)
				turns = make(chan struct{}, 1)
				turns <- struct{}{}
				done := make(chan error, 1)
				go func() { done <- c.do() }()
				synctest.Wait()
				if waits := len(done) == 0; waits != c.waits {
					t.Errorf("waits: %t", waits)
				}
				<-turns
				if err := <-done; err != nil {
					t.Error(err)
				}
				if len(turns) != 0 {
					t.Error("the turn did not end")
				}
			})
		})
	}
}

// A zstd frame may ask for the window of any level, and for no more.
func TestZstdWindows(t *testing.T) {
	records := raw(0, 0, -1, nil, 9, []byte("something"), 0)
	for window, ok := range map[int]bool{1 << 20: true, 8 << 20: true, 128 << 20: true, 256 << 20: false} {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // a stream of unknown length declares its window
			if err := writeFlush(w, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeFlush(w, records); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		v := around(t, None, out.Bytes(), 1)
		v[22] |= byte(Zstd)
		v.seal()
		if _, err := Validate(v, Limits{}); (err == nil) != ok {
			t.Errorf("window %d: %v", window, err)
		}
	}
}

func writeFlush(w *zstd.Encoder, p []byte) error {
	if _, err := w.Write(p); err != nil {
		return err
	}
	return w.Flush()
}

// Any batch that the builder makes is valid, and what is read is what went in; bytes that follow it are the rest.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Builder{Codec: Codec(rapid.IntRange(0, 4).Draw(t, "codec"))}
		type kv struct{ key, value []byte }
		var want []kv
		blob := rapid.Custom(func(t *rapid.T) []byte {
			if rapid.Bool().Draw(t, "null") {
				return nil
			}
			return append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")...)
		})
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			r := kv{blob.Draw(t, "key"), blob.Draw(t, "value")}
			want = append(want, r)
			b.Add(rapid.Int64Range(0, 1<<50).Draw(t, "timestamp"), r.key, r.value)
		}
		v, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := Next(append(bytes.Clone(v), "rest"...))
		if err != nil || string(rest) != "rest" || got.CheckCRC() != nil {
			t.Fatalf("%v, rest %q", err, rest)
		}
		if info, err := Validate(got, Limits{}); err != nil || info.MaxTimestamp != got.MaxTimestamp() {
			t.Fatalf("%+v, %v", info, err)
		}
		i := 0
		for r := range Records(got).All {
			if fmt.Sprintf("%#v %#v", r.Key, r.Value) != fmt.Sprintf("%#v %#v", want[i].key, want[i].value) {
				t.Fatalf("record %d: %#v %#v", i, r.Key, r.Value)
			}
			i++
		}
		if i != len(want) {
			t.Fatalf("%d of %d records", i, len(want))
		}
	})
}

// Checking and validating what is not compressed takes no memory.
func TestNoAllocations(t *testing.T) {
	v := build(t, None, 100, 100)
	if n := testing.AllocsPerRun(10, func() {
		if _, err := Check(v); err != nil {
			t.Fatal(err)
		}
		if _, err := Validate(v, Limits{Latest: 1 << 60, RequireKeys: true}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the bytes are, cutting, validating and iterating ends without a panic, and what is valid can be iterated whole.
func FuzzBatch(f *testing.F) {
	for _, codec := range codecs {
		f.Add([]byte(build(f, codec, 3, 20)))
	}
	golden, err := filepath.Glob(filepath.Join("testdata", "golden", "*.batch"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range golden {
		p, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		for len(p) > 0 {
			v, rest, err := Next(p)
			if err != nil {
				if v != nil || !bytes.Equal(rest, p) {
					t.Fatal("a failed Next moves on")
				}
				return
			}
			if len(v) < HeaderLen || len(v) != v.Size() || len(v)+len(rest) != len(p) {
				t.Fatalf("%d bytes cut into %d and %d", len(p), len(v), len(rest))
			}
			fuzzOne(t, v)
			p = rest
		}
	})
}

func fuzzOne(t *testing.T, v View) {
	limits := Limits{MaxUncompressed: 1 << 20, AllowControl: true}
	info, err := Validate(v, limits)
	it, n := RecordsWithin(v, limits), int32(0)
	for r := range it.All {
		for range r.Headers.All {
		}
		n++
	}
	if err == nil && (it.Err() != nil || n != info.Count) {
		t.Fatalf("a valid batch of %d records yields %d, %v", info.Count, n, it.Err())
	}
	if err == nil {
		if _, err := Recompress(nil, v, LZ4, DefaultLevel, limits); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	v := build(b, None, 1000, 1000)
	b.SetBytes(int64(len(v)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Check(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, codec := range codecs {
		b.Run(fmt.Sprint(codec), func(b *testing.B) {
			v := build(b, codec, 1000, 1000)
			b.SetBytes(1000 * 1000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Validate(v, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
