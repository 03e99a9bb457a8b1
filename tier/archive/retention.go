package archive

import (
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// view is a partition at one moment: all that its decisions depend on.
type view struct {
	manifest manifest.Manifest
	front    manifest.Manifest // the first page's entries, when wantsFront
	segments []hot.SegmentInfo // local, oldest first
	start    kafka.Offset
	stable   kafka.Offset
	policy   Policy
	now      time.Time
}

// covered tells whether the published manifest holds all of a local segment that can still be read.
func (v *view) covered(s hot.SegmentInfo) bool {
	return v.manifest.Len() > 0 && s.Next <= v.manifest.End() && max(s.Base, v.start) >= v.manifest.Start()
}

// localOnly are the local segments that hold something the bucket does not, the active one among them.
func (v *view) localOnly() []hot.SegmentInfo {
	for i, s := range v.segments {
		if s.Next > v.manifest.End() && s.Next > v.start {
			return v.segments[i:]
		}
	}
	return nil
}

// old tells whether the newest record of a segment is older than the age; by
// written, when its records carry no time (KIP-32: -1). Negative ages never pass.
func (v *view) old(age time.Duration, maxTimestamp int64, written time.Time) bool {
	if age < 0 {
		return false
	}
	newest := written
	if maxTimestamp >= 0 {
		newest = time.UnixMilli(maxTimestamp)
	}
	return newest.Before(v.now.Add(-age))
}

// tooMany tells whether a log of total bytes keeps at least its limit
// without its oldest segment. Kafka's rule: a limit is what is kept at least,
// and exceeded by less than one segment.
func tooMany(limit, total, size int64) bool {
	return limit >= 0 && total-size >= limit
}

// expire decides how far total retention moves the log start: over whole
// segments from the oldest, of both tiers as one, up to the first that must
// stay. Whether a segment was uploaded makes no difference (a bucket that is
// down must not fill the disk for ever). roll asks to close the active
// segment, all of whose records have expired, so that they can go next time.
//
// Of entries in pages it goes through one page at a time: the next look goes on.
//
// It returns v.start when nothing expires. What is not below the high watermark never does.
func (v *view) expire() (start kafka.Offset, roll bool) {
	limit := v.policy.Retention
	local := v.localOnly()
	total := v.manifest.Bytes()
	for _, s := range local {
		total += s.Size
	}
	start = v.start
	if pages := v.manifest.Pages(); len(pages) > 0 {
		if v.front.Len() == 0 {
			return start, false
		}
		for _, e := range v.front.All() {
			if e.Next > v.start && !v.old(limit.Age, e.MaxTimestamp, time.UnixMilli(e.Uploaded)) && !tooMany(limit.Bytes, total, e.Size) {
				return start, false
			}
			start = max(start, e.Next)
			total -= e.Size
		}
		return start, false
	}
	for _, e := range v.manifest.All() {
		if e.Next > v.start && !v.old(limit.Age, e.MaxTimestamp, time.UnixMilli(e.Uploaded)) && !tooMany(limit.Bytes, total, e.Size) {
			return start, false
		}
		start = max(start, e.Next)
		total -= e.Size
	}
	for _, s := range local {
		if s.Next == s.Base || s.Next > v.stable {
			break
		}
		if !v.old(limit.Age, s.MaxTimestamp, s.Created) && !tooMany(limit.Bytes, total, s.Size) {
			break
		}
		if !s.Sealed {
			return start, true
		}
		start = max(start, s.Next)
		total -= s.Size
	}
	return start, false
}

// wantsFront tells whether retention has to see the entries of the first page: its first one has expired, or was trimmed away, so
// that which one is the first, and what is left of the page's bytes, is not known without.
func (v *view) wantsFront() bool {
	limit, first := v.policy.Retention, v.manifest.Pages()[0]
	total := v.manifest.Bytes()
	for _, s := range v.localOnly() {
		total += s.Size
	}
	if v.manifest.Start() > first.Base || v.start > first.Base {
		return limit.Age >= 0 || tooMany(limit.Bytes, total, 0)
	}
	return v.old(limit.Age, first.FirstMaxTimestamp, time.UnixMilli(first.FirstUploaded)) || tooMany(limit.Bytes, total, first.FirstSize)
}

// releasable decides up to where local segments may be deleted: those wholly
// below the published log start, and those that the published manifest covers
// and local retention no longer wants. It returns the first local offset when there are none.
func (v *view) releasable() kafka.Offset {
	if len(v.segments) == 0 {
		return 0
	}
	limit := v.policy.LocalRetention
	var total int64
	for _, s := range v.segments {
		total += s.Size
	}
	upto := v.segments[0].Base
	for _, s := range v.segments {
		expired := s.Next <= v.start ||
			v.covered(s) && (v.old(limit.Age, s.MaxTimestamp, s.Created) || tooMany(limit.Bytes, total, s.Size))
		if !s.Sealed || !expired {
			break
		}
		upto = s.Next
		total -= s.Size
	}
	return upto
}

// pending are the segments to upload, oldest first: sealed, durable, wholly
// below the high watermark, not in the manifest and not expired.
func (v *view) pending() []hot.SegmentInfo {
	local := v.localOnly()
	for i, s := range local {
		if !s.Sealed || !s.Durable || s.Next > v.stable {
			return local[:i]
		}
	}
	return local
}
