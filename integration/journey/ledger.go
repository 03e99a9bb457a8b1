package journey

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

var table = crc64.MakeTable(crc64.ECMA)

// Ledger is what was acknowledged, and what the final read found.
type Ledger struct {
	mu sync.Mutex
	// acked[partition][offset] is the checksum of the record acknowledged there.
	acked []map[int64]uint64
	// Acked counts acknowledged records, Failed those whose fate the client did not learn.
	Acked, Failed int64
	Bytes         int64

	next  []int64         // of the final read, by partition
	seen  map[uint64]bool // numbers of records read
	wrong []string        // what was found wrong, at most a few
	Read  int64
}

// NewLedger is for a topic with the given number of partitions.
func NewLedger(partitions int) *Ledger {
	l := &Ledger{acked: make([]map[int64]uint64, partitions)}
	for i := range l.acked {
		l.acked[i] = map[int64]uint64{}
	}
	l.Rewind()
	return l
}

func sum(r *kgo.Record) uint64 { return crc64.Update(crc64.Checksum(r.Key, table), table, r.Value) }

// Produced notes the end of one record's produce.
func (l *Ledger) Produced(r *kgo.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.Failed++
		return
	}
	if before, ok := l.acked[r.Partition][r.Offset]; ok && before != sum(r) {
		l.blame("two records were acknowledged at partition %d offset %d", r.Partition, r.Offset)
	}
	l.acked[r.Partition][r.Offset] = sum(r)
	l.Acked++
	l.Bytes += int64(len(r.Key) + len(r.Value))
}

// Rewind begins a new final read.
func (l *Ledger) Rewind() {
	l.next, l.seen, l.Read = make([]int64, len(l.acked)), map[uint64]bool{}, 0
}

// Consumed checks one record of the final read: the next offset of its
// partition, the content acknowledged there, and not seen before.
func (l *Ledger) Consumed(r *kgo.Record) {
	if want := l.next[r.Partition]; r.Offset != want {
		l.blame("partition %d: read offset %d after %d", r.Partition, r.Offset, want-1)
	}
	l.next[r.Partition] = r.Offset + 1
	if want, ok := l.acked[r.Partition][r.Offset]; ok && want != sum(r) {
		l.blame("partition %d offset %d: not the bytes that were acknowledged", r.Partition, r.Offset)
	}
	if len(r.Value) < 8 {
		l.blame("partition %d offset %d: a record that nobody sent", r.Partition, r.Offset)
		return
	}
	number := binary.BigEndian.Uint64(r.Value)
	if l.seen[number] {
		l.blame("partition %d offset %d: record %d a second time", r.Partition, r.Offset, number)
	}
	l.seen[number] = true
	l.Read++
}

// Verdict compares the final read with what was acknowledged.
func (l *Ledger) Verdict() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, offsets := range l.acked {
		for o := range offsets {
			if o >= l.next[p] {
				l.blame("partition %d offset %d: acknowledged, not read", p, o)
			}
		}
	}
	if len(l.wrong) > 0 {
		return fmt.Errorf("%d things are wrong, the first: %v", len(l.wrong), l.wrong[:min(5, len(l.wrong))])
	}
	return nil
}

func (l *Ledger) blame(format string, args ...any) {
	if len(l.wrong) < 1000 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}
