package assign

import (
	"cmp"
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Range divides each topic by itself into ranges, in the order of the members: static ones first, by their instance ids, then the others by
// their ids. The first ranges are one longer when the division leaves a rest.
func Range(members []Member, partitions func(kafka.TopicID) int32) []Set {
	if len(members) == 0 {
		return nil
	}
	b := newBoard(members, partitions)
	rank := make([]int, len(members))
	for r, i := range ranked(members) {
		rank[i] = r
	}
	for t := range b.topics {
		subs := b.subs[t]
		slices.SortFunc(subs, func(x, y int32) int { return cmp.Compare(rank[x], rank[y]) })
		each, rest := len(b.owner[t])/len(subs), len(b.owner[t])%len(subs)
		p := 0
		for r, i := range subs {
			length := each
			if r < rest {
				length++
			}
			for range length {
				b.give(t, p, i)
				p++
			}
		}
	}
	return b.sets()
}

func ranked(members []Member) []int {
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		a, b := &members[x], &members[y]
		switch {
		case a.Instance != "" && b.Instance != "":
			return cmp.Compare(a.Instance, b.Instance)
		case a.Instance != "":
			return -1
		case b.Instance != "":
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return order
}
