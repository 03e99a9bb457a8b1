package sources

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Counters are what the broker counts for metrics that no part of it counts for itself. The zero value is ready.
type Counters struct {
	shrinks, expands, elections atomic.Int64

	mu     sync.Mutex
	topics map[string]*partition.Traffic // ever hosted here
}

// Traffic is where a topic's traffic is Counters, for as long as the broker runs: counters never go back.
func (c *Counters) Traffic(topic string) *partition.Traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[topic]
	if t == nil {
		if c.topics == nil {
			c.topics = map[string]*partition.Traffic{}
		}
		t = &partition.Traffic{}
		c.topics[topic] = t
	}
	return t
}

// Follow counts what becomes of the partitions that node leads.
func (c *Counters) Follow(node kafka.BrokerID) func(old, m *image.Image, ch quorum.Changes) {
	return func(old, m *image.Image, ch quorum.Changes) {
		for _, id := range ch.Partitions {
			was, ok := old.Partition(id)
			is, still := m.Partition(id)
			if !ok || !still || is.Leader != node {
				continue
			}
			if was.Leader != node {
				c.elections.Add(1)
			}
			c.shrinks.Add(missing(was.ISR, is.ISR))
			c.expands.Add(missing(is.ISR, was.ISR))
		}
	}
}

// missing is how many of a are not in b.
func missing(a, b []kafka.BrokerID) (n int64) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			n++
		}
	}
	return n
}
