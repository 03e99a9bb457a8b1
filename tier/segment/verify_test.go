package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
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

// The history goes in front of the data's own epochs, which win where they
// disagree, so that a scanned segment always passes Verify.
func TestSetHistory(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	data := appendBatch(nil, spec{base: 100, records: 5, epoch: 4}, rng)
	data = appendBatch(data, spec{base: 105, records: 5, epoch: 6}, rng)
	own := []EpochStart{{4, 100}, {6, 105}}
	for _, c := range []struct {
		name          string
		history, want []EpochStart
	}{
		{"none", nil, own},
		{"whole", []EpochStart{{0, 0}, {4, 90}, {6, 105}}, []EpochStart{{0, 0}, {4, 90}, {6, 105}}},
		{"only before", []EpochStart{{0, 0}, {3, 90}}, []EpochStart{{0, 0}, {3, 90}, {4, 100}, {6, 105}}},
		{"misses one", []EpochStart{{0, 0}, {6, 105}}, []EpochStart{{0, 0}, {4, 100}, {6, 105}}},
		{"misplaces one", []EpochStart{{0, 0}, {4, 100}, {6, 103}}, own0(own)},
		{"goes on", []EpochStart{{4, 90}, {6, 105}, {7, 110}, {9, 120}}, []EpochStart{{4, 90}, {6, 105}}},
		{"newer than the data", []EpochStart{{5, 50}}, own},
	} {
		f := mustScan(t, data)
		f.Epoch = 9
		f.SetHistory(c.history)
		if !reflect.DeepEqual(f.Epochs, c.want) {
			t.Errorf("%s: %v, want %v", c.name, f.Epochs, c.want)
		}
		if err := f.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := f.Verify(data, 0); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func own0(own []EpochStart) []EpochStart { return append([]EpochStart{{0, 0}}, own...) }
