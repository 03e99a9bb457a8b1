package checker

import (
	"slices"

	"github.com/qanat-io/qanat/integration/history"
)

// appended is a send whose place is known.
type appended struct {
	value              history.Value
	invoked, completed int64
	offset             int64
}

// appends checks that logs grow in the order of the sends: a producer's own, and everyone's where one had been
// acknowledged before the other was begun.
func (c *check) appends() {
	byPartition := make([][]appended, c.Partitions)
	for i, p := range c.Processes {
		last := make([]appended, c.Partitions)
		for n := range p.Sends {
			s := &p.Sends[n]
			a := appended{history.ValueOf(p.Number, int32(n)), s.Invoked, s.Completed, c.where[i][n]}
			if a.offset == history.NoOffset || s.Partition < 0 || s.Partition >= c.Partitions || c.twice[a.value] {
				continue
			}
			byPartition[s.Partition] = append(byPartition[s.Partition], a)
			// A send whose outcome is unknown may have been given up, and have been carried out after a later one.
			if s.Outcome != history.OK || !p.Idempotent {
				continue
			}
			if before := last[s.Partition]; before.completed != 0 && before.offset > a.offset {
				c.broken(SendOrder, s.Partition, a.offset, func() []string { return c.around(s.Partition, a.offset, before.value, a.value) },
					"process %d sent %v, then %v, which lies before it", p.Number, before.value, a.value)
			}
			last[s.Partition] = a
		}
	}
	if c.options.SeparateClocks {
		return
	}
	for partition, all := range byPartition {
		c.realTime(int32(partition), all)
	}
}

// realTime compares every send with the highest offset that had been acknowledged when it began.
func (c *check) realTime(partition int32, all []appended) {
	done := slices.DeleteFunc(slices.Clone(all), func(a appended) bool { return a.completed == history.Never })
	slices.SortFunc(done, func(a, b appended) int { return compare(a.completed, b.completed) })
	slices.SortFunc(all, func(a, b appended) int { return compare(a.invoked, b.invoked) })
	highest := appended{offset: history.NoOffset}
	for _, a := range all {
		for len(done) > 0 && done[0].completed < a.invoked {
			if done[0].offset > highest.offset {
				highest = done[0]
			}
			done = done[1:]
		}
		if highest.offset > a.offset {
			before := highest
			c.broken(AppendOrder, partition, a.offset, func() []string { return c.around(partition, a.offset, before.value, a.value) },
				"%v was begun after %v had been acknowledged at offset %d", a.value, before.value, before.offset)
		}
	}
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
