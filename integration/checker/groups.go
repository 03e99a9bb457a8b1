package checker

import (
	"fmt"
	"slices"
	"sort"

	"github.com/qanat-io/qanat/integration/history"
)

// slot is one group's place in one partition: a register that commits write and fetches read.
type slot struct {
	group     string
	partition int32
}

// register is all that happened to a slot.
type register struct {
	slot
	commits []*history.Commit // by invocation
	// dropped are those of transactions that were aborted: they never were.
	dropped []*history.Commit
	// done are the acknowledged ones by completion; newest[i] is the latest invocation among done[:i+1], generation[i]
	// the highest generation.
	done       []*history.Commit
	newest     []int64
	generation []*history.Commit
}

// groups checks committed offsets as registers, and who may write them.
func (c *check) groups() {
	registers := c.registers()
	for i := range c.Fetches {
		f := &c.Fetches[i]
		if f.Outcome != history.OK {
			continue
		}
		c.report.Stats.Fetched++
		c.fetched(registers[slot{f.Group, f.Partition}], f)
	}
	for i := range c.resumes {
		c.report.Stats.Resumed++
		c.resumed(registers, &c.resumes[i])
	}
	for _, r := range registers {
		c.fenced(r)
	}
	c.owners()
}

func (c *check) registers() map[slot]*register {
	all := map[slot]*register{}
	for i := range c.Commits {
		m := &c.Commits[i]
		at := slot{m.Group, m.Partition}
		if all[at] == nil {
			all[at] = &register{slot: at}
		}
		if m.Outcome == history.Failed {
			all[at].dropped = append(all[at].dropped, m)
			continue
		}
		all[at].commits = append(all[at].commits, m)
	}
	for _, r := range all {
		slices.SortStableFunc(r.commits, func(a, b *history.Commit) int { return compare(a.Invoked, b.Invoked) })
		for _, m := range r.commits {
			if m.Outcome == history.OK {
				r.done = append(r.done, m)
			}
		}
		slices.SortStableFunc(r.done, func(a, b *history.Commit) int { return compare(a.Completed, b.Completed) })
		newest, highest := int64(0), (*history.Commit)(nil)
		for _, m := range r.done {
			newest = max(newest, m.Invoked)
			if highest == nil || m.Generation > highest.Generation {
				highest = m
			}
			r.newest = append(r.newest, newest)
			r.generation = append(r.generation, highest)
		}
	}
	return all
}

// before is how many commits had been acknowledged before a time.
func (r *register) before(t int64) int {
	return sort.Search(len(r.done), func(i int) bool { return r.done[i].Completed >= t })
}

// possible says which commits a reader between two times may have seen as the last: begun by then, and not surely
// overwritten before. nothing says that it may have found the slot empty.
func (r *register) possible(from, to int64) (commits []*history.Commit, nothing bool) {
	if r == nil {
		return nil, true
	}
	overwritten := int64(0)
	n := r.before(from)
	if n > 0 {
		overwritten = r.newest[n-1]
	}
	for _, m := range r.commits {
		if m.Invoked > to {
			break
		}
		if m.Completed >= overwritten {
			commits = append(commits, m)
		}
	}
	return commits, n == 0
}

// fetched judges an answer to "what is committed?".
func (c *check) fetched(r *register, f *history.Fetch) {
	possible, nothing := r.possible(f.Invoked, f.Completed)
	if f.Offset == history.NoOffset && nothing {
		return
	}
	if slices.ContainsFunc(possible, func(m *history.Commit) bool { return m.Offset == f.Offset }) {
		return
	}
	told := func(all []*history.Commit) bool {
		return slices.ContainsFunc(all, func(m *history.Commit) bool { return m.Offset == f.Offset && m.Invoked <= f.Completed })
	}
	what := MadeUpCommit
	switch {
	case f.Offset == history.NoOffset || r != nil && told(r.commits):
		what = LostCommit
	case r != nil && told(r.dropped):
		what = AbortedCommit
	}
	c.broken(what, f.Partition, f.Offset, func() []string { return c.tellCommits(r, f.Invoked, f.Completed) },
		"group %s: process %d asked in [%s, %s] and was told %d", f.Group, f.Process, c.at(f.Invoked), c.at(f.Completed), f.Offset)
}

// resumed judges where a member began after an assignment: at a committed offset, or the first record after it.
func (c *check) resumed(registers map[slot]*register, e *resume) {
	r := registers[slot{e.group, e.partition}]
	possible, nothing := r.possible(e.assigned, e.polled)
	starts := func(offset int64) bool {
		return offset <= e.offset && c.between(e.partition, offset, e.offset) == history.NoOffset
	}
	if nothing && starts(0) {
		return
	}
	// Without any commit the highest start is the partition's beginning.
	highest := int64(0)
	for _, m := range possible {
		if starts(m.Offset) {
			return
		}
		highest = max(highest, m.Offset)
	}
	what := ResumeBack
	if e.offset > highest {
		what = ResumeSkip
	}
	c.broken(what, e.partition, e.offset, func() []string { return c.tellCommits(r, e.assigned, e.polled) },
		"group %s: process %d was given the partition at %s and began here at %s", e.group, e.process, c.at(e.assigned), c.at(e.polled))
}

// fenced checks that once a generation's commit has been acknowledged, none of an older one is.
func (c *check) fenced(r *register) {
	for _, m := range r.done {
		n := r.before(m.Invoked)
		if n == 0 || m.Generation < 0 {
			continue
		}
		if newer := r.generation[n-1]; newer.Generation > m.Generation {
			c.broken(Unfenced, r.partition, m.Offset, func() []string { return c.tellCommits(r, m.Invoked, m.Completed) },
				"group %s: process %d committed in generation %d at %s; generation %d had committed %d before", r.group, m.Process, m.Generation, c.at(m.Invoked), newer.Generation, newer.Offset)
		}
	}
}

// owners checks that a generation gives a partition to one member.
func (c *check) owners() {
	type share struct {
		slot
		generation int32
	}
	type owner struct {
		process int32
		at      int64
	}
	owned := map[share]owner{}
	for _, p := range c.Processes {
		for i := range p.Moves {
			m := &p.Moves[i]
			if m.Kind != history.Assign || m.Generation < 0 {
				continue
			}
			for _, partition := range m.Owned {
				s := share{slot{m.Group, partition}, m.Generation}
				if other, taken := owned[s]; taken && other.process != p.Number {
					c.broken(TwoOwners, partition, history.NoOffset, nil, "group %s generation %d: process %d had it from %s, process %d from %s",
						m.Group, m.Generation, other.process, c.at(other.at), p.Number, c.at(m.Time))
					continue
				}
				owned[s] = owner{p.Number, m.Time}
			}
		}
	}
}

// tellCommits tells the commits of a slot around a span of time.
func (c *check) tellCommits(r *register, from, to int64) []string {
	if r == nil {
		return []string{"nobody committed anything"}
	}
	const most = 8
	var lines []string
	near := r.commits[:sort.Search(len(r.commits), func(i int) bool { return r.commits[i].Invoked > to })]
	for _, m := range near[max(0, len(near)-most):] {
		lines = append(lines, fmt.Sprintf("process %d generation %d committed %d in [%s, %s]: %s %s", m.Process, m.Generation, m.Offset, c.at(m.Invoked), c.at(m.Completed), m.Outcome, m.Code))
	}
	for _, m := range r.dropped[max(0, len(r.dropped)-most):] {
		if m.Invoked <= to {
			lines = append(lines, fmt.Sprintf("process %d generation %d offered %d at %s to a transaction that was aborted", m.Process, m.Generation, m.Offset, c.at(m.Invoked)))
		}
	}
	if n := r.before(from); n > 0 {
		m := r.done[n-1]
		lines = append(lines, fmt.Sprintf("the last one acknowledged before %s: %d of process %d at %s", c.at(from), m.Offset, m.Process, c.at(m.Completed)))
	}
	return lines
}
