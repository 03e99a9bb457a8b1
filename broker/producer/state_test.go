package producer

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// header makes a batch of count records, enough of one for the state to read.
func header(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32, count int, base kafka.Offset) batch.View {
	v := batch.View(make([]byte, batch.HeaderLen))
	put := func(at, size int, x int64) {
		for i := range size {
			v[at+i] = byte(x >> (8 * (size - 1 - i)))
		}
	}
	put(0, 8, int64(base))
	put(16, 1, 2)
	put(23, 4, int64(count-1))
	put(43, 8, int64(id))
	put(51, 2, int64(epoch))
	put(53, 4, int64(sequence))
	put(57, 4, int64(count))
	return v
}

// A retry of one of the last five batches would be appended a second time, or answered with another offset.
func TestDuplicatesHaveTheirOriginalOffset(t *testing.T) {
	s := New()
	for i := range 7 {
		v := header(9, 0, int32(i*10), 10, kafka.Offset(100+i*10))
		if dup, err := s.Check(v); dup != nil || err != nil {
			t.Fatalf("batch %d: dup %v, err %v", i, dup, err)
		}
		s.Append(v, 1)
	}
	for i := 2; i < 7; i++ {
		dup, err := s.Check(header(9, 0, int32(i*10), 10, 0))
		if err != nil || dup == nil || dup.Base != kafka.Offset(100+i*10) {
			t.Errorf("retry of batch %d: dup %v, err %v", i, dup, err)
		}
	}
	for i := range 2 {
		if dup, err := s.Check(header(9, 0, int32(i*10), 10, 0)); dup != nil || !errors.Is(err, ErrOutOfOrder) {
			t.Errorf("retry of forgotten batch %d: dup %v, err %v; want ErrOutOfOrder", i, dup, err)
		}
	}
	if dup, _ := s.Check(header(9, 0, 20, 9, 0)); dup != nil {
		t.Error("a batch with the same first but another last sequence is not a duplicate")
	}
}

// A producer past 2^31 records would be refused for ever.
func TestSequencesWrap(t *testing.T) {
	s := New()
	s.Append(header(1, 0, math.MaxInt32-4, 10, 0), 1) // the last of its records has sequence 5 after the wrap
	if _, err := s.Check(header(1, 0, 5, 1, 10)); err != nil {
		t.Errorf("sequence 5 after the wrap: %v", err)
	}
	s = New()
	s.Append(header(1, 0, math.MaxInt32, 1, 0), 1)
	if _, err := s.Check(header(1, 0, 0, 1, 1)); err != nil {
		t.Errorf("sequence 0 after the largest: %v", err)
	}
}

// A zombie's batch, a gap, or a new epoch that does not begin at zero would be let in.
func TestRefusals(t *testing.T) {
	s := New()
	s.Append(header(1, 3, 0, 5, 0), 1)
	for _, c := range []struct {
		name  string
		v     batch.View
		wants error
	}{
		{"older epoch", header(1, 2, 5, 1, 0), ErrFenced},
		{"gap", header(1, 3, 6, 1, 0), ErrOutOfOrder},
		{"back", header(1, 3, 3, 1, 0), ErrOutOfOrder},
		{"new epoch in the middle", header(1, 4, 5, 1, 0), ErrOutOfOrder},
		{"next", header(1, 3, 5, 1, 0), nil},
		{"new epoch from zero", header(1, 4, 0, 1, 0), nil},
		{"unknown producer", header(2, 0, 77, 1, 0), nil},
	} {
		if _, err := s.Check(c.v); !errors.Is(err, c.wants) {
			t.Errorf("%s: %v, want %v", c.name, err, c.wants)
		}
	}
}

// A state read from a snapshot would decide otherwise than the one that wrote it.
func TestSnapshotDecidesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, base := New(), kafka.Offset(0)
		step := func(t *rapid.T) batch.View {
			v := header(
				kafka.ProducerID(rapid.IntRange(0, 3).Draw(t, "id")), kafka.ProducerEpoch(rapid.IntRange(0, 2).Draw(t, "epoch")),
				int32(rapid.IntRange(0, 12).Draw(t, "sequence")), rapid.IntRange(1, 3).Draw(t, "count"), base)
			if rapid.Bool().Draw(t, "transactional") {
				v[22] |= 1 << 4
			}
			return v
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "marks") == 0 {
				v, err := batch.Marker{Commit: rapid.Bool().Draw(t, "commit"), Coordinator: 3}.Build(
					kafka.ProducerID(rapid.IntRange(0, 3).Draw(t, "id")), kafka.ProducerEpoch(rapid.IntRange(0, 2).Draw(t, "epoch")), 1)
				if err != nil {
					t.Fatal(err)
				}
				v.Stamp(base, 0)
				if s.CheckMarker(v.ProducerID(), v.ProducerEpoch(), 3) == nil {
					s.Append(v, int64(base))
					base = v.NextOffset()
				}
				continue
			}
			v := step(t)
			if dup, err := s.Check(v); err == nil && dup == nil {
				s.Append(v, int64(base))
				base = v.NextOffset()
			}
		}
		again, err := Decode(s.Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Encode(nil), again.Encode(nil)) {
			t.Fatal("encoded again it differs")
		}
		v := step(t)
		dup1, err1 := s.Check(v)
		dup2, err2 := again.Check(v)
		if !errors.Is(err2, err1) || (dup1 == nil) != (dup2 == nil) || dup1 != nil && *dup1 != *dup2 {
			t.Fatalf("decided (%v, %v) before and (%v, %v) after", dup1, err1, dup2, err2)
		}
		if o1, k1 := s.Opens(v); !slices.Equal(s.Aborted(), again.Aborted()) {
			t.Fatalf("aborted %v before and %v after", s.Aborted(), again.Aborted())
		} else if o2, k2 := again.Opens(v); o1 != o2 || k1 != k2 {
			t.Fatalf("opens a transaction (%v, %v) before and (%v, %v) after", o1, k1, o2, k2)
		}
	})
}

// Bytes from a damaged disk or bucket would panic or allocate without bound.
func FuzzDecode(f *testing.F) {
	s := New()
	s.Append(header(1, 3, 0, 5, 0), 1)
	f.Add(s.Encode(nil))
	f.Add([]byte{0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		if _, err := Decode(s.Encode(nil)); err != nil {
			t.Errorf("does not read what it wrote: %v", err)
		}
	})
}

// A snapshot of the release before would be refused, and the partition with it.
func TestSnapshotWithoutTransactionsIsRead(t *testing.T) {
	old := []byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 2}
	s, err := Decode(old)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Producer(9)
	if p == nil || p.Epoch != 3 || p.LastSequence() != 8 || p.TxnFirst != NoTxn || p.Coordinator != NoCoordinator {
		t.Errorf("read %+v", p)
	}
}

// What was aborted would be told to readers whom it does not concern, or not to those whom it does.
func TestOverlapping(t *testing.T) {
	list := []Aborted{{1, 5, 10, 2}, {2, 2, 12, 13}, {1, 20, 30, 31}, {3, 31, 40, 41}}
	for _, c := range []struct {
		from, next kafka.Offset
		want       []Aborted
	}{
		{0, 2, nil}, {0, 5, list[1:2]}, {0, 6, []Aborted{list[1], list[0]}}, {11, 20, list[1:2]}, {10, 21, []Aborted{list[1], list[0], list[2]}},
		{13, 20, nil}, {25, 26, list[2:3]}, {41, 50, nil},
	} {
		if got := Overlapping(list, c.from, c.next); !slices.Equal(got, c.want) {
			t.Errorf("[%d, %d): %v, want %v", c.from, c.next, got, c.want)
		}
	}
}
