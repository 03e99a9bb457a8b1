package hot

import (
	"math"
	"sort"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// FindTime returns the first record at or after ts (milliseconds) in [from, limit): its offset and timestamp, and its batch's epoch.
// It is exact: segments and index entries whose largest timestamp is below ts are passed over, the batch found is looked into.
func (l *Log) FindTime(ts int64, from, limit kafka.Offset) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	err = l.reading(func(v *view) error {
		offset, at, epoch, ok = 0, 0, kafka.NoEpoch, false
		for _, s := range v.segments {
			if s.base >= limit {
				return nil
			}
			if kafka.Offset(s.next.Load()) <= from {
				continue
			}
			known, err := l.factsOf(v, s)
			if err != nil {
				return err
			}
			if known.maxTimestamp < ts {
				continue
			}
			offset, at, epoch, ok, err = l.findTimeIn(v, s, ts, from, limit)
			if ok || err != nil {
				return blame(s, err)
			}
		}
		return nil
	})
	return offset, at, epoch, ok, err
}

func (l *Log) findTimeIn(v *view, s *localSegment, ts int64, from, limit kafka.Offset) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	h, err := s.acquire(&l.env)
	if err != nil {
		return 0, 0, 0, false, err
	}
	defer h.Release()
	begin := l.timeFloor(v, s, h, ts)
	if from > begin.offset { // what lies before from may be what reached ts
		if begin, err = l.locate(v, s, h, from); err != nil {
			return 0, 0, 0, false, err
		}
	}
	buf := scanBuffers.Get().(*buffer)
	defer scanBuffers.Put(buf)
	end := min(limit, l.End())
	_, err = walk(h, begin, s.size.Load(), buf, func(b batch.View, where border) (bool, error) {
		if b.BaseOffset() >= end {
			return false, nil
		}
		if b.MaxTimestamp() < ts {
			return true, nil
		}
		whole, err := readBatch(h, where, b.Size())
		if err != nil {
			return false, err
		}
		offset, at, ok, err = firstAtOrAfter(whole, ts, from)
		ok = ok && offset < limit
		epoch = b.LeaderEpoch()
		return !ok, err // from may cut the record off that the header speaks of: go on then
	})
	return offset, at, epoch, ok, err
}

// timeFloor is a border before which no batch has a timestamp at or above ts: the nearest that is known.
func (l *Log) timeFloor(v *view, s *localSegment, h *handle, ts int64) border {
	if s == v.tail.seg {
		if e, ok := timeFloorOf(v.tail.shown(), ts); ok {
			return borderOf(e)
		}
	}
	if p := s.entries.Load(); p != nil {
		if e, ok := timeFloorOf(*p, ts); ok {
			return borderOf(e)
		}
	} else if l.env.Index != nil {
		if e, ok := l.env.Index.LookupTime(l.partition, s.base, ts); ok && agrees(h, e, s.size.Load()) {
			return borderOf(e)
		}
	}
	return border{offset: s.base}
}

// timeFloorOf is the last entry before which everything is below ts.
func timeFloorOf(entries []segment.IndexEntry, ts int64) (segment.IndexEntry, bool) {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].MaxTimestamp >= ts })
	if i == 0 {
		return segment.IndexEntry{}, false
	}
	return entries[i-1], true
}

// readBatch reads a whole batch, whose header was checked against the file, and checks its CRC.
func readBatch(h *handle, at border, size int) (batch.View, error) {
	v := make(batch.View, size)
	if err := readFull(h, v, at.pos); err != nil {
		return nil, shortIsBad(err, at)
	}
	return v, v.CheckCRC()
}

func firstAtOrAfter(v batch.View, ts int64, from kafka.Offset) (offset kafka.Offset, at int64, ok bool, err error) {
	if v.Attributes().LogAppendTime() && v.BaseOffset() >= from {
		return v.BaseOffset(), v.MaxTimestamp(), v.MaxTimestamp() >= ts, nil
	}
	it := batch.RecordsWithin(v, batch.Limits{})
	for r := range it.All {
		if r.Timestamp >= ts && r.Offset >= from {
			return r.Offset, r.Timestamp, true, nil
		}
	}
	return 0, 0, false, it.Err()
}

// MaxTimestamp returns the largest timestamp of the records in [from, limit), limit being on a batch border; ok is false when none
// of them has one.
func (l *Log) MaxTimestamp(from, limit kafka.Offset) (at int64, ok bool, err error) {
	err = l.reading(func(v *view) error {
		at, ok = noTimestamp, false
		for _, s := range v.segments {
			if s.base >= limit {
				break
			}
			if kafka.Offset(s.next.Load()) <= from {
				continue
			}
			known, err := l.factsOf(v, s)
			if err != nil {
				return err
			}
			if known.maxTimestamp <= at {
				continue
			}
			if known.maxAt < from || known.maxAt >= limit { // another's is the largest that counts
				if known.maxTimestamp, err = l.maxTimestampIn(v, s, from, limit); err != nil {
					return blame(s, err)
				}
			}
			at = max(at, known.maxTimestamp)
		}
		ok = at >= 0
		return nil
	})
	return at, ok, err
}

// maxTimestampIn is the largest timestamp of a segment's records in [from, limit), by a walk over the headers.
func (l *Log) maxTimestampIn(v *view, s *localSegment, from, limit kafka.Offset) (int64, error) {
	h, err := s.acquire(&l.env)
	if err != nil {
		return noTimestamp, err
	}
	defer h.Release()
	begin, err := l.locate(v, s, h, max(from, s.base))
	if err != nil {
		return noTimestamp, err
	}
	buf := scanBuffers.Get().(*buffer)
	defer scanBuffers.Put(buf)
	largest := int64(noTimestamp)
	_, err = walk(h, begin, s.size.Load(), buf, func(b batch.View, where border) (bool, error) {
		switch {
		case b.BaseOffset() >= limit:
			return false, nil
		case b.MaxTimestamp() <= largest:
		case b.BaseOffset() >= from:
			largest = b.MaxTimestamp()
		default: // cut by from: its header may speak of a record that does not count
			whole, err := readBatch(h, where, b.Size())
			if err != nil {
				return false, err
			}
			it := batch.RecordsWithin(whole, batch.Limits{})
			for r := range it.All {
				if r.Offset >= from {
					largest = max(largest, r.Timestamp)
				}
			}
			return true, it.Err()
		}
		return true, nil
	})
	return largest, err
}

// factsOf are a segment's facts: of the active one as memory has them; of a sealed one from the state file of its
// successor, or else by a walk over its headers.
func (l *Log) factsOf(v *view, s *localSegment) (facts, error) {
	if s == v.tail.seg {
		t := v.tail
		// maxTimestamp first: maxAt is written before it, so it names a batch with at least that timestamp.
		maxTimestamp := t.maxTimestamp.Load()
		return facts{created: t.created.Load(), maxTimestamp: maxTimestamp, maxAt: kafka.Offset(t.maxAt.Load())}, nil
	}
	if f := s.facts.Load(); f != nil {
		return *f, nil
	}
	next := kafka.Offset(s.next.Load())
	state, err := l.usableState(next)
	if err != nil {
		return noFacts, err
	}
	if state != nil && state.prev != nil && state.prev.base == s.base && state.prev.size == s.size.Load() {
		s.facts.CompareAndSwap(nil, &state.prev.facts)
		return state.prev.facts, nil
	}
	h, err := s.acquire(&l.env)
	if err != nil {
		return noFacts, blame(s, err)
	}
	defer h.Release()
	x, err := indexOf(h, s.base, border{next, s.size.Load()})
	if err != nil {
		return noFacts, blame(s, err)
	}
	f := l.dated(x.facts)
	s.facts.CompareAndSwap(nil, f)
	return *f, nil
}

// dated completes facts that were read from headers, which do not say when the segment began: now, at the latest.
func (l *Log) dated(f facts) *facts {
	f.created = l.now()
	return &f
}

// unreadable stands for a segment whose facts cannot be had: nothing must take it for old.
var unreadable = facts{maxTimestamp: math.MaxInt64}
