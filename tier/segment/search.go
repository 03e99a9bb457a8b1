package segment

import (
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Search walks the batches in p, which begins on one, to the one that holds
// offset (or the first one behind it, where compaction removed it), and returns
// its position in p. That batch's header is whole in p, its records may be cut
// short. ok is false when p ends, or stops being batches, before it.
//
// Only framing is looked at: it is as good as the caller's CRC check.
func Search(p []byte, offset kafka.Offset) (pos int, ok bool) {
	for len(p)-pos >= batch.HeaderLen {
		v := batch.View(p[pos:])
		size := v.Size()
		if size < batch.HeaderLen || v.LastOffsetDelta() < 0 {
			return 0, false
		}
		if v.LastOffset() >= offset {
			return pos, true
		}
		if size > len(p)-pos {
			return 0, false
		}
		pos += size
	}
	return 0, false
}
