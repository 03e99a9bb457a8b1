package compact

import (
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Policy is a topic's settings.
type Policy struct {
	MinLag          time.Duration // a record is left alone for so long (min.compaction.lag.ms)
	MaxLag          time.Duration // and is due after so long, whatever the ratio; negative: never
	DirtyRatio      float64       // share of dirty bytes above which a log is due (min.cleanable.dirty.ratio)
	DeleteRetention time.Duration // how long a tombstone stays (delete.retention.ms)
	SegmentBytes    int64         // what segments are merged to at most
}

// plan is what a pass over a log would do.
type plan struct {
	policy   Policy
	segments []hot.SegmentInfo // those that may be cleaned, oldest first
	from     kafka.Offset      // where dirt begins
	end      kafka.Offset      // where the last of the segments ends
	dirty    int64             // bytes
	ratio    float64
	due      bool
	overdue  bool // because of MaxLag
}

// planOf looks at a log's segments. limit is the first offset that may not be cleaned.
func (p Policy) planOf(segments []hot.SegmentInfo, cleanedTo, limit kafka.Offset, now time.Time) plan {
	var clean int64
	w := plan{policy: p, from: cleanedTo, end: cleanedTo}
	for _, s := range segments {
		if !s.Sealed || !s.Durable || s.Next > limit || p.MinLag > 0 && newest(s).After(now.Add(-p.MinLag)) {
			break
		}
		w.segments = append(w.segments, s)
		if s.Next <= cleanedTo {
			clean += s.Size
			continue
		}
		w.end = s.Next
		w.dirty += s.Size
		w.overdue = w.overdue || p.MaxLag >= 0 && oldest(s).Before(now.Add(-p.MaxLag))
	}
	if w.dirty > 0 {
		w.ratio = float64(w.dirty) / float64(clean+w.dirty)
	}
	w.due = w.dirty > 0 && (w.ratio > p.DirtyRatio || w.overdue)
	return w
}

// newest is when the segment's youngest record was written: by its timestamp, or by the broker's clock where it has none.
func newest(s hot.SegmentInfo) time.Time {
	if s.MaxTimestamp >= 0 {
		return time.UnixMilli(s.MaxTimestamp)
	}
	return s.Created
}

// oldest is when the segment's first record was written, as far as that is known.
func oldest(s hot.SegmentInfo) time.Time {
	if at := newest(s); s.Created.IsZero() || at.Before(s.Created) {
		return at
	}
	return s.Created
}

// group is how many of the segments below end, from the first, become one: neighbours that together are no larger than a segment.
func (p Policy) group(segments []hot.SegmentInfo, end kafka.Offset) int {
	n, size := 1, segments[0].Size
	for n < len(segments) && segments[n].Sealed && segments[n].Next <= end && size+segments[n].Size <= p.SegmentBytes {
		size += segments[n].Size
		n++
	}
	return n
}

// before tells which of two logs is to be cleaned first.
func (w plan) before(other plan) bool {
	if w.overdue != other.overdue {
		return w.overdue
	}
	return w.ratio > other.ratio
}
