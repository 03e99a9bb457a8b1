package wire

import (
	"encoding/binary"

	"github.com/qanat-io/qanat/wire/batch"
)

const (
	// seenBatch is the size from which a batch is checked while it arrives: a smaller one is still in a cache when its frame is whole.
	seenBatch = 32 << 10
	// longestHeader is how much of a frame may arrive without a whole header: then it is none that is worth waiting for.
	longestHeader = 8 << 10
	// produceTopicID and produceBatches are the versions of Produce from which topics are named by id, and records are batches.
	produceTopicID = 13
	produceBatches = 3
)

// Arrival checks the batches of a Produce request while its frame arrives (batch.Arriving). It decides nothing: what it cannot
// follow, whoever handles the request checks, and finds fault with. The zero value has nothing. One goroutine at a time.
type Arrival struct {
	frame      []byte
	at         int // parsed so far
	stage      arrivalStage
	version    int16
	flexible   bool
	topics     int // still to come, with the one that arrives
	partitions int // of this topic, likewise

	// Of the partition whose records arrive:
	begin, end int
	seen       bool // they are worth it
	current    batch.Arriving

	checked []batch.Checked // in the frame's order
	next    int             // which of them Of looks at first
}

type arrivalStage uint8

const (
	arrivalOver arrivalStage = iota // nothing, or nothing more, to be checked
	arrivalHeader
	arrivalRequest
	arrivalTopics
	arrivalPartitions
	arrivalRecords
)

// Begin begins with a frame, of which nothing need have arrived.
func (a *Arrival) Begin(frame []byte) {
	clear(a.checked)
	*a = Arrival{frame: frame, stage: arrivalHeader, checked: a.checked[:0]}
}

// End lets go of the frame.
func (a *Arrival) End() {
	a.Begin(nil)
	a.stage = arrivalOver
}

// Arrived takes the bytes before the n-th.
func (a *Arrival) Arrived(n int) {
	for a.stage != arrivalOver {
		f := front{p: a.frame[a.at:n], compact: a.flexible}
		if !a.step(&f, n) {
			if f.bad {
				a.stage = arrivalOver
			}
			return
		}
		a.at = n - len(f.p)
	}
}

// step takes the next part of the request; false, and nothing has changed, when not all of it is there, or f is bad.
func (a *Arrival) step(f *front, n int) bool {
	switch a.stage {
	case arrivalHeader:
		return a.header(f, n)
	case arrivalRequest:
		f.text()      // transactional id
		f.skip(2 + 4) // acks, timeout
		return a.then(f, &a.topics, f.count(), arrivalTopics)
	case arrivalTopics:
		if a.topics == 0 {
			a.stage = arrivalOver
			return true
		}
		if a.version >= produceTopicID {
			f.skip(16)
		} else {
			f.text()
		}
		return a.then(f, &a.partitions, f.count(), arrivalPartitions)
	case arrivalPartitions:
		if a.partitions == 0 {
			f.tags()
			return a.then(f, &a.topics, a.topics-1, arrivalTopics)
		}
		return a.partition(f, n)
	default:
		return a.records(f, n)
	}
}

// then goes on at the next stage with a count, if all was there.
func (a *Arrival) then(f *front, count *int, n int, next arrivalStage) bool {
	if f.bad || f.short {
		return false
	}
	*count, a.stage = n, next
	return true
}

func (a *Arrival) header(f *front, n int) bool {
	h, body, err := ParseHeader(f.p)
	if err != nil || h.Key != produceKey || h.Version < produceBatches {
		f.bad = err == nil || n == len(a.frame) || n >= longestHeader
		return false
	}
	a.version, a.flexible, a.stage = h.Version, h.Flexible(), arrivalRequest
	f.p = body
	return true
}

// partition takes a partition's number and how many bytes of records come.
func (a *Arrival) partition(f *front, n int) bool {
	f.skip(4)
	size := f.blob()
	if f.bad || f.short {
		return false
	}
	begin := n - len(f.p)
	a.end = begin + size
	if f.bad = a.end > len(a.frame); f.bad {
		return false
	}
	if a.seen = size >= seenBatch; a.seen {
		a.current.Begin(a.frame[begin:a.end:a.end])
		a.begin = begin
	}
	a.stage = arrivalRecords
	return true
}

// records takes what is there of a partition's records, and then its tags.
func (a *Arrival) records(f *front, n int) bool {
	if a.seen {
		a.current.Arrived(min(n, a.end) - a.begin)
	}
	if n < a.end {
		return false
	}
	f.p = a.frame[a.end:n]
	f.tags()
	if f.bad || f.short {
		return false
	}
	if a.seen {
		a.checked = append(a.checked, a.current.Done())
	}
	a.partitions--
	a.stage = arrivalPartitions
	return true
}

// Of is what was found out about a partition's records, or nil. It is quick for those who ask in the frame's order.
func (a *Arrival) Of(records []byte) *batch.Checked {
	if a == nil || len(records) < seenBatch {
		return nil
	}
	for range a.checked {
		if a.next == len(a.checked) {
			a.next = 0
		}
		c := &a.checked[a.next]
		a.next++
		if c.Of(records) {
			return c
		}
	}
	return nil
}

// front reads from bytes to which more may come: short tells that they ended too early, bad that no more will help.
type front struct {
	p          []byte
	compact    bool // lengths are varints, plus one; structs end with tags
	short, bad bool
}

func (f *front) skip(n int) {
	if f.short = f.short || n > len(f.p); !f.short {
		f.p = f.p[n:]
	}
}

// length reads a length of size bytes, or a compact one. Null is 0.
func (f *front) length(size int) int {
	if f.short || f.bad {
		return 0
	}
	if f.compact {
		u := f.uvarint()
		return int(max(u, 1) - 1)
	}
	if f.short = len(f.p) < size; f.short {
		return 0
	}
	n := int(int16(binary.BigEndian.Uint16(f.p)))
	if size == 4 {
		n = int(int32(binary.BigEndian.Uint32(f.p)))
	}
	f.p = f.p[size:]
	return max(n, 0)
}

// uvarint reads one of at most 31 bits.
func (f *front) uvarint() uint32 {
	if f.short || f.bad {
		return 0
	}
	u, n := binary.Uvarint(f.p)
	switch {
	case n > 0 && u <= 1<<31-1:
		f.p = f.p[n:]
		return uint32(u)
	case n == 0:
		f.short = true
	default:
		f.bad = true
	}
	return 0
}

func (f *front) text()      { f.skip(f.length(2)) }
func (f *front) blob() int  { return f.length(4) }
func (f *front) count() int { return f.length(4) }

func (f *front) tags() {
	if !f.compact {
		return
	}
	for range f.uvarint() {
		f.uvarint()
		f.skip(int(f.uvarint()))
		if f.short || f.bad {
			return
		}
	}
}
