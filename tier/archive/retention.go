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
	front    manifest.Manifest // the entries of the page that frontPage tells
	segments []hot.SegmentInfo // local, oldest first
	start    kafka.Offset
	stable   kafka.Offset
	policy   Policy
	now      time.Time
	held     bool // the bucket is not known to be the one that the manifest speaks of
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

// old tells whether a segment whose newest record is of that time (milliseconds) is older than the age. Negative ages never pass.
func (v *view) old(age time.Duration, newest int64) bool {
	return age >= 0 && time.UnixMilli(newest).Before(v.now.Add(-age))
}

// timeOf is manifest.Entry.Time for a local segment.
func timeOf(s hot.SegmentInfo) int64 {
	if s.MaxTimestamp >= 0 {
		return s.MaxTimestamp
	}
	return s.Created.UnixMilli()
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
// Pages go whole by what is known of them without a GET. Of the first that does not, the entries are judged when they could be read (front),
// and of no other: the next look goes on.
//
// It returns v.start when nothing expires. What is not below the high watermark never does.
func (v *view) expire() (start kafka.Offset, roll bool) {
	limit := v.policy.Retention
	pages := v.manifest.Pages()
	whole, total := v.wholePages()
	start = v.start
	if whole > 0 {
		start = max(start, pages[whole-1].Next)
	}
	entries := v.manifest
	if whole < len(pages) {
		entries = v.front
	}
	for _, e := range entries.All() {
		if e.Next > v.start && !v.old(limit.Age, e.Time()) && !tooMany(limit.Bytes, total, e.Size) {
			return start, false
		}
		start = max(start, e.Next)
		total -= e.Size
	}
	if whole < len(pages) {
		return start, false
	}
	for _, s := range v.localOnly() {
		if s.Next == s.Base || s.Next > v.stable {
			break
		}
		if !v.old(limit.Age, timeOf(s)) && !tooMany(limit.Bytes, total, s.Size) {
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

// wholePages counts the pages all of whose entries expire, from the oldest, and tells how many bytes the log has without them.
func (v *view) wholePages() (n int, total int64) {
	limit := v.policy.Retention
	total = v.manifest.Bytes()
	for _, s := range v.localOnly() {
		total += s.Size
	}
	for _, page := range v.manifest.Pages() {
		if page.Next > v.start && !v.old(limit.Age, page.LatestTime) && !tooMany(limit.Bytes, total, page.Bytes) {
			break
		}
		n++
		total -= page.Bytes
	}
	return n, total
}

// frontPage is the page whose entries retention has to see: the first that does not go whole, if its first entry has expired, or was
// trimmed away, so that which one is the first, and what is left of the page's bytes, is not known without.
func (v *view) frontPage() (page manifest.Page, ok bool) {
	limit := v.policy.Retention
	whole, total := v.wholePages()
	if whole == len(v.manifest.Pages()) {
		return page, false
	}
	page = v.manifest.Pages()[whole]
	if max(v.manifest.Start(), v.start) > page.Base {
		return page, limit.Age >= 0 || tooMany(limit.Bytes, total, 0)
	}
	return page, v.old(limit.Age, page.FirstTime) || tooMany(limit.Bytes, total, page.FirstSize)
}

// releasable decides up to where local segments may be deleted: those wholly
// below the published log start, and those that the published manifest covers
// and local retention no longer wants, unless the bucket is held. It returns the first local offset when there are none.
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
			(v.covered(s) && !v.held || bugDelete) && (v.old(limit.Age, timeOf(s)) || tooMany(limit.Bytes, total, s.Size))
		if !s.Sealed || !expired {
			break
		}
		upto = s.Next
		total -= s.Size
	}
	return upto
}

// overdue is how many bytes of pending, the segments that are not in the bucket, local retention would delete if they were.
func (v *view) overdue(pending []hot.SegmentInfo) (bytes int64) {
	var total int64
	for _, s := range v.segments {
		total += s.Size
	}
	limit := v.policy.LocalRetention
	for _, s := range v.segments {
		if !v.old(limit.Age, timeOf(s)) && !tooMany(limit.Bytes, total, s.Size) {
			break
		}
		if total -= s.Size; len(pending) > 0 && s.Base >= pending[0].Base && s.Next <= pending[len(pending)-1].Next {
			bytes += s.Size
		}
	}
	return bytes
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
