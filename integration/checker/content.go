package checker

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/integration/history"
)

// partitionLog is what a partition is known to hold: from acknowledgements and from whatever anyone read.
type partitionLog struct {
	values []history.Value // by offset; None where nothing is known
	// read is the offset after the highest that anyone read.
	read int64
}

// at is the value at an offset, None if it is not known.
func (l *partitionLog) at(offset int64) history.Value {
	if offset < 0 || offset >= int64(len(l.values)) {
		return history.None
	}
	return l.values[offset]
}

// content finds what each offset held: one value an offset, one offset a value, nothing made up.
func (c *check) content() {
	c.logs = make([]partitionLog, c.Partitions)
	c.where = make([][]int64, len(c.Processes))
	c.twice = map[history.Value]bool{}
	for i, p := range c.Processes {
		c.where[i] = make([]int64, len(p.Sends))
		for n := range c.where[i] {
			c.where[i][n] = history.NoOffset
		}
	}
	for _, p := range c.Processes {
		for n := range p.Sends {
			if s := &p.Sends[n]; s.Outcome == history.OK && s.Offset >= 0 {
				c.place(s.Partition, s.Offset, history.ValueOf(p.Number, int32(n)))
			}
		}
	}
	for _, p := range c.Processes {
		for i := range p.Polls {
			c.handed(p, &p.Polls[i])
		}
		for i := range p.Takes {
			c.handed(p, &p.Takes[i].Poll)
		}
	}
	for _, b := range c.Bads {
		c.broken(Phantom, b.Partition, b.Offset, nil, "process %d read bytes that nobody sent at %s: %s", b.Process, c.at(b.Time), b.Detail)
	}
}

// handed judges records that a process was handed.
func (c *check) handed(p *history.Process, run *history.Poll) {
	for j, v := range run.Values {
		c.polled(p, run, run.Offset+int64(j), v)
	}
	if run.Partition >= 0 && run.Partition < c.Partitions {
		l := &c.logs[run.Partition]
		l.read = max(l.read, min(run.Next(), int64(len(l.values))))
	}
}

// polled judges one record that a process was handed.
func (c *check) polled(p *history.Process, poll *history.Poll, offset int64, v history.Value) {
	s := c.Send(v)
	evidence := func() []string { return c.around(poll.Partition, offset, v) }
	switch {
	case s == nil:
		c.broken(Phantom, poll.Partition, offset, evidence, "process %d read %v, which nobody sent", p.Number, v)
		return
	case s.Partition != poll.Partition:
		c.broken(Phantom, poll.Partition, offset, evidence, "process %d read %v, which was sent to partition %d", p.Number, v, s.Partition)
		return
	case s.Invoked > poll.Time && !c.options.SeparateClocks:
		c.broken(Phantom, poll.Partition, offset, evidence, "process %d read %v at %s, before it was sent", p.Number, v, c.at(poll.Time))
	case c.Process(v.Process()).Transactional && !c.asked(v, poll.Time):
		c.broken(AbortedRead, poll.Partition, offset, evidence, "process %d read %v at %s, whose transaction was not to be committed", p.Number, v, c.at(poll.Time))
	case s.Outcome == history.Failed:
		c.broken(FailedRead, poll.Partition, offset, evidence, "process %d read %v, whose send had failed (%s)", p.Number, v, s.Code)
	}
	c.place(poll.Partition, offset, v)
}

// place notes that a value is at an offset.
func (c *check) place(partition int32, offset int64, v history.Value) {
	if partition < 0 || partition >= c.Partitions {
		c.broken(Phantom, partition, offset, nil, "%v is in a partition that the topic has not", v)
		return
	}
	l := &c.logs[partition]
	if offset >= int64(len(l.values)) {
		if offset > c.wild() {
			c.broken(Hole, partition, offset, func() []string { return c.around(partition, offset, v) }, "%v is at an offset that %d operations cannot have reached", v, c.Ops())
			return
		}
		l.grow(offset)
	}
	evidence := func() []string { return c.around(partition, offset, v, l.values[offset]) }
	switch before := l.values[offset]; before {
	case history.None:
		l.values[offset] = v
	case v:
	default:
		c.broken(InconsistentOffset, partition, offset, evidence, "holds %v and %v", before, v)
	}
	known := &c.where[c.index[v.Process()]][v.N()]
	if *known == history.NoOffset {
		*known = offset
		return
	}
	if *known == offset || c.twice[v] {
		return
	}
	c.twice[v] = true
	if !c.Process(v.Process()).Idempotent {
		c.report.Stats.Repeated++
		return
	}
	c.broken(Duplicate, partition, offset, evidence, "%v is at offsets %d and %d", v, *known, offset)
}

// wild is an offset that no log of this history can have, markers and repeated records included.
func (c *check) wild() int64 { return 16*int64(c.Ops()) + 1<<16 }

func (l *partitionLog) grow(offset int64) {
	for int64(len(l.values)) <= offset {
		l.values = append(l.values, history.None)
	}
}

// offset is where a value is known to be.
func (c *check) offset(v history.Value) int64 {
	i, ok := c.index[v.Process()]
	if !ok || int(v.N()) >= len(c.where[i]) {
		return history.NoOffset
	}
	return c.where[i][v.N()]
}

// at tells a time relative to the history's start.
func (c *check) at(t int64) string {
	if t == history.Never {
		return "?"
	}
	return time.Duration(t - c.start).Round(time.Microsecond).String()
}

// told is a send in words.
func (c *check) told(v history.Value) string {
	s := c.Send(v)
	if s == nil {
		return fmt.Sprintf("%v: never sent", v)
	}
	text := fmt.Sprintf("%v: sent to partition %d at %s by %s, ", v, s.Partition, c.at(s.Invoked), c.Process(v.Process()).Client)
	switch {
	case s.Outcome == history.OK:
		return text + fmt.Sprintf("acknowledged at offset %d at %s", s.Offset, c.at(s.Completed))
	case s.Outcome == history.Failed:
		return text + fmt.Sprintf("failed at %s (%s)", c.at(s.Completed), s.Code)
	}
	return text + fmt.Sprintf("outcome unknown (%s)", s.Code)
}

// around tells the operations that touched an offset, its neighbours, and some values.
func (c *check) around(partition int32, offset int64, values ...history.Value) []string {
	const near, most = 2, 12
	var lines []string
	told := map[history.Value]bool{history.None: true}
	for _, v := range values {
		if !told[v] {
			told[v] = true
			lines = append(lines, c.told(v))
		}
	}
	if partition >= 0 && partition < c.Partitions {
		for o := offset - near; o <= offset+near; o++ {
			if v := c.logs[partition].at(o); !told[v] {
				told[v] = true
				lines = append(lines, fmt.Sprintf("offset %d holds %s", o, c.told(v)))
			}
		}
	}
	polls := 0
	for _, p := range c.Processes {
		for i := range p.Polls {
			poll := &p.Polls[i]
			if poll.Partition != partition || poll.Next() < offset || poll.Offset > offset+1 || len(poll.Values) == 0 {
				continue
			}
			if polls++; polls > most {
				continue
			}
			here := "not at it"
			if o := offset - poll.Offset; o >= 0 && o < int64(len(poll.Values)) {
				here = "there " + poll.Values[o].String()
			}
			lines = append(lines, fmt.Sprintf("process %d (%s) polled [%d, %d) at %s, %s", p.Number, p.Client, poll.Offset, poll.Next(), c.at(poll.Time), here))
		}
	}
	if polls > most {
		lines = append(lines, fmt.Sprintf("… and %d more polls", polls-most))
	}
	return lines
}
