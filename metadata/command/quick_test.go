package command

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// drawCommit is any commit that can be.
func drawCommit(t *rapid.T) CommitOffsets {
	c := CommitOffsets{Group: rapid.String().Draw(t, "group"), Coordinator: kafka.CoordinatorEpoch(rapid.Int32().Draw(t, "coordinator"))}
	if rapid.Bool().Draw(t, "some") {
		c.Offsets = []OffsetCommit{}
	}
	for range rapid.IntRange(0, 30).Draw(t, "offsets") {
		c.Offsets = append(c.Offsets, OffsetCommit{
			Partition: kafka.Partition{Topic: kafka.TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic")), Index: rapid.Int32().Draw(t, "index")},
			Offset:    kafka.Offset(rapid.Int64().Draw(t, "offset")), LeaderEpoch: kafka.LeaderEpoch(rapid.Int32().Draw(t, "epoch")),
			Metadata: string(rapid.SliceOf(rapid.Byte()).Draw(t, "metadata")), ExpireMs: rapid.Int64().Draw(t, "expire") * int64(rapid.IntRange(0, 1).Draw(t, "expires")),
		})
	}
	return c
}

// A commit would be written in other bytes than before, which brokers of another release do not read as the same, or read as another.
func TestQuickIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommit(t)
		want, err := cbor.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got := quickCommit(nil, c)
		if !bytes.Equal(got, want) {
			t.Fatalf("% x\n% x", got, want)
		}
		r := reader{b: got}
		if back := r.commit(); !r.all() || !reflect.DeepEqual(back, c) {
			t.Fatalf("%+v\n%+v", back, c)
		}
		e, err := Encode(env, c, DeleteGroup{Group: "g"}, c)
		if err != nil {
			t.Fatal(err)
		}
		var quick, general entry
		if err := decoding.Unmarshal(e, &general); err != nil || !quickEntry(e, &quick) || !reflect.DeepEqual(quick, general) {
			t.Fatalf("%v: %+v\n%+v", err, quick, general)
		}
	})
}

// What is not exactly as it is written here would be read by hand, differently from the general decoder.
func TestQuickLeavesTheRest(t *testing.T) {
	c := CommitOffsets{Group: "g", Coordinator: 5, Offsets: []OffsetCommit{{Partition: p3, Offset: 1 << 20, LeaderEpoch: -1, Metadata: "m", ExpireMs: 7}, {Partition: p3}}}
	body := quickCommit(nil, c)
	frame := encode(t, env, c, c)
	rapid.Check(t, func(t *rapid.T) {
		for _, whole := range [][]byte{body, frame} {
			b := bytes.Clone(whole)
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
				switch rapid.IntRange(0, 2).Draw(t, "how") {
				case 0:
					b[i] = rapid.Byte().Draw(t, "byte")
				case 1:
					b = append(b[:i], b[min(i+1, len(b)):]...)
				default:
					b = append(b[:i:i], append([]byte{rapid.Byte().Draw(t, "byte")}, b[i:]...)...)
				}
				if len(b) == 0 {
					return
				}
			}
			compare(t, b)
		}
	})
}

// compare reads bytes in both ways, as a body and as an entry.
func compare(t rapid.TB, b []byte) {
	r := reader{b: b}
	if quick := r.commit(); r.all() {
		if general, err := decode[CommitOffsets](b); err != nil || !reflect.DeepEqual(general, Command(quick)) {
			t.Fatalf("% x: %+v, in general %+v, %v", b, quick, general, err)
		}
	}
	var quick, general entry
	if quickEntry(b, &quick) {
		err := decoding.Unmarshal(b, &general)
		if err == nil && !reflect.DeepEqual(quick, general) {
			t.Fatalf("% x: %+v, in general %+v", b, quick, general)
		}
		if _, again := Decode(b); err != nil && again == nil {
			t.Fatalf("% x: read as %+v, in general %v", b, quick, err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	c := CommitOffsets{Group: "a-group-of-some-name", Coordinator: 5, Offsets: []OffsetCommit{{Partition: p3, Offset: 1 << 40, LeaderEpoch: 7}}}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if _, err := EncodeBody(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	var cs []Command
	for range 100 {
		cs = append(cs, c)
	}
	e := encode(b, env, cs...)
	b.Run("decode-100", func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
