package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// spec describes a batch for a test.
type spec struct {
	base, records int64
	span          int64 // offsets covered; records when 0
	epoch         int32
	first, high   int64 // timestamps
	body          int
}

// appendBatch builds a batch whose records are noise: a segment never looks into them.
func appendBatch(dst []byte, s spec, rng *rand.Rand) []byte {
	if s.span == 0 {
		s.span = s.records
	}
	at := len(dst)
	dst = append(dst, make([]byte, batch.HeaderLen+s.body)...)
	b := dst[at:]
	binary.BigEndian.PutUint64(b[0:], uint64(s.base))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], uint32(s.epoch))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(s.span-1))
	binary.BigEndian.PutUint64(b[27:], uint64(s.first))
	binary.BigEndian.PutUint64(b[35:], uint64(s.high))
	binary.BigEndian.PutUint64(b[43:], ^uint64(0))
	binary.BigEndian.PutUint16(b[51:], ^uint16(0))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0))
	binary.BigEndian.PutUint32(b[57:], uint32(s.records))
	for i := batch.HeaderLen; i < len(b); i++ {
		b[i] = byte(rng.Uint32())
	}
	seal(b)
	return dst
}

// seal makes a batch's checksum right.
func seal(b []byte) { binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcStart:], castagnoli)) }

// randomSegment is size bytes or a little more of batches from base on.
func randomSegment(seed uint64, base int64, size, maxBody int) ([]byte, []spec) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var data []byte
	var specs []spec
	epoch := int32(3)
	at := int64(1_700_000_000_000)
	for len(data) < size {
		if rng.IntN(50) == 0 {
			epoch += 1 + rng.Int32N(3)
		}
		s := spec{base: base, records: 1 + rng.Int64N(20), epoch: epoch, body: rng.IntN(maxBody + 1)}
		s.first = at + rng.Int64N(2000) - 1000
		s.high = s.first + rng.Int64N(100)
		at += rng.Int64N(50)
		data = appendBatch(data, s, rng)
		specs = append(specs, s)
		base += s.records
	}
	return data, specs
}

func mustScan(t testing.TB, data []byte) Footer {
	t.Helper()
	f, err := Scan(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	return f
}

// Scan tells of a segment exactly what was put into it, wherever its pieces
// cut batches and headers.
func TestScanFacts(t *testing.T) {
	for _, size := range []struct{ data, body int }{{1, 0}, {3 << 20, 0}, {3 << 20, 300}, {2 << 20, 70_000}, {5 << 20, 1 << 20}} {
		data, specs := randomSegment(uint64(size.data+size.body), 1000, size.data, size.body)
		f := mustScan(t, data)
		last := specs[len(specs)-1]
		if f.Base != 1000 || f.Next != kafka.Offset(last.base+last.records) || f.Records != last.base+last.records-1000 || f.DataSize != int64(len(data)) {
			t.Fatalf("facts of %+v: %+v", size, f)
		}
		checkIndexAgainst(t, f, specs)
		for i := range f.Chunks {
			part := data[i*ChunkSize : min((i+1)*ChunkSize, len(data))]
			if f.Chunks[i] != crc32.Checksum(part, castagnoli) {
				t.Fatalf("chunk %d of %+v", i, size)
			}
		}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkIndexAgainst rebuilds index, epochs and timestamps the plain way.
func checkIndexAgainst(t *testing.T, f Footer, specs []spec) {
	t.Helper()
	var want Footer
	pos, next, running := int64(0), int64(0), BeforeAll
	want.MinTimestamp = specs[0].first
	for i, s := range specs {
		if pos >= next {
			want.Index = append(want.Index, IndexEntry{kafka.Offset(s.base), pos, running})
			next = pos + IndexInterval
		}
		if i == 0 || s.epoch != specs[i-1].epoch {
			want.Epochs = append(want.Epochs, EpochStart{kafka.LeaderEpoch(s.epoch), kafka.Offset(s.base)})
		}
		running = max(running, s.high)
		want.MinTimestamp = min(want.MinTimestamp, s.first)
		pos += int64(batch.HeaderLen + s.body)
	}
	if !reflect.DeepEqual(f.Index, want.Index) || !reflect.DeepEqual(f.Epochs, want.Epochs) || f.MaxTimestamp != running || f.MinTimestamp != want.MinTimestamp {
		t.Fatalf("index, epochs or timestamps differ from the batches'")
	}
}

// A segment with any one bit changed does not pass Scan, and Scan then reports
// the sound batches before the bad one; bits that no check can cover (the
// leader epoch's and base offset's, in the first batch) change the facts.
func TestScanFindsEveryFlippedBit(t *testing.T) {
	data, specs := randomSegment(7, 40, 3000, 200)
	whole := mustScan(t, data)
	for bit := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[bit/8] ^= 1 << (bit % 8)
		f, err := Scan(bytes.NewReader(bad), int64(len(bad)))
		if err == nil {
			if reflect.DeepEqual(f, whole) || bit/8 >= batch.HeaderLen && !epochByte(specs, bit/8) {
				t.Fatalf("bit %d flipped unnoticed", bit)
			}
			continue
		}
		if !errors.Is(err, ErrCorrupt) || f.DataSize > int64(bit/8) && !epochByte(specs, bit/8) {
			t.Fatalf("bit %d: %d sound bytes, %v", bit, f.DataSize, err)
		}
	}
}

// epochByte tells whether position i lies in a batch's leader epoch, which may
// grow unnoticed when no later batch contradicts it.
func epochByte(specs []spec, i int) bool {
	for _, s := range specs {
		if i < batch.HeaderLen+s.body {
			return i >= 12 && i < 16 || i < 8
		}
		i -= batch.HeaderLen + s.body
	}
	return false
}

// A segment cut anywhere but on a batch border is refused, with the sound prefix told.
func TestScanTornTail(t *testing.T) {
	data, specs := randomSegment(8, 0, 4000, 300)
	borders := map[int]bool{0: true}
	pos := 0
	for _, s := range specs {
		pos += batch.HeaderLen + s.body
		borders[pos] = true
	}
	sound := 0
	for n := range len(data) {
		if borders[n] {
			sound = n
		}
		f, err := Scan(bytes.NewReader(data[:n]), int64(n))
		if (err == nil) != borders[n] || f.DataSize != int64(sound) {
			t.Fatalf("cut at %d: %d sound, %v", n, f.DataSize, err)
		}
	}
}

// Offsets that skip, repeat or go back, epochs that fall, counts that lie are
// refused; what compaction leaves is accepted, and told.
func TestScanOrder(t *testing.T) {
	for _, c := range []struct {
		name            string
		second          spec
		good, compacted bool
	}{
		{"follows", spec{base: 15, records: 2, epoch: 5}, true, false},
		{"gap", spec{base: 16, records: 2, epoch: 5}, false, false},
		{"repeats", spec{base: 14, records: 2, epoch: 5}, false, false},
		{"epoch falls", spec{base: 15, records: 2, epoch: 4}, false, false},
		{"records missing", spec{base: 15, records: 2, span: 3, epoch: 5}, true, true},
		{"no records", spec{base: 15, records: 0, span: 3, epoch: 5}, true, true},
		{"too many records", spec{base: 15, records: 4, span: 3, epoch: 5}, false, false},
		{"negative base", spec{base: -15, records: 1, epoch: 5}, false, false},
		{"offsets overflow", spec{base: 1<<63 - 2, records: 5, epoch: 5}, false, false},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		data := appendBatch(nil, spec{base: 10, records: 5, epoch: 5, body: 30}, rng)
		data = appendBatch(data, c.second, rng)
		f, err := Scan(bytes.NewReader(data), int64(len(data)))
		if (err == nil) != c.good || f.Compacted != c.compacted {
			t.Errorf("%s: %v, compacted %v", c.name, err, f.Compacted)
		}
	}
}

// Scan does not call a reader's own failure corruption.
func TestScanReaderError(t *testing.T) {
	boom := errors.New("boom")
	_, err := Scan(failing{boom}, 5)
	if !errors.Is(err, boom) || errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// full is a footer with every field in use.
func full(t testing.TB, data []byte) Footer {
	f := mustScan(t, data)
	f.Cluster, f.Topic = "cluster-1", "orders"
	f.Partition = kafka.Partition{Topic: kafka.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Index: 7}
	f.Epoch = f.Epochs[len(f.Epochs)-1].Epoch + 2
	f.Epochs = append([]EpochStart{{0, 0}, {2, 5}}, f.Epochs...)
	f.Aborted = []AbortedTxn{{9, f.Base, f.Base + 3, f.Base}, {11, f.Base + 1, f.Base + 9, f.Base}}
	f.State = []byte("producer state")
	return f
}

// What Append writes, ReadFooter reads back, wherever the first guess at the
// trailer's length falls, in at most two reads.
func TestFooterRoundTrip(t *testing.T) {
	for _, n := range []int{0, 3000, TailGuess - 4000, TailGuess, 3 * TailGuess} {
		data, _ := randomSegment(uint64(n), 12, 5000, 500)
		f := full(t, data)
		f.State = make([]byte, n)
		for i := range f.State {
			f.State[i] = byte(i * 7)
		}
		if n == 0 {
			f.State = nil
		}
		object := f.Append(bytes.Clone(data))
		r := &counting{r: bytes.NewReader(object)}
		got, err := ReadFooter(r, int64(len(object)))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, f) {
			t.Fatalf("read %+v\nwrote %+v", *got, f)
		}
		if want := 1 + n/TailGuess; r.calls > min(want, 2) {
			t.Fatalf("%d reads with %d bytes of state", r.calls, n)
		}
	}
}

type counting struct {
	r     io.ReaderAt
	calls int
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	c.calls++
	return c.r.ReadAt(p, at)
}

// No change of one bit in a trailer goes unnoticed.
func TestFooterFindsEveryFlippedBit(t *testing.T) {
	data, _ := randomSegment(5, 12, 500, 100)
	f := full(t, data)
	object := f.Append(bytes.Clone(data))
	for bit := len(data) * 8; bit < len(object)*8; bit++ {
		bad := bytes.Clone(object)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := ReadFooter(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
	for n := range object {
		if _, err := ReadFooter(bytes.NewReader(object[:n]), int64(n)); err == nil {
			t.Fatalf("accepted when cut at %d", n)
		}
	}
}

// rewrite changes an object's sections and seals the footer again.
func rewrite(data, trailer []byte, sections uint32) []byte {
	object := append(bytes.Clone(data), trailer...)
	return appendFooter(object, uint64(len(data)), uint64(len(trailer)), sections)
}

// An unknown section is skipped, unless it says that it must be known; an
// unknown minor version is read, an unknown major version refused.
func TestFooterExtends(t *testing.T) {
	data, _ := randomSegment(5, 12, 500, 100)
	f := full(t, data)
	object := f.Append(bytes.Clone(data))
	trailer := object[len(data) : len(object)-footerLen]

	unknown := appendSection(nil, 999, func(b []byte) []byte { return append(b, "from the future"...) })
	for _, tr := range [][]byte{append(bytes.Clone(unknown), trailer...), append(bytes.Clone(trailer), unknown...)} {
		o := rewrite(data, tr, 7)
		if got, err := ReadFooter(bytes.NewReader(o), int64(len(o))); err != nil || !reflect.DeepEqual(*got, f) {
			t.Fatalf("unknown section: %v", err)
		}
	}

	binary.BigEndian.PutUint16(unknown[2:], flagMustKnow)
	binary.BigEndian.PutUint32(unknown[8:], sectionCRC(unknown))
	o := rewrite(data, append(bytes.Clone(trailer), unknown...), 7)
	if _, err := ReadFooter(bytes.NewReader(o), int64(len(o))); !errors.Is(err, ErrVersion) {
		t.Fatalf("section that must be known: %v", err)
	}

	minor := bytes.Clone(object)
	fixed := minor[len(minor)-footerLen:]
	binary.BigEndian.PutUint16(fixed[26:], 9)
	binary.BigEndian.PutUint32(fixed[28:], crc32.Checksum(fixed[:28], castagnoli))
	if _, err := ReadFooter(bytes.NewReader(minor), int64(len(minor))); err != nil {
		t.Fatalf("minor version: %v", err)
	}
	binary.BigEndian.PutUint16(fixed[24:], 2)
	if _, err := ReadFooter(bytes.NewReader(minor), int64(len(minor))); !errors.Is(err, ErrVersion) {
		t.Fatalf("major version: %v", err)
	}
}

// Locate and LocateTime never point behind what is sought, and Search from
// there finds the batch that holds it.
func TestLocateAndSearch(t *testing.T) {
	data, specs := randomSegment(21, 500, 1<<20, 20_000)
	f := mustScan(t, data)
	pos := 0
	for _, s := range specs {
		for _, o := range []int64{s.base, s.base + s.records - 1} {
			e := f.Locate(kafka.Offset(o))
			at, ok := Search(data[e.Pos:], kafka.Offset(o))
			if !ok || int(e.Pos)+at != pos {
				t.Fatalf("offset %d found at %d+%d, lies at %d", o, e.Pos, at, pos)
			}
		}
		pos += batch.HeaderLen + s.body
	}
	if _, ok := Search(data, f.Next); ok {
		t.Fatal("found what is not there")
	}
	if e := f.Locate(0); e != f.Index[0] {
		t.Fatalf("below the first: %+v", e)
	}
	for ts := f.MinTimestamp - 1; ts <= f.MaxTimestamp+1; ts += 7 {
		e := f.LocateTime(ts)
		first := int64(-1)
		pos := int64(0)
		for _, s := range specs {
			if s.high >= ts && first < 0 {
				first = pos
			}
			pos += int64(batch.HeaderLen + s.body)
		}
		if first >= 0 && (e.Pos > first || first-e.Pos > 2*IndexInterval+20_000) {
			t.Fatalf("time %d: begins at %d, first lies at %d", ts, e.Pos, first)
		}
	}
}

// Append refuses to write what could not be read.
func TestAppendPanicsOnBrokenFacts(t *testing.T) {
	data, _ := randomSegment(5, 12, 500, 100)
	f := full(t, data)
	f.Chunks = nil
	if err := f.Check(); err == nil {
		t.Fatal("Check passes without chunks")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	f.Append(nil)
}

func BenchmarkScan(b *testing.B) {
	for _, body := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(byteName(body), func(b *testing.B) {
			data, _ := randomSegment(3, 0, 64<<20, body)
			r := bytes.NewReader(data)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(r, int64(len(data))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func byteName(n int) string {
	if n >= 1<<20 {
		return "1MiB"
	}
	if n >= 64<<10 {
		return "64KiB"
	}
	return "1KiB"
}

func BenchmarkReadFooter(b *testing.B) {
	data, _ := randomSegment(3, 0, 64<<20, 30_000)
	f := full(b, data)
	object := f.Append(data)
	b.ReportMetric(float64(len(object)-int(f.DataSize)), "trailer-bytes")
	r := bytes.NewReader(object)
	for b.Loop() {
		if _, err := ReadFooter(r, int64(len(object))); err != nil {
			b.Fatal(err)
		}
	}
}
