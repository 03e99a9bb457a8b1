package assign

import (
	"cmp"
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Uniform gives everybody as much as anybody, and moves as little as that allows.
func Uniform(members []Member, partitions func(kafka.TopicID) int32) []Set {
	if len(members) == 0 {
		return nil
	}
	b := newBoard(members, partitions)
	b.keep(members)
	if b.alike(len(members)) {
		b.level()
	} else {
		b.spread()
	}
	return b.sets()
}

// alike tells whether everybody subscribes to everything.
func (b *board) alike(members int) bool {
	return !slices.ContainsFunc(b.subs, func(s []int32) bool { return len(s) < members })
}

// level is for members that all subscribe to the same. Everybody may have total/n, and the rest of that division is one more for each of
// those that have most, so that the least is taken away; what was taken or is new goes around those with room.
func (b *board) level() {
	total := 0
	for t := range b.owner {
		total += len(b.owner[t])
	}
	n := len(b.load)
	most := make([]int, n)
	for i := range most {
		most[i] = i
	}
	slices.SortStableFunc(most, func(x, y int) int { return cmp.Compare(b.load[y], b.load[x]) })
	quota := make([]int, n)
	for rank, i := range most {
		quota[i] = total / n
		if rank < total%n {
			quota[i]++
		}
	}
	for t := len(b.owner) - 1; t >= 0; t-- {
		for p := len(b.owner[t]) - 1; p >= 0; p-- {
			if i := b.owner[t][p]; i != nobody && b.load[i] > quota[i] {
				b.give(t, p, nobody)
			}
		}
	}
	next := 0
	for t := range b.owner {
		for p, i := range b.owner[t] {
			if i != nobody {
				continue
			}
			for b.load[next] >= quota[next] {
				next = (next + 1) % n
			}
			b.give(t, p, int32(next))
			next = (next + 1) % n
		}
	}
}

// spread is for members that subscribe to different topics. What nobody has goes to who has least, topics with few subscribers first; then
// partitions move from who has most to who has least, within each topic, until no move makes anything better. Every move makes the sum of
// the squares of the loads smaller, so that comes.
func (b *board) spread() {
	order := make([]int, len(b.topics))
	for t := range order {
		order[t] = t
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(len(b.subs[x]), len(b.subs[y])) })
	for _, t := range order {
		for p, i := range b.owner[t] {
			if i == nobody {
				b.give(t, p, b.idlest(t))
			}
		}
	}
	for moved := true; moved; {
		moved = false
		for _, t := range order {
			for b.ease(t) {
				moved = true
			}
		}
	}
}

// idlest is the subscriber with the least, the first of those.
func (b *board) idlest(t int) int32 {
	return slices.MinFunc(b.subs[t], func(x, y int32) int { return cmp.Compare(b.load[x], b.load[y]) })
}

// ease moves one partition of a topic from its most loaded owner, if that makes the loads more even.
func (b *board) ease(t int) bool {
	if len(b.owner[t]) == 0 {
		return false
	}
	heaviest := 0
	for p, i := range b.owner[t] {
		if b.load[i] >= b.load[b.owner[t][heaviest]] { // the last: partitions with low numbers stay
			heaviest = p
		}
	}
	to := b.idlest(t)
	if b.load[b.owner[t][heaviest]]-b.load[to] < 2 {
		return false
	}
	b.give(t, heaviest, to)
	return true
}
