package checker

import "github.com/qanat-io/qanat/integration/history"

// reading follows every consumer's position, then asks whether the final reads found everything.
func (c *check) reading() {
	for _, p := range c.Processes {
		c.positions(p)
	}
	read := make([]bool, c.Partitions)
	for _, p := range c.Processes {
		if p.Final {
			c.final(p, read)
		}
	}
	for partition, done := range read {
		if !done {
			c.unfinished("partition %d was not read to its end", partition)
			c.union(int32(partition))
		}
	}
	for i, p := range c.Processes {
		for n := range p.Sends {
			if s := &p.Sends[n]; s.Outcome == history.OK && c.where[i][n] == history.NoOffset && s.Partition >= 0 && s.Partition < c.Partitions && read[s.Partition] {
				v := history.ValueOf(p.Number, int32(n))
				c.broken(LostWrite, s.Partition, history.NoOffset, func() []string { return []string{c.told(v)} }, "%v was acknowledged without an offset and is nowhere", v)
			}
		}
	}
}

// Places of a consumer that are no offset.
const (
	anywhere int64 = -1 // the next poll may be of any offset
	resuming int64 = -2 // the next poll begins where the group had come to
)

// resume is a first poll after an assignment.
type resume struct {
	process   int32
	group     string
	partition int32
	assigned  int64 // when
	polled    int64
	offset    int64
}

// positions checks that polls of one process go neither back nor past records.
func (c *check) positions(p *history.Process) {
	position := make([]int64, c.Partitions)
	assigned := make([]*history.Move, c.Partitions)
	for i := range position {
		position[i] = anywhere
	}
	moves := p.Moves
	for i := range p.Polls {
		poll := &p.Polls[i]
		for len(moves) > 0 && moves[0].Seq < poll.Seq {
			m := &moves[0]
			moves = moves[1:]
			for _, partition := range m.Partitions {
				if partition < 0 || partition >= c.Partitions {
					continue
				}
				switch m.Kind {
				case history.Seek:
					position[partition] = max(m.Offset, anywhere)
				case history.Assign:
					position[partition], assigned[partition] = resuming, m
				case history.Revoke:
					position[partition] = anywhere
				}
			}
		}
		if poll.Partition < 0 || poll.Partition >= c.Partitions || len(poll.Values) == 0 {
			continue
		}
		at := &position[poll.Partition]
		switch {
		case *at == resuming:
			m := assigned[poll.Partition]
			c.resumes = append(c.resumes, resume{p.Number, m.Group, poll.Partition, m.Time, poll.Time, poll.Offset})
		case *at != anywhere:
			c.follows(p, poll, *at)
		}
		*at = poll.Next()
	}
}

// follows judges a poll against the position before it.
func (c *check) follows(p *history.Process, poll *history.Poll, position int64) {
	if poll.Offset < position {
		c.broken(PollBack, poll.Partition, poll.Offset, func() []string { return c.around(poll.Partition, poll.Offset) },
			"process %d was at %d and was handed this at %s", p.Number, position, c.at(poll.Time))
		return
	}
	if o := c.between(poll.Partition, position, poll.Offset); o != history.NoOffset {
		v := c.logs[poll.Partition].at(o)
		c.broken(PollSkip, poll.Partition, o, func() []string { return c.around(poll.Partition, o, v) },
			"process %d was at %d and was handed %d at %s, past %v", p.Number, position, poll.Offset, c.at(poll.Time), v)
	}
}

// between is the first offset of [from, to) that is known to hold a record, or NoOffset.
func (c *check) between(partition int32, from, to int64) int64 {
	l := &c.logs[partition]
	for o := max(from, 0); o < min(to, int64(len(l.values))); o++ {
		if l.values[o] != history.None {
			return o
		}
	}
	return history.NoOffset
}

// final asks of every partition that a process has read to its end: was all found that anyone knew to be there?
func (c *check) final(p *history.Process, read []bool) {
	seen := make([][]bool, c.Partitions)
	for i := range p.Polls {
		poll := &p.Polls[i]
		if poll.Partition < 0 || poll.Partition >= c.Partitions {
			continue
		}
		if seen[poll.Partition] == nil {
			seen[poll.Partition] = make([]bool, len(c.logs[poll.Partition].values))
		}
		for o := max(poll.Offset, 0); o < min(poll.Next(), int64(len(seen[poll.Partition]))); o++ {
			seen[poll.Partition][o] = true
		}
	}
	for _, f := range p.Finals {
		if f.Partition < 0 || f.Partition >= c.Partitions {
			continue
		}
		read[f.Partition] = true
		c.found(p, f, seen[f.Partition])
	}
}

func (c *check) found(p *history.Process, f history.Final, seen []bool) {
	l := &c.logs[f.Partition]
	for o, v := range l.values {
		at := int64(o)
		if o < len(seen) && seen[o] {
			continue
		}
		evidence := func() []string { return c.around(f.Partition, at, v) }
		switch {
		case v == history.None:
			if c.Dense && at < f.Offset {
				c.broken(Hole, f.Partition, at, evidence, "holds nothing, and process %d has read up to %d", p.Number, f.Offset)
			}
		case at < f.Offset:
			c.broken(LostWrite, f.Partition, at, evidence, "%v was there; process %d has read up to %d and not found it", v, p.Number, f.Offset)
		default:
			c.broken(Unseen, f.Partition, at, evidence, "%v was there; for process %d the partition ends at %d", v, p.Number, f.Offset)
		}
	}
	for o := int64(len(l.values)); c.Dense && o < min(f.Offset, c.wild()); o++ {
		c.broken(Hole, f.Partition, o, nil, "holds nothing, and process %d has read up to %d", p.Number, f.Offset)
	}
}

// union is what can be said of a partition without a final read: what was acknowledged below the highest offset that
// anyone read was read by someone.
func (c *check) union(partition int32) {
	l := &c.logs[partition]
	seen := make([]bool, l.read)
	for _, p := range c.Processes {
		for i := range p.Polls {
			if poll := &p.Polls[i]; poll.Partition == partition {
				for o := max(poll.Offset, 0); o < min(poll.Next(), l.read); o++ {
					seen[o] = true
				}
			}
		}
	}
	for o, there := range seen {
		if v := l.values[o]; !there && v != history.None {
			at := int64(o)
			c.broken(LostWrite, partition, at, func() []string { return c.around(partition, at, v) }, "%v was acknowledged, nobody read it, and offset %d was read", v, l.read-1)
		}
	}
}
