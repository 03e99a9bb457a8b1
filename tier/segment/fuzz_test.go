package segment

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"reflect"
	"testing"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// reseal makes the checksums of a trailer right where its lengths allow, so
// that a fuzzer reaches what lies behind them.
func reseal(object []byte) {
	if len(object) < footerLen {
		return
	}
	fixed := object[len(object)-footerLen:]
	copy(fixed[32:], magic)
	binary.BigEndian.PutUint16(fixed[24:], versionMajor)
	n := binary.BigEndian.Uint64(fixed[8:])
	if n <= uint64(len(object)-footerLen) {
		binary.BigEndian.PutUint64(fixed[0:], uint64(len(object)-footerLen)-n)
		for b := object[len(object)-footerLen-int(n) : len(object)-footerLen]; len(b) >= sectionHeaderLen; {
			k := uint64(binary.BigEndian.Uint32(b[4:]))
			if k > uint64(len(b)-sectionHeaderLen) {
				break
			}
			section := b[:sectionHeaderLen+int(k)]
			binary.BigEndian.PutUint32(section[8:], sectionCRC(section))
			b = b[len(section):]
		}
	}
	binary.BigEndian.PutUint32(fixed[28:], crc32.Checksum(fixed[:28], castagnoli))
}

// ReadFooter neither panics nor believes a length, whatever the object; what
// it accepts holds together and is written and read back as the same.
func FuzzReadFooter(f *testing.F) {
	data, _ := randomSegment(5, 12, 500, 100)
	whole := full(f, data)
	f.Add(whole.Append(bytes.Clone(data)))
	empty := mustScan(f, nil)
	f.Add(empty.Append(nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, object []byte) {
		for range 2 {
			footer, err := ReadFooter(bytes.NewReader(object), int64(len(object)))
			if err == nil {
				if err := footer.Check(); err != nil {
					t.Fatal(err)
				}
				again := footer.Append(make([]byte, footer.DataSize))
				back, err := ReadFooter(bytes.NewReader(again), int64(len(again)))
				if err != nil || !reflect.DeepEqual(normal(*back), normal(*footer)) {
					t.Fatalf("%+v became %+v, %v", footer, back, err)
				}
			}
			object = bytes.Clone(object)
			reseal(object)
		}
	})
}

// normal makes absent and empty sections alike.
func normal(f Footer) Footer {
	if len(f.Epochs) == 0 {
		f.Epochs = nil
	}
	if len(f.Aborted) == 0 {
		f.Aborted = nil
	}
	if len(f.State) == 0 {
		f.State = nil
	}
	return f
}

// Scan neither panics nor accepts what the plain walk over batches does not;
// the prefix that it calls sound is sound.
func FuzzScan(f *testing.F) {
	data, _ := randomSegment(5, 12, 500, 100)
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Fuzz(func(t *testing.T, p []byte) {
		footer, err := Scan(bytes.NewReader(p), int64(len(p)))
		if err == nil && footer.DataSize != int64(len(p)) {
			t.Fatal("accepted in part")
		}
		sound := p[:footer.DataSize]
		if _, err := batch.Check(sound); err != nil {
			t.Fatalf("the sound prefix: %v", err)
		}
		again, err := Scan(bytes.NewReader(sound), footer.DataSize)
		if err != nil || again.Next != footer.Next || again.Records != footer.Records {
			t.Fatalf("the sound prefix: %+v, %v", again, err)
		}
		if err := again.Check(); err != nil {
			t.Fatal(err)
		}
		if len(sound) > 0 {
			again.Epoch = math.MaxInt32 // the uploader
			if err := again.Verify(sound, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Search neither panics nor points elsewhere than at a batch of the walk.
func FuzzSearch(f *testing.F) {
	data, _ := randomSegment(5, 12, 500, 100)
	f.Add(data, int64(15))
	f.Add(data[:100], int64(1<<40))
	f.Fuzz(func(t *testing.T, p []byte, offset int64) {
		at, ok := Search(p, kafka.Offset(offset))
		if !ok {
			return
		}
		if len(p)-at < batch.HeaderLen || batch.View(p[at:]).LastOffset() < kafka.Offset(offset) {
			t.Fatalf("%d of %d for offset %d", at, len(p), offset)
		}
	})
}
