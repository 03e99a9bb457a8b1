package checker

import (
	"slices"

	"github.com/qanat-io/qanat/integration/history"
)

// asked tells whether the commit of a value's transaction had been asked for by a time.
func (c *check) asked(v history.Value, by int64) bool {
	all := c.Process(v.Process()).Transactions
	i, _ := slices.BinarySearchFunc(all, v.N(), func(t history.Transaction, n int32) int { return int(t.Last) - int(n) })
	return i < len(all) && all[i].First <= v.N() && (all[i].Asked <= by || c.options.SeparateClocks)
}

// transactions asks of each transaction whether all of it is there, or nothing, when everything was read. What was acknowledged
// counts as there: that readers find it is LostWrite's to say.
func (c *check) transactions() {
	if len(c.report.Unfinished) > 0 {
		return
	}
	for i, p := range c.Processes {
		for _, t := range p.Transactions {
			there, missing := history.None, history.None
			for n := t.First; n <= t.Last; n++ {
				if v := history.ValueOf(p.Number, n); c.where[i][n] != history.NoOffset {
					there = v
				} else {
					missing = v
				}
			}
			if there == history.None || missing == history.None {
				continue
			}
			partition, offset := p.Sends[there.N()].Partition, c.offset(there)
			c.broken(TornTransaction, partition, offset, func() []string { return c.around(partition, offset, there, missing) },
				"process %d sent %v and %v in one transaction, and only the first is there", p.Number, there, missing)
		}
	}
}
