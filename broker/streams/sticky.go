package streams

import (
	"cmp"
	"slices"
)

// worker is a member as the assignor sees it: had is its target until now.
type worker struct {
	process string
	had     Assignment
}

// sticky divides tasks. Every task is active in one member, and nobody has two more than another; one that has a state has standbys replicas, or as
// many as there are other processes, each in a process of its own. Tasks stay where they are as far as that allows. One that moves goes to who
// had it as a standby; where a task was active it leaves a standby.
func sticky(workers []worker, tasks []int32, stateful []bool, standbys int) []Assignment {
	if len(workers) == 0 {
		return nil
	}
	d := newDealer(workers, tasks)
	d.keepActive()
	d.promote()
	d.deal()
	if standbys = min(standbys, len(d.size)-1); standbys > 0 {
		d.standby(stateful, standbys)
	}
	return d.assignments()
}

const nobody = -1

// dealer works with places: of tasks in all, of members in workers, of processes in size.
type dealer struct {
	workers []worker
	process []int // of each member
	size    []int // members of each process
	order   []int // members, the first of each process, the second of each …: who gets what there is no other reason to give to somebody

	base  []int // the first task of each subtopology, and the end
	tasks []Task
	owner []int   // of each task
	after [][]int // the members that have it as a standby
	was   []int   // its owner before

	active []int // tasks of each member
	load   []int // standbys too
	busy   []int // load of each process
}

func newDealer(workers []worker, tasks []int32) *dealer {
	n := len(workers)
	d := &dealer{workers: workers, process: make([]int, n), base: []int{0}, active: make([]int, n), load: make([]int, n)}
	places := map[string]int{}
	rank := make([]int, n)
	for i, w := range workers {
		p, ok := places[w.process]
		if !ok {
			p = len(d.size)
			places[w.process] = p
			d.size = append(d.size, 0)
		}
		d.process[i], rank[i] = p, d.size[p]
		d.size[p]++
		d.order = append(d.order, i)
	}
	slices.SortStableFunc(d.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), cmp.Compare(d.process[a], d.process[b]))
	})
	for sub, count := range tasks {
		for i := range count {
			d.tasks = append(d.tasks, Task{int32(sub), i})
		}
		d.base = append(d.base, len(d.tasks))
	}
	d.owner, d.was = slices.Repeat([]int{nobody}, len(d.tasks)), slices.Repeat([]int{nobody}, len(d.tasks))
	d.after = make([][]int, len(d.tasks))
	d.busy = make([]int, len(d.size))
	return d
}

// place is where a task is in tasks; false when there is none any more.
func (d *dealer) place(t Task) (int, bool) {
	if t.Sub < 0 || int(t.Sub) >= len(d.base)-1 || t.Index < 0 {
		return 0, false
	}
	i := d.base[t.Sub] + int(t.Index)
	return i, i < d.base[t.Sub+1]
}

func (d *dealer) give(task, member int) {
	d.owner[task] = member
	d.active[member]++
	d.count(member, 1)
}

func (d *dealer) count(member, n int) {
	d.load[member] += n
	d.busy[d.process[member]] += n
}

// quotas are how many active tasks each member may have: as many as anybody, and the rest of that division is one more for those that have most.
func (d *dealer) quotas(had []int) []int {
	most := slices.Clone(d.order)
	slices.SortStableFunc(most, func(a, b int) int { return cmp.Compare(had[b], had[a]) })
	quota := make([]int, len(most))
	for rank, i := range most {
		quota[i] = len(d.tasks) / len(most)
		if rank < len(d.tasks)%len(most) {
			quota[i]++
		}
	}
	return quota
}

// keepActive leaves tasks with their owners, up to the quota.
func (d *dealer) keepActive() {
	had := make([]int, len(d.workers))
	for i, w := range d.workers {
		for _, t := range w.had.Active {
			if at, ok := d.place(t); ok && d.was[at] == nobody {
				d.was[at] = i
				had[i]++
			}
		}
	}
	quota := d.quotas(had)
	for at, i := range d.was {
		if i != nobody && d.active[i] < quota[i] {
			d.give(at, i)
		}
	}
}

// promote gives tasks that nobody has to those that had them as standbys, to who has least first.
func (d *dealer) promote() {
	quota := d.quotas(d.active)
	held := map[int][]int{}
	for i, w := range d.workers {
		for _, t := range w.had.Standby {
			if at, ok := d.place(t); ok && d.owner[at] == nobody {
				held[at] = append(held[at], i)
			}
		}
	}
	for at := range d.owner {
		who := slices.DeleteFunc(held[at], func(i int) bool { return d.active[i] >= quota[i] })
		if len(who) > 0 {
			d.give(at, slices.MinFunc(who, func(a, b int) int { return cmp.Compare(d.active[a], d.active[b]) }))
		}
	}
}

// deal gives what is left around those with room.
func (d *dealer) deal() {
	quota := d.quotas(d.active)
	next := 0
	for at, i := range d.owner {
		if i != nobody {
			continue
		}
		for d.active[d.order[next]] >= quota[d.order[next]] {
			next = (next + 1) % len(d.order)
		}
		d.give(at, d.order[next])
		next = (next + 1) % len(d.order)
	}
}

// standby gives each task that has a state its standbys: those that it had, then one where it was active, then where there is least to do. Then
// standbys move from who has most, until no move makes the loads more even. Every move makes the sum of their squares smaller, so that comes.
func (d *dealer) standby(stateful []bool, standbys int) {
	add := func(at, i int) {
		if len(d.after[at]) < standbys && !d.inProcess(at, d.process[i], nobody) {
			d.after[at] = append(d.after[at], i)
			d.count(i, 1)
		}
	}
	for i, w := range d.workers {
		for _, t := range w.had.Standby {
			if at, ok := d.place(t); ok && stateful[t.Sub] {
				add(at, i)
			}
		}
	}
	for at, t := range d.tasks {
		if !stateful[t.Sub] {
			continue
		}
		if i := d.was[at]; i != nobody {
			add(at, i)
		}
		for len(d.after[at]) < standbys {
			add(at, d.idlest(at, nobody))
		}
	}
	for moved := true; moved; {
		moved = false
		least := slices.Min(d.load)
		for at := range d.after {
			for k, from := range d.after[at] {
				if d.load[from]-least < 2 {
					continue
				}
				if to := d.idlest(at, from); d.load[from]-d.load[to] >= 2 {
					d.after[at][k] = to
					d.count(from, -1)
					d.count(to, 1)
					moved, least = true, slices.Min(d.load)
				}
			}
		}
	}
}

// inProcess tells whether a process has a task, but for the standby of one of its members.
func (d *dealer) inProcess(at, process, but int) bool {
	if d.process[d.owner[at]] == process {
		return true
	}
	return slices.ContainsFunc(d.after[at], func(i int) bool { return i != but && d.process[i] == process })
}

// idlest is the member with the least to do, of those in whose processes a task is not; but is one that may give it up. There is one.
func (d *dealer) idlest(at, but int) int {
	best := nobody
	for _, i := range d.order {
		if best != nobody && cmp.Or(cmp.Compare(d.load[i], d.load[best]), cmp.Compare(d.busy[d.process[i]]*d.size[d.process[best]], d.busy[d.process[best]]*d.size[d.process[i]])) >= 0 {
			continue
		}
		if !d.inProcess(at, d.process[i], but) {
			best = i
		}
	}
	return best
}

func (d *dealer) assignments() []Assignment {
	out := make([]Assignment, len(d.workers))
	for at, t := range d.tasks {
		o := &out[d.owner[at]]
		o.Active = append(o.Active, t)
		for _, i := range d.after[at] {
			out[i].Standby = append(out[i].Standby, t)
		}
	}
	return out
}
