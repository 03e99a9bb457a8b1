package command

import (
	"math"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Offset commits and transactions are most of what a busy cluster's log holds, and to read and write them by reflection was the largest part
// of what one costs. This file, and quicktxn.go, read and write the same bytes by hand: the frame of an entry and the bodies of these. Where
// what is to be read is not exactly as it is written here, the general decoder has the word: about what is allowed nothing changes.

const (
	majorBytes = 2
	majorText  = 3
	majorMap   = 5

	null = 0xf6
)

// quickBody is a command's body, nil where it is not written by hand.
func quickBody(c Command) []byte {
	switch c := c.(type) {
	case CommitOffsets:
		if len(c.Offsets) <= maxElements {
			return quickCommit(make([]byte, 0, 16+len(c.Group)+offsetsSize(c.Offsets)), c)
		}
	case CommitTxnOffsets:
		if len(c.Offsets) <= maxElements {
			return quickTxnCommit(make([]byte, 0, 48+len(c.Group)+len(c.ID)+offsetsSize(c.Offsets)), c)
		}
	case PutTransaction:
		if t := &c.Transaction; len(t.Partitions) <= maxElements && len(t.Groups) <= maxElements {
			return quickTransaction(make([]byte, 0, transactionSize(t)), c)
		}
	}
	return nil
}

// quickCommit appends a body.
func quickCommit(b []byte, c CommitOffsets) []byte {
	fields := uint64(2)
	if c.Coordinator != 0 {
		fields++
	}
	b = appendHead(b, majorMap, fields)
	b = appendText(append(b, 1), c.Group)
	b = quickOffsets(append(b, 2), c.Offsets)
	if c.Coordinator != 0 {
		b = appendInt(append(b, 3), int64(c.Coordinator))
	}
	return b
}

func quickOffsets(b []byte, offsets []OffsetCommit) []byte {
	if offsets == nil {
		return append(b, null)
	}
	b = appendHead(b, majorArray, uint64(len(offsets)))
	for i := range offsets {
		b = quickOffset(b, &offsets[i])
	}
	return b
}

func quickOffset(b []byte, o *OffsetCommit) []byte {
	fields := uint64(3)
	if o.Metadata != "" {
		fields++
	}
	if o.ExpireMs != 0 {
		fields++
	}
	b = appendHead(b, majorMap, fields)
	b = quickPartition(append(b, 1), &o.Partition)
	b = appendInt(append(b, 2), int64(o.Offset))
	b = appendInt(append(b, 3), int64(o.LeaderEpoch))
	if o.Metadata != "" {
		b = appendText(append(b, 4), o.Metadata)
	}
	if o.ExpireMs != 0 {
		b = appendInt(append(b, 5), o.ExpireMs)
	}
	return b
}

func quickPartition(b []byte, p *kafka.Partition) []byte {
	b = appendHead(b, majorMap, 2)
	b = append(appendHead(append(b, 1), majorBytes, uint64(len(p.Topic))), p.Topic[:]...)
	return appendInt(append(b, 2), int64(p.Index))
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// offsetsSize is about what offsets take.
func offsetsSize(offsets []OffsetCommit) (n int) {
	for i := range offsets {
		n += 56 + len(offsets[i].Metadata)
	}
	return n
}

// decodeCommit reads a body of CommitOffsets.
func decodeCommit(body []byte) (Command, error) {
	r := reader{b: body}
	if c := r.commit(); r.all() {
		return c, nil
	}
	return decode[CommitOffsets](body)
}

// quickEntry reads the frame of an entry; false where Unmarshal has to look.
func quickEntry(b []byte, e *entry) bool {
	r := reader{b: b}
	if r.count(majorArray) != 7 {
		return false
	}
	e.Format = r.head(majorUint)
	e.Broker = kafka.BrokerID(r.within(math.MinInt32, math.MaxInt32))
	e.BrokerEpoch = kafka.BrokerEpoch(r.int())
	e.Session, e.Request = r.head(majorUint), r.head(majorUint)
	e.TimeMs = r.int()
	n := r.count(majorArray)
	if r.bad {
		return false
	}
	e.Items = make([]item, n)
	for i := range e.Items {
		if r.count(majorArray) != 3 {
			return false
		}
		e.Items[i].Kind, e.Items[i].Version = Kind(r.within(0, math.MaxUint8)), uint8(r.within(0, math.MaxUint8))
		begin := r.at
		r.skip(0)
		if r.bad {
			return false
		}
		e.Items[i].Body = b[begin:r.at:r.at]
	}
	return r.all()
}

// reader takes bytes apart that are in the shortest form. Once something is not as it should be, it is bad for good.
type reader struct {
	b   []byte
	at  int // what was read; an index, for a slice that is cut costs a write barrier each time
	bad bool
}

func (r *reader) left() int { return len(r.b) - r.at }

// next tells whether a byte comes next.
func (r *reader) next(c byte) bool { return r.at < len(r.b) && r.b[r.at] == c }

// all tells that everything was read, and was as it should be.
func (r *reader) all() bool { return !r.bad && r.at == len(r.b) }

// any reads a head of whichever major type, in the shortest form.
func (r *reader) any() (major byte, v uint64) {
	if r.at >= len(r.b) {
		r.bad = true
		return 0, 0
	}
	first := r.b[r.at]
	major, v = first>>5, uint64(first&31)
	r.at++
	if v < 24 {
		return major, v
	}
	n := 1 << (v - 24) // bytes that follow
	if v > 27 || r.left() < n {
		r.bad = true
		return major, 0
	}
	v = 0
	for _, c := range r.b[r.at : r.at+n] {
		v = v<<8 | uint64(c)
	}
	r.at += n
	if n == 1 && v < 24 || n > 1 && v>>(4*n) == 0 {
		r.bad = true
	}
	return major, v
}

func (r *reader) head(major byte) uint64 {
	got, v := r.any()
	r.bad = r.bad || got != major
	return v
}

// count is how many elements follow: never more than can.
func (r *reader) count(major byte) int {
	n := r.head(major)
	if n > uint64(r.left()) || n > maxElements {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return int(n)
}

func (r *reader) int() int64 {
	major, v := r.any()
	if major > majorNeg || v > math.MaxInt64 {
		r.bad = true
	}
	if major == majorNeg {
		return -1 - int64(v&math.MaxInt64)
	}
	return int64(v & math.MaxInt64)
}

func (r *reader) within(low, high int64) int64 {
	v := r.int()
	r.bad = r.bad || v < low || v > high
	return v
}

func (r *reader) bytes(major byte) []byte {
	n := r.head(major)
	if n > uint64(r.left()) {
		r.bad = true
	}
	if r.bad {
		return nil
	}
	begin := r.at
	r.at += int(n)
	return r.b[begin:r.at]
}

// key tells whether the field of a number comes next, and reads the number.
func (r *reader) key(n byte) {
	if r.bad = r.bad || !r.next(n); !r.bad {
		r.at++
	}
}

// skip passes over one item.
func (r *reader) skip(depth int) {
	if depth > 6 {
		r.bad = true
		return
	}
	major, v := r.any()
	switch major {
	case majorUint, majorNeg:
	case majorBytes, majorText:
		if v > uint64(r.left()) {
			r.bad = true
			return
		}
		r.at += int(v)
	case majorArray, majorMap:
		if v > uint64(r.left()) {
			r.bad = true
			return
		}
		if major == majorMap {
			v *= 2
		}
		for ; v > 0 && !r.bad; v-- {
			r.skip(depth + 1)
		}
	default:
		r.bad = r.bad || major != null>>5 || v < 20 || v > 22 // false, true and null
	}
}

func (r *reader) commit() (c CommitOffsets) {
	fields := r.count(majorMap)
	r.key(1)
	c.Group = r.text()
	r.key(2)
	c.Offsets = r.offsets()
	if fields == 3 {
		r.key(3)
		c.Coordinator = kafka.CoordinatorEpoch(r.within(math.MinInt32, math.MaxInt32))
	}
	r.bad = r.bad || fields < 2 || fields > 3
	return c
}

func (r *reader) offsets() []OffsetCommit {
	if !r.bad && r.next(null) {
		r.at++
		return nil
	}
	offsets := make([]OffsetCommit, r.count(majorArray))
	for i := range offsets {
		r.offset(&offsets[i])
	}
	return offsets
}

func (r *reader) text() string { return string(r.bytes(majorText)) }

func (r *reader) partition(p *kafka.Partition) {
	r.bad = r.bad || r.count(majorMap) != 2
	r.key(1)
	if topic := r.bytes(majorBytes); len(topic) == len(p.Topic) {
		p.Topic = kafka.TopicID(topic)
	} else {
		r.bad = true
	}
	r.key(2)
	p.Index = int32(r.within(math.MinInt32, math.MaxInt32))
}

func (r *reader) offset(o *OffsetCommit) {
	fields := r.count(majorMap)
	r.key(1)
	r.partition(&o.Partition)
	r.key(2)
	o.Offset = kafka.Offset(r.int())
	r.key(3)
	o.LeaderEpoch = kafka.LeaderEpoch(r.within(math.MinInt32, math.MaxInt32))
	read := 3
	if read < fields && r.next(4) {
		r.key(4)
		o.Metadata = r.text()
		read++
	}
	if read < fields {
		r.key(5)
		o.ExpireMs = r.int()
		read++
	}
	r.bad = r.bad || read != fields
}
