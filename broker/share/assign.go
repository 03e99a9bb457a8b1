package share

import (
	"slices"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/wire/kafka"
)

// AssignorName is Kafka's for what simple does.
const AssignorName = "simple"

// simple divides partitions among members, in place of what they had: every partition has a member that subscribes to it, every member that
// subscribes to something has a partition. Where the members are fewer, each partition is one member's; where the partitions are fewer, each
// member has one. Both evenly, and with as little movement as that allows. Members that subscribe to different topics are looked at by sets of topics
// that have the same subscribers.
func simple(members []*member, partitions func(kafka.TopicID) int32) []assign.Set {
	out := make([]assign.Set, len(members))
	for _, pool := range pools(members) {
		var ps []kafka.Partition
		for _, id := range pool.topics {
			for i := range partitions(id) {
				ps = append(ps, kafka.Partition{Topic: id, Index: i})
			}
		}
		if len(ps) == 0 {
			continue
		}
		at := make(map[kafka.Partition]int, len(ps))
		for i, p := range ps {
			at[p] = i
		}
		if len(ps) >= len(pool.members) {
			had := slices.Repeat([]int{-1}, len(ps))
			for i, m := range pool.members {
				for _, p := range members[m].target {
					if j, ok := at[p]; ok && had[j] < 0 {
						had[j] = i
					}
				}
			}
			for j, i := range spread(had, len(pool.members)) {
				out[pool.members[i]] = append(out[pool.members[i]], ps[j])
			}
			continue
		}
		had := slices.Repeat([]int{-1}, len(pool.members))
		for i, m := range pool.members {
			for _, p := range members[m].target {
				if j, ok := at[p]; ok {
					had[i] = j
					break
				}
			}
		}
		for i, j := range spread(had, len(ps)) {
			out[pool.members[i]] = append(out[pool.members[i]], ps[j])
		}
	}
	for i := range out {
		slices.SortFunc(out[i], kafka.Partition.Compare)
	}
	return out
}

// pool is topics that the same members subscribe to.
type pool struct {
	topics  []kafka.TopicID
	members []int
}

func pools(members []*member) []*pool {
	var topics []kafka.TopicID
	subscribers := map[kafka.TopicID][]int{}
	for i, m := range members {
		for _, id := range m.topics {
			if subscribers[id] == nil {
				topics = append(topics, id)
			}
			subscribers[id] = append(subscribers[id], i)
		}
	}
	var list []*pool
	for _, id := range assign.SortTopics(topics) {
		i := slices.IndexFunc(list, func(p *pool) bool { return slices.Equal(p.members, subscribers[id]) })
		if i < 0 {
			i, list = len(list), append(list, &pool{members: subscribers[id]})
		}
		list[i].topics = append(list[i].topics, id)
	}
	return list
}

// spread puts each item into one of n bins, none of which has more than one item more than another. Items stay in the bin that they had (-1: none)
// where there is room.
func spread(had []int, n int) []int {
	least, more := len(had)/n, len(had)%n // more bins have one above the least
	in, count := slices.Repeat([]int{-1}, len(had)), make([]int, n)
	for _, room := range []int{least, least + 1} {
		for i, b := range had {
			if in[i] >= 0 || b < 0 || count[b] >= room || room > least && more == 0 {
				continue
			}
			if count[b] == least {
				more--
			}
			in[i] = b
			count[b]++
		}
	}
	var free []int
	for b := range n {
		for range max(least-count[b], 0) {
			free = append(free, b)
		}
	}
	for b := 0; more > 0; b++ {
		if count[b] <= least {
			free = append(free, b)
			more--
		}
	}
	for i := range in {
		if in[i] < 0 {
			in[i], free = free[0], free[1:]
		}
	}
	return in
}
