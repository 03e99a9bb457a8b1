package assign

import (
	"bytes"
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Member is one to be given partitions.
type Member struct {
	ID, Instance string

	// Topics are those that it subscribes to and that exist, in order of id, without repeats.
	Topics []kafka.TopicID

	// Had is what the last assignment gave it. No two members had the same; what they do is taken from the later one.
	Had Set
}

// Assignor gives every member its partitions, in the members' order. partitions is a topic's number of them.
type Assignor func(members []Member, partitions func(kafka.TopicID) int32) []Set

// Names are the assignors that there are, the default first, as members ask for them.
var Names = []string{"uniform", "range"}

// ByName finds an assignor.
func ByName(name string) (Assignor, bool) {
	switch name {
	case "uniform":
		return Uniform, true
	case "range":
		return Range, true
	}
	return nil, false
}

// nobody owns a partition yet.
const nobody = int32(-1)

// board is an assignment in the making.
type board struct {
	topics []kafka.TopicID // those with subscribers, in order
	owner  [][]int32       // by topic, then partition: whose it is
	subs   [][]int32       // by topic: who subscribes, in order
	load   []int           // by member
}

func newBoard(members []Member, partitions func(kafka.TopicID) int32) *board {
	b := &board{load: make([]int, len(members))}
	for i := range members {
		if i > 0 && slices.Equal(members[i].Topics, members[i-1].Topics) {
			continue // as with nearly every member: nothing new
		}
		b.topics = append(b.topics, members[i].Topics...)
	}
	slices.SortFunc(b.topics, func(x, y kafka.TopicID) int { return bytes.Compare(x[:], y[:]) })
	b.topics = slices.Compact(b.topics)
	b.owner = make([][]int32, len(b.topics))
	b.subs = make([][]int32, len(b.topics))
	for t, id := range b.topics {
		b.owner[t] = make([]int32, partitions(id))
		for p := range b.owner[t] {
			b.owner[t][p] = nobody
		}
	}
	for i := range members {
		for _, id := range members[i].Topics {
			t := b.topic(id)
			b.subs[t] = append(b.subs[t], int32(i))
		}
	}
	return b
}

// topic is where a topic stands, -1 when nobody subscribes to it.
func (b *board) topic(id kafka.TopicID) int {
	t, found := slices.BinarySearchFunc(b.topics, id, func(x, y kafka.TopicID) int { return bytes.Compare(x[:], y[:]) })
	if !found {
		return -1
	}
	return t
}

func (b *board) give(t, p int, to int32) {
	if from := b.owner[t][p]; from != nobody {
		b.load[from]--
	}
	if b.owner[t][p] = to; to != nobody {
		b.load[to]++
	}
}

// keep lets everybody have what it had, as far as that exists and is subscribed to still.
func (b *board) keep(members []Member) {
	for i := range members {
		t, at := -1, kafka.TopicID{}
		for _, p := range members[i].Had {
			if t < 0 || p.Topic != at {
				if t, at = b.topic(p.Topic), p.Topic; t < 0 {
					continue
				}
				if _, subscribes := slices.BinarySearch(b.subs[t], int32(i)); !subscribes {
					t = -1
					continue
				}
			}
			if int(p.Index) < len(b.owner[t]) {
				b.give(t, int(p.Index), int32(i))
			}
		}
	}
}

// sets are everybody's partitions.
func (b *board) sets() []Set {
	out := make([]Set, len(b.load))
	for i, n := range b.load {
		out[i] = make(Set, 0, n)
	}
	for t, id := range b.topics {
		for p, i := range b.owner[t] {
			out[i] = append(out[i], kafka.Partition{Topic: id, Index: int32(p)})
		}
	}
	return out
}
