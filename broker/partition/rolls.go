package partition

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/wire/kafka"
)

// rolls are the segments that were closed and that the archive has not been told of, by their ends. A segment is told of when it can be uploaded:
// told before, the archive would look, find nothing to do, and not look again for minutes.
type rolls struct {
	first atomic.Int64 // of the ends, or 0, which is no end, for none: looked at with every acknowledgement
	mu    sync.Mutex
	ends  []kafka.Offset // ascending
}

// add notes the end of a segment that is being closed. It may be below earlier ones: the log was cut.
func (r *rolls) add(end kafka.Offset) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearch(r.ends, end)
	r.set(append(r.ends[:i], end))
}

// passed forgets the segments that end at an offset or below it, and tells whether there were any.
func (r *rolls) passed(at kafka.Offset) bool {
	if first := r.first.Load(); first == 0 || first > int64(at) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearch(r.ends, at+1)
	r.set(slices.Delete(r.ends, 0, i))
	return i > 0
}

// set is under mu.
func (r *rolls) set(ends []kafka.Offset) {
	r.ends = ends
	first := kafka.Offset(0)
	if len(ends) > 0 {
		first = ends[0]
	}
	r.first.Store(int64(first))
}
