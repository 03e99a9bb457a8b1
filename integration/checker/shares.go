package checker

import (
	"fmt"
	"slices"

	"github.com/qanat-io/qanat/integration/history"
)

// place is a record's.
type place struct {
	partition int32
	offset    int64
}

// hold is a record in the hands of a member of the share group. Its lock was given out in [joined, taken].
type hold struct {
	process *history.Process
	joined  int64
	taken   int64
	settle  *history.Settle // what the member said of it; nil: nothing
	until   int64           // up to which it had the lock for sure, if nobody took that away
}

func (h *hold) in(c *check) string {
	text := fmt.Sprintf("process %d (joined at %s) was handed it at %s", h.process.Number, c.at(h.joined), c.at(h.taken))
	if s := h.settle; s != nil {
		text += fmt.Sprintf(", and said %s in [%s, %s]: %s %s", s.Kind, c.at(s.Invoked), c.at(s.Completed), s.Outcome, s.Code)
	}
	return text
}

// shares judges what members of a share group were handed.
func (c *check) shares() {
	if c.Share == nil {
		return
	}
	holds := c.holds()
	for at, all := range holds {
		slices.SortFunc(all, func(a, b *hold) int { return compare(a.taken, b.taken) })
		c.again(at, all)
		if c.Share.Steady {
			c.held(at, all)
		}
	}
	c.starts()
	c.drained(holds)
}

// holds finds, for each record, who was handed it.
func (c *check) holds() map[place][]*hold {
	all := map[place][]*hold{}
	for _, p := range c.Processes {
		mine := map[place]*hold{}
		settles := p.Settles
		settle := func(until int64) {
			for ; len(settles) > 0 && settles[0].Invoked <= until; settles = settles[1:] {
				s := &settles[0]
				if h := mine[place{s.Partition, s.Offset}]; h != nil && h.settle == nil {
					h.settle, h.until = s, min(h.until, s.Invoked)
				}
			}
		}
		for i := range p.Takes {
			t := &p.Takes[i]
			settle(t.Time)
			for j, v := range t.Values {
				at := place{t.Partition, t.Offset + int64(j)}
				h := &hold{process: p, joined: t.Joined, taken: t.Time}
				h.until = min(c.begun(v, t.Joined)+c.Share.Lock, p.Last)
				if n, _ := slices.BinarySearch(p.Leaves, t.Time); n < len(p.Leaves) {
					h.until = min(h.until, p.Leaves[n])
				}
				mine[at] = h
				all[at] = append(all[at], h)
			}
		}
		settle(history.Never)
	}
	return all
}

// begun is the earliest moment at which a record can have been given out to a member.
func (c *check) begun(v history.Value, joined int64) int64 {
	if s := c.Send(v); s != nil {
		return max(joined, s.Invoked)
	}
	return joined
}

// again looks for a record that was given out to who joined after somebody's word that it is done had been answered, and after every leader must have
// heard that it leads no more.
func (c *check) again(at place, all []*hold) {
	var done *hold
	for _, h := range all {
		if s := h.settle; s != nil && s.Outcome == history.OK && s.Kind != history.Release && (done == nil || s.Completed < done.settle.Completed) {
			done = h
		}
	}
	if done == nil {
		return
	}
	for _, h := range all {
		if h.joined > done.settle.Completed+c.Share.Lease {
			c.broken(ServedAgain, at.partition, at.offset, func() []string { return []string{done.in(c), h.in(c)} },
				"process %d was handed it at %s, %s done at %s", h.process.Number, c.at(h.taken), done.settle.Kind, c.at(done.settle.Completed))
			return
		}
	}
}

// held looks for two who had a record's lock at one time. all are in the order in which they were handed it.
func (c *check) held(at place, all []*hold) {
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.process == b.process && a.joined == b.joined || a.until < b.taken || b.until < b.taken {
				continue
			}
			c.broken(TwoHolders, at.partition, at.offset, func() []string { return []string{a.in(c), b.in(c)} },
				"process %d had it from %s until %s at least, process %d was handed it at %s", a.process.Number, c.at(a.taken), c.at(a.until), b.process.Number, c.at(b.taken))
			return
		}
	}
}

// starts looks for a share that was told to start further back than an answer before had said.
func (c *check) starts() {
	byPartition := map[int32][]*history.Fetch{}
	for i := range c.Starts {
		if f := &c.Starts[i]; f.Outcome == history.OK {
			byPartition[f.Partition] = append(byPartition[f.Partition], f)
		}
	}
	for partition, all := range byPartition {
		c.report.Stats.Started += len(all)
		answered := slices.Clone(all)
		slices.SortFunc(all, func(a, b *history.Fetch) int { return compare(a.Invoked, b.Invoked) })
		slices.SortFunc(answered, func(a, b *history.Fetch) int { return compare(a.Completed, b.Completed) })
		var furthest *history.Fetch
		for _, f := range all {
			for len(answered) > 0 && answered[0].Completed < f.Invoked {
				if furthest == nil || answered[0].Offset > furthest.Offset {
					furthest = answered[0]
				}
				answered = answered[1:]
			}
			if furthest != nil && f.Offset < furthest.Offset {
				c.broken(StartBack, partition, f.Offset, func() []string {
					return []string{fmt.Sprintf("process %d was told %d in [%s, %s]", furthest.Process, furthest.Offset, c.at(furthest.Invoked), c.at(furthest.Completed))}
				}, "process %d was told %d in [%s, %s], %d had been told before", f.Process, f.Offset, c.at(f.Invoked), c.at(f.Completed), furthest.Offset)
			}
		}
	}
}

// drained asks, where a share starts at its partition's end, whether everything was given out.
func (c *check) drained(holds map[place][]*hold) {
	ends := map[int32]int64{}
	for _, p := range c.Processes {
		for _, d := range p.Drained {
			ends[d.Partition] = max(ends[d.Partition], d.Offset)
		}
	}
	for partition := range c.Partitions {
		end, ok := ends[partition]
		if !ok {
			c.unfinished("the share of partition %d was not drained", partition)
			continue
		}
		for offset, v := range c.logs[partition].values[:min(end, int64(len(c.logs[partition].values)))] {
			if v != history.None && len(holds[place{partition, int64(offset)}]) == 0 {
				c.broken(NotServed, partition, int64(offset), func() []string { return []string{c.told(v)} }, "%v was given to nobody, and the share starts at %d", v, end)
			}
		}
	}
}
