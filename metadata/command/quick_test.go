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
	c.Offsets = drawOffsets(t)
	return c
}

func drawOffsets(t *rapid.T) (offsets []OffsetCommit) {
	if rapid.Bool().Draw(t, "some") {
		offsets = []OffsetCommit{}
	}
	for range rapid.IntRange(0, 30).Draw(t, "offsets") {
		offsets = append(offsets, OffsetCommit{
			Partition: drawPartition(t), Offset: kafka.Offset(rapid.Int64().Draw(t, "offset")), LeaderEpoch: kafka.LeaderEpoch(rapid.Int32().Draw(t, "epoch")),
			Metadata: string(rapid.SliceOf(rapid.Byte()).Draw(t, "metadata")), ExpireMs: rapid.Int64().Draw(t, "expire") * int64(rapid.IntRange(0, 1).Draw(t, "expires")),
		})
	}
	return offsets
}

func drawPartition(t *rapid.T) kafka.Partition {
	return kafka.Partition{Topic: kafka.TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic")), Index: rapid.Int32().Draw(t, "index")}
}

func drawProducer(t *rapid.T) kafka.ProducerID {
	return kafka.ProducerID(rapid.Int64().Draw(t, "producer"))
}

func drawProducerEpoch(t *rapid.T) kafka.ProducerEpoch {
	return kafka.ProducerEpoch(rapid.Int16().Draw(t, "producer epoch"))
}

// drawTxnCommit is any commit within a transaction that can be.
func drawTxnCommit(t *rapid.T) CommitTxnOffsets {
	return CommitTxnOffsets{
		Group: rapid.String().Draw(t, "group"), ID: rapid.String().Draw(t, "id"), Producer: drawProducer(t), Epoch: drawProducerEpoch(t),
		Offsets: drawOffsets(t), Coordinator: kafka.CoordinatorEpoch(rapid.Int32().Draw(t, "coordinator")),
	}
}

// drawTransaction is any record that can be; what has no elements is nil, as it is once it has been read.
func drawTransaction(t *rapid.T) PutTransaction {
	c := PutTransaction{Coordinator: kafka.CoordinatorEpoch(rapid.Int32().Draw(t, "coordinator")), Transaction: Transaction{
		ID: rapid.String().Draw(t, "id"), Revision: rapid.Uint64().Draw(t, "revision"), Producer: drawProducer(t), Epoch: drawProducerEpoch(t),
		LastProducer: drawProducer(t), LastEpoch: drawProducerEpoch(t), State: TxnState(rapid.Uint8().Draw(t, "state")), TimeoutMs: rapid.Int32().Draw(t, "timeout"),
		StartedMs: rapid.Int64().Draw(t, "started"), ChangedMs: rapid.Int64().Draw(t, "changed"), Version: rapid.Uint8().Draw(t, "version"), Next: drawProducer(t),
	}}
	for range rapid.IntRange(0, 5).Draw(t, "partitions") {
		c.Transaction.Partitions = append(c.Transaction.Partitions, drawPartition(t))
	}
	for range rapid.IntRange(0, 5).Draw(t, "groups") {
		c.Transaction.Groups = append(c.Transaction.Groups, rapid.String().Draw(t, "group"))
	}
	return c
}

// quicks are the bodies that are written by hand: any that can be, and how it is read by hand and in general.
var quicks = map[string]struct {
	draw    func(*rapid.T) Command
	quick   func(*reader) Command
	general func([]byte) (Command, error)
}{
	"CommitOffsets":    {func(t *rapid.T) Command { return drawCommit(t) }, func(r *reader) Command { return r.commit() }, decode[CommitOffsets]},
	"CommitTxnOffsets": {func(t *rapid.T) Command { return drawTxnCommit(t) }, func(r *reader) Command { return r.txnCommit() }, decode[CommitTxnOffsets]},
	"PutTransaction":   {func(t *rapid.T) Command { return drawTransaction(t) }, func(r *reader) Command { return r.putTransaction() }, decode[PutTransaction]},
}

// A command would be written in other bytes than before, which brokers of another release do not read as the same, or read as another.
func TestQuickIsTheSame(t *testing.T) {
	for name, q := range quicks {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				c := q.draw(t)
				want, err := cbor.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				got := quickBody(c)
				if !bytes.Equal(got, want) {
					t.Fatalf("% x\n% x", got, want)
				}
				r := reader{b: got}
				if back := q.quick(&r); !r.all() || !reflect.DeepEqual(back, c) {
					t.Fatalf("%+v\n%+v", back, c)
				}
			})
		})
	}
}

// A frame would be read by hand as another than in general.
func TestQuickFrameIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommit(t)
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
	within := CommitTxnOffsets{Group: "g", ID: "i", Producer: 7, Epoch: 3, Offsets: c.Offsets, Coordinator: 5}
	put := PutTransaction{Coordinator: 5, Transaction: Transaction{
		ID: "i", Revision: 1000, Producer: 7, Epoch: 3, LastProducer: -1, LastEpoch: -1, State: TxnOngoing, TimeoutMs: 60_000,
		Partitions: []kafka.Partition{p3, p3}, Groups: []string{"g", "h"}, StartedMs: 1 << 40, ChangedMs: 1 << 40, Version: 2, Next: -1,
	}}
	wholes := [][]byte{quickBody(c), quickBody(within), quickBody(put), encode(t, env, c, put, within)}
	rapid.Check(t, func(t *rapid.T) {
		for _, whole := range wholes {
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
	for _, q := range quicks {
		r := reader{b: b}
		if quick := q.quick(&r); r.all() {
			if general, err := q.general(b); err != nil || !reflect.DeepEqual(general, quick) {
				t.Fatalf("% x: %+v, in general %+v, %v", b, quick, general, err)
			}
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
	benchmark(b, CommitOffsets{Group: "a-group-of-some-name", Coordinator: 5, Offsets: []OffsetCommit{{Partition: p3, Offset: 1 << 40, LeaderEpoch: 7}}})
}

func BenchmarkTransaction(b *testing.B) {
	benchmark(b, PutTransaction{Coordinator: 5, Transaction: Transaction{
		ID: "a-transactional-id-of-some-name", Revision: 1000, Producer: 7000, Epoch: 300, LastProducer: 7000, LastEpoch: 299, State: TxnOngoing, TimeoutMs: 60_000,
		Partitions: []kafka.Partition{p3}, StartedMs: 1 << 40, ChangedMs: 1 << 40, Version: 2, Next: kafka.NoProducer,
	}})
}

func benchmark(b *testing.B, c Command) {
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
