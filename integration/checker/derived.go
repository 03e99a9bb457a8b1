package checker

import "github.com/qanat-io/qanat/integration/history"

// derived asks of every record of the sources whether one record was made of it, if it lies before what the group has committed in the end, and
// none otherwise: the record that is made and the offset are of one transaction.
func (c *check) derived() {
	if c.Derive == nil {
		return
	}
	of := map[history.Value]history.Value{}
	for i, p := range c.Processes {
		for n := range int32(len(p.Sends)) {
			source, ok := p.Derived[n]
			if !ok || c.where[i][n] == history.NoOffset {
				continue
			}
			c.report.Stats.Derived++
			v := history.ValueOf(p.Number, n)
			if other, twice := of[source]; twice {
				c.broken(DerivedTwice, p.Sends[n].Partition, c.offset(v), func() []string { return []string{c.told(source), c.told(other), c.told(v)} }, "%v and %v were made of %v", other, v, source)
			}
			of[source] = v
		}
	}
	if len(c.report.Unfinished) > 0 {
		return
	}
	for partition := range min(c.Derive.Sources, c.Partitions) {
		end, ok := c.committed(partition)
		if !ok {
			c.unfinished("what group %s has committed of partition %d in the end was not asked for", c.Derive.Group, partition)
			continue
		}
		for o, source := range c.logs[partition].values {
			v, made := of[source]
			offset := int64(o)
			switch {
			case source == history.None:
			case !made && offset < end:
				c.broken(NotDerived, partition, offset, func() []string { return []string{c.told(source)} }, "nothing was made of %v, and group %s has committed %d", source, c.Derive.Group, end)
			case made && offset >= end:
				c.broken(HalfDone, partition, offset, func() []string { return []string{c.told(source), c.told(v)} }, "%v was made of %v, and group %s has committed %d", v, source, c.Derive.Group, max(end, 0))
			}
		}
	}
}

// committed is what the final reader was told that the group has committed; NoOffset is nothing.
func (c *check) committed(partition int32) (offset int64, ok bool) {
	for i := range c.Fetches {
		f := &c.Fetches[i]
		if f.Group == c.Derive.Group && f.Partition == partition && f.Outcome == history.OK && c.Process(f.Process).Final {
			offset, ok = f.Offset, true
		}
	}
	return offset, ok
}
