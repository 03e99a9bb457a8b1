package image

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// offsetEntries are Raft entries of n offset commits each, over groups that each read a topic of 100 partitions.
func offsetEntries(b *testing.B, n, perCommand int) (*Image, [][]byte) {
	w := newWorld(b)
	w.do(topic(1, "a", 100))
	var entries [][]byte
	for e := range 20 {
		var cs []command.Command
		for i := 0; i < n; i += perCommand {
			c := command.CommitOffsets{Group: fmt.Sprintf("group-%d", (e*n+i)/100)}
			for k := range perCommand {
				c.Offsets = append(c.Offsets, command.OffsetCommit{Partition: part(1, int32((i+k)%100)), Offset: kafka.Offset(e), LeaderEpoch: 1})
			}
			cs = append(cs, c)
		}
		entry, err := command.Encode(command.Envelope{Broker: 1, Session: 1, Request: uint64(e*n + 1)}, cs...)
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return w.m, entries
}

// Coalesced offset commits through decoding, Apply and Commit on one core; 200,000 offsets/s is the floor.
func BenchmarkApplyOffsets(b *testing.B) {
	for _, perCommand := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d_a_command", perCommand), func(b *testing.B) {
			const n = 4000
			m, entries := offsetEntries(b, n, perCommand)
			index := m.Index()
			i := 0
			for b.Loop() {
				index++
				ps, err := command.Decode(entries[i%len(entries)])
				if err != nil {
					b.Fatal(err)
				}
				i++
				tx := Begin(m)
				for r, p := range ps {
					p.Envelope.Request = index*n + uint64(r)
					if _, err := tx.Apply(index, p.Envelope, p.Command); err != nil {
						b.Fatal(err)
					}
				}
				m, _ = tx.Commit()
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "offsets/s")
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	w := newWorld(b)
	w.do(topic(1, "a", 1000))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := w.m.Partition(part(1, 500)); !ok {
			b.Fatal("gone")
		}
	}
}

// A snapshot of 200,000 offsets and 1,000 partitions.
func BenchmarkSnapshot(b *testing.B) {
	w := newWorld(b)
	w.do(topic(1, "a", 1000))
	for g := range 200 {
		c := command.CommitOffsets{Group: fmt.Sprint(g)}
		for i := range int32(1000) {
			c.Offsets = append(c.Offsets, command.OffsetCommit{Partition: part(1, i), Offset: 5})
		}
		w.do(c)
	}
	whole := encoded(b, w.m)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(whole)))
		for b.Loop() {
			if err := w.m.Encode(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(whole)))
		for b.Loop() {
			if _, err := Decode(bytes.NewReader(whole)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
