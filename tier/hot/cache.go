package hot

import (
	"sync"

	"github.com/qanat-io/qanat/tier/segment"
)

// entryCache bounds how many sealed segments keep their index entries in
// memory: those sealed or scanned last, whose entries index.Index may not have yet.
// First in, first out; 256 segments of 128 MiB are 12 MiB of entries.
type entryCache struct {
	mu   sync.Mutex
	ring [256]*localSegment
	next int
}

func (c *entryCache) keep(s *localSegment, entries []segment.IndexEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := s.entries.Swap(&entries) == nil
	if !fresh {
		return
	}
	if old := c.ring[c.next]; old != nil && old != s {
		old.entries.Store(nil)
	}
	c.ring[c.next] = s
	c.next = (c.next + 1) % len(c.ring)
}

// forget drops a segment's entries (it was cut or deleted).
func (c *entryCache) forget(s *localSegment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.entries.Store(nil)
	for i := range c.ring {
		if c.ring[i] == s {
			c.ring[i] = nil
		}
	}
}
