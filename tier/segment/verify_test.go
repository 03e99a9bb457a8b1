package segment

import (
	"bytes"
	"errors"
	"testing"

	"github.com/qanat-io/qanat/wire/batch"
)

// Verify accepts any range between index entries, finds every changed bit in
// it, and refuses ranges that begin or end elsewhere.
func TestVerify(t *testing.T) {
	data, _ := randomSegment(11, 70, 400<<10, 9000)
	f := mustScan(t, data)
	f.Epoch = f.Epochs[len(f.Epochs)-1].Epoch
	borders := []int64{}
	for _, e := range f.Index {
		borders = append(borders, e.Pos)
	}
	borders = append(borders, f.DataSize)
	for i, from := range borders {
		for _, to := range borders[i:] {
			if i == len(borders)-1 {
				continue
			}
			if err := f.Verify(data[from:to], from); err != nil {
				t.Fatalf("[%d, %d): %v", from, to, err)
			}
		}
	}
	if err := f.Verify(data[:borders[1]-1], 0); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if err := f.Verify(data[batch.HeaderLen:], batch.HeaderLen); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if err := f.Verify(data[borders[1]:borders[2]], borders[2]); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	// Whole batches, but one too few.
	v, _, err := batch.Next(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(v, 0); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}

	p := bytes.Clone(data[borders[2]:borders[3]])
	for i := 0; i < len(p); i++ {
		if i > 500 && i%97 != 0 {
			continue
		}
		for bit := range 8 {
			p[i] ^= 1 << bit
			if err := f.Verify(p, borders[2]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
			p[i] ^= 1 << bit
		}
	}
}

// Verify costs no memory.
func TestVerifyAllocatesNothing(t *testing.T) {
	data, _ := randomSegment(11, 70, 400<<10, 900)
	f := mustScan(t, data)
	if n := testing.AllocsPerRun(10, func() {
		if err := f.Verify(data, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
