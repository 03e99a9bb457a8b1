package sources

import (
	"context"
	"sync"
	"time"

	"github.com/qanat-io/qanat/broker/hosted"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// lagAges knows since when the oldest record waits that a group has not committed, in the partitions that this broker leads. That
// takes a look at a batch, perhaps from the disk, which a collection of metrics must not wait for: it finds what was seen last.
type lagAges struct {
	image  func() *image.Image
	hosted *hosted.Set

	mu    sync.Mutex
	asked time.Time // by a collection
	seen  map[lagKey]lagSeen
}

type lagKey struct {
	group     string
	partition kafka.Partition
}

type lagSeen struct {
	committed kafka.Offset
	written   int64 // milliseconds; 0: nothing waits but transactions' markers
}

const (
	lagAgeInterval = 2 * time.Second
	// lagAgeAsked is for how long after a collection it goes on: nobody looks for what nobody asks for.
	lagAgeAsked = 2 * time.Minute
	// lagAgesMost bounds how many are looked at: those of more than that are not given anyway; see metrics.partition.series.max.
	lagAgesMost = 20_000
)

// ask notes that there is a collection.
func (a *lagAges) ask(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = now
}

// run looks, while there are collections.
func (a *lagAges) run(ctx context.Context) error {
	ticker := time.NewTicker(lagAgeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			a.mu.Lock()
			wanted := now.Sub(a.asked) < lagAgeAsked
			a.mu.Unlock()
			if wanted {
				a.look()
			}
		}
	}
}

// look finds when the record at each committed offset was written; what has not moved is known.
func (a *lagAges) look() {
	m := a.image()
	a.mu.Lock()
	before := a.seen
	a.mu.Unlock()
	seen := make(map[lagKey]lagSeen, len(before))
	m.Groups(func(g *image.Group) bool {
		m.Offsets(g.Name, func(o *image.Offset) bool {
			p := a.hosted.Get(o.Partition)
			at := o.OffsetCommit.Offset
			if p == nil || p.LeaderEpoch() < 0 {
				return true
			}
			limit := p.HighWatermark()
			if at >= limit {
				return true
			}
			key := lagKey{g.Name, o.Partition}
			if was, ok := before[key]; ok && was.committed == at && was.written > 0 {
				seen[key] = was
			} else if ms, ok := p.Log().TimeAt(max(at, p.LogStart()), limit); ok {
				seen[key] = lagSeen{at, ms}
			}
			return len(seen) < lagAgesMost
		})
		return len(seen) < lagAgesMost
	})
	a.mu.Lock()
	a.seen = seen
	a.mu.Unlock()
}

// age is for how long a group's oldest record that is not committed has waited, in seconds; negative: not known yet.
func (a *lagAges) age(group string, p kafka.Partition, nowMs int64) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.seen[lagKey{group, p}]
	switch {
	case !ok:
		return -1
	case s.written == 0:
		return 0
	}
	return max(float64(nowMs-s.written)/1000, 0)
}
