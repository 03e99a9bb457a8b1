package batch

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/qanat-io/qanat/wire/kafka"
)

// False if it failed: "what a filter leaves is at its offset with its time, key, value and headers, in a batch that covers the same offsets and
// bears the same producer".
func TestFilter(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		for _, counted := range []bool{false, true} {
			const horizon = 5_000_000
			b := Builder{Transactional: true, BaseOffset: 40, LeaderEpoch: 3, Codec: codec, Idempotent: true, ProducerID: 9, ProducerEpoch: 2, BaseSequence: 7}
			for i := range 10 {
				value := []byte(fmt.Sprint("value ", i))
				if i == 4 {
					value = nil
				}
				b.Add(1000+int64(i)*int64(1-2*(i%2)), []byte(fmt.Sprint(i)), value, Header{Key: "h", Value: []byte{byte(i)}})
			}
			v, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			want := records(t, v)
			was := bytes.Clone(v)
			out, kept, err := Filter{Horizon: horizon, Counted: counted, Keep: func(r Record) bool { return r.Offset%2 == 0 }}.Apply([]byte("before"), v)
			if err != nil || kept != 5 || out.CheckCRC() != nil || !bytes.Equal(v, was) {
				t.Fatalf("codec %d: %d kept, %v, %v", codec, kept, err, out.CheckCRC())
			}
			if got := records(t, out); fmt.Sprint(got) != fmt.Sprint([]string{want[0], want[2], want[4], want[6], want[8]}) {
				t.Errorf("codec %d: left are %v of %v", codec, got, want)
			}
			if out.BaseOffset() != 40 || out.NextOffset() != 50 || out.LeaderEpoch() != 3 || out.ProducerID() != 9 || out.ProducerEpoch() != 2 ||
				out.BaseSequence() != 7 || out.RecordCount() != 5 || out.MaxTimestamp() != 1008 || out.Attributes().Codec() != codec || out.IsGap() || !out.Attributes().Transactional() {
				t.Errorf("codec %d: header %x", codec, out[:HeaderLen])
			}
			if at, ok := out.DeleteHorizon(); ok != counted || ok && at != horizon {
				t.Errorf("horizon %d %v", at, ok)
			}
			again, _, err := Filter{Horizon: 6_000_000, Counted: true, Decided: true, Keep: func(r Record) bool { return r.Offset != 40 }}.Apply(nil, out)
			if err != nil {
				t.Fatal(err)
			}
			if at, _ := again.DeleteHorizon(); counted && at != horizon || again.Attributes().Transactional() {
				t.Errorf("the horizon was moved from %d to %d, or the batch is still of a transaction", horizon, at)
			}
			if got := records(t, again); fmt.Sprint(got) != fmt.Sprint([]string{want[2], want[4], want[6], want[8]}) {
				t.Errorf("codec %d, again: left are %v of %v", codec, got, want)
			}
			none, kept, err := Filter{Keep: func(Record) bool { return false }}.Apply(nil, v)
			if err != nil || kept != 0 || len(none) != HeaderLen || none.CheckCRC() != nil || none.IsGap() || none.NextOffset() != 50 {
				t.Errorf("codec %d: nothing left is %x, %v", codec, []byte(none), err)
			}
		}
	}
}

func records(t *testing.T, v View) (all []string) {
	t.Helper()
	it := Records(v)
	for r := range it.All {
		all = append(all, fmt.Sprintf("%d@%d %q=%q(%v) %x", r.Offset, r.Timestamp, r.Key, r.Value, r.Value == nil, []byte(r.Headers)))
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return all
}

// False if it failed: "a gap is a whole batch without records, timestamps and producer that covers its offsets".
func TestGap(t *testing.T) {
	v := Gap(nil, 7, 1007, 4)
	got, rest, err := Next(v)
	if err != nil || len(rest) != 0 || got.CheckCRC() != nil {
		t.Fatal(err, rest, got.CheckCRC())
	}
	if !v.IsGap() || v.BaseOffset() != 7 || v.NextOffset() != 1007 || v.LeaderEpoch() != 4 || v.RecordCount() != 0 ||
		v.ProducerID() != kafka.NoProducer || v.MaxTimestamp() != -1 || v.Attributes() != 0 {
		t.Errorf("header %x", []byte(v))
	}
	if got := records(t, v); len(got) > 0 {
		t.Error(got)
	}
}
