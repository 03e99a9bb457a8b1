package assign

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/wire/kafka"
)

func topic(n int) kafka.TopicID { return kafka.TopicID{byte(n >> 8), byte(n), 15: 1} }

// world is topics and members as they are drawn; counts by topic.
type world struct {
	counts  map[kafka.TopicID]int32
	members []Member
}

func (w world) partitions(id kafka.TopicID) int32 { return w.counts[id] }

func (w world) all(had []Set) []Member {
	out := slices.Clone(w.members)
	for i := range out {
		out[i].Had = nil
		if i < len(had) {
			out[i].Had = had[i]
		}
	}
	return out
}

// gen draws a group; alike: everybody subscribes to everything.
func gen(alike bool) *rapid.Generator[world] {
	return rapid.Custom(func(t *rapid.T) world {
		w := world{counts: map[kafka.TopicID]int32{}}
		n := rapid.IntRange(1, 5).Draw(t, "topics")
		var ids []kafka.TopicID
		for i := range n {
			ids = append(ids, topic(i))
			w.counts[topic(i)] = rapid.Int32Range(1, 9).Draw(t, "partitions")
		}
		for i := range rapid.IntRange(1, 7).Draw(t, "members") {
			m := Member{ID: fmt.Sprintf("m%d", i), Topics: ids}
			if rapid.Bool().Draw(t, "static") {
				m.Instance = fmt.Sprintf("i%d", 9-i)
			}
			if !alike {
				m.Topics = slices.DeleteFunc(slices.Clone(ids), func(kafka.TopicID) bool { return rapid.IntRange(0, 2).Draw(t, "leave out") == 0 })
			}
			w.members = append(w.members, m)
		}
		return w
	})
}

// whole checks that every partition with a subscriber has one owner, who subscribes.
func whole(t *rapid.T, w world, got []Set) {
	owned := map[kafka.Partition]int{}
	for i, s := range got {
		if !slices.IsSortedFunc(s, kafka.Partition.Compare) {
			t.Fatalf("member %d's set is not in order: %v", i, s)
		}
		for _, p := range s {
			if !slices.Contains(w.members[i].Topics, p.Topic) {
				t.Fatalf("member %d got %v, to which it does not subscribe", i, p)
			}
			owned[p]++
		}
	}
	for id, n := range w.counts {
		if !slices.ContainsFunc(w.members, func(m Member) bool { return slices.Contains(m.Topics, id) }) {
			n = 0
		}
		for p := range n {
			if k := owned[kafka.Partition{Topic: id, Index: p}]; k != 1 {
				t.Fatalf("partition %d of %v has %d owners", p, id, k)
			}
			delete(owned, kafka.Partition{Topic: id, Index: p})
		}
	}
	if len(owned) > 0 {
		t.Fatalf("assigned without being there: %v", owned)
	}
}

// Members that subscribe to the same have as many partitions as each other, but for one; and no assignment that is as even keeps more of what was.
func TestUniformIsEvenAndMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := gen(true).Draw(t, "before")
		had := Uniform(before.all(nil), before.partitions)
		whole(t, before, had)
		w := gen(true).Draw(t, "after") // other members, other topics, other counts
		members := w.all(had)
		got := Uniform(members, w.partitions)
		whole(t, w, got)

		total := 0
		for _, n := range w.counts {
			total += int(n)
		}
		low, high, kept, keepable := total, 0, 0, make([]int, len(members))
		for i, s := range got {
			low, high = min(low, len(s)), max(high, len(s))
			kept += len(s.And(members[i].Had))
			for _, p := range members[i].Had {
				if p.Index < w.counts[p.Topic] {
					keepable[i]++
				}
			}
		}
		if high-low > 1 {
			t.Fatalf("between %d and %d partitions each: %v", low, high, got)
		}
		slices.SortFunc(keepable, func(a, b int) int { return b - a })
		most := 0
		for rank, n := range keepable {
			quota := total / len(members)
			if rank < total%len(members) {
				quota++
			}
			most += min(n, quota)
		}
		if kept != most {
			t.Fatalf("kept %d, could have kept %d: had %v, got %v", kept, most, had, got)
		}
	})
}

// Members that subscribe to different topics: no partition could move to a subscriber that has at least two less.
func TestUniformIsAsEvenAsSubscriptionsAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := gen(false).Draw(t, "before")
		had := Uniform(before.all(nil), before.partitions)
		w := gen(false).Draw(t, "after")
		got := Uniform(w.all(had), w.partitions)
		whole(t, w, got)
		for i, s := range got {
			for _, p := range s {
				for j, m := range w.members {
					if slices.Contains(m.Topics, p.Topic) && len(s)-len(got[j]) > 1 {
						t.Fatalf("%v is member %d's, who has %d; member %d has %d", p, i, len(s), j, len(got[j]))
					}
				}
			}
		}
	})
}

// What is assigned anew without any change stays where it is.
func TestAssigningAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := gen(rapid.Bool().Draw(t, "alike")).Draw(t, "world")
		for _, name := range Names {
			a, _ := ByName(name)
			first := a(w.all(nil), w.partitions)
			if again := a(w.all(first), w.partitions); !slices.EqualFunc(first, again, Set.Equal) {
				t.Fatalf("%s: %v, then %v", name, first, again)
			}
		}
	})
}

// Each topic's ranges are those of Kafka's definition: in the order of instance ids, then member ids, the longer ones first.
func TestRangeIsKafkas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := gen(false).Draw(t, "world")
		got := Range(w.all(nil), w.partitions)
		whole(t, w, got)
		order := slices.Clone(w.members)
		slices.SortFunc(order, func(a, b Member) int {
			key := func(m Member) string {
				if m.Instance != "" {
					return "0" + m.Instance
				}
				return "1" + m.ID
			}
			return slices.Compare([]byte(key(a)), []byte(key(b)))
		})
		for id, n := range w.counts {
			var subs []Member
			for _, m := range order {
				if slices.Contains(m.Topics, id) {
					subs = append(subs, m)
				}
			}
			for k, m := range subs {
				s := len(subs)
				low := k*(int(n)/s) + min(k, int(n)%s)
				high := low + int(n)/s
				if k < int(n)%s {
					high++
				}
				i := slices.IndexFunc(w.members, func(x Member) bool { return x.ID == m.ID })
				for p := range n {
					if has := got[i].Has(kafka.Partition{Topic: id, Index: p}); has != (int(p) >= low && int(p) < high) {
						t.Fatalf("partition %d of %d, member %d of %d: %v", p, n, k, s, got)
					}
				}
			}
		}
	})
}

// The operations on sets are those of sets.
func TestSets(t *testing.T) {
	set := rapid.Custom(func(t *rapid.T) Set {
		return SetOf(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) kafka.Partition {
			return kafka.Partition{Topic: topic(rapid.IntRange(0, 2).Draw(t, "topic")), Index: rapid.Int32Range(0, 4).Draw(t, "index")}
		}), 0, 12).Draw(t, "set"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := set.Draw(t, "a"), set.Draw(t, "b")
		before := slices.Clone(a)
		minus, and, or := a.Minus(b), a.And(b), a.Or(b)
		for i := range 3 {
			for j := range int32(5) {
				p := kafka.Partition{Topic: topic(i), Index: j}
				if minus.Has(p) != (a.Has(p) && !b.Has(p)) || and.Has(p) != (a.Has(p) && b.Has(p)) || or.Has(p) != (a.Has(p) || b.Has(p)) {
					t.Fatalf("%v: a %v, b %v, minus %v, and %v, or %v", p, a, b, minus, and, or)
				}
			}
		}
		if a.Within(b) != (len(minus) == 0) || a.Meets(b) != (len(and) > 0) || !a.Equal(before) {
			t.Fatalf("a %v, b %v, was %v", a, b, before)
		}
	})
}

func BenchmarkUniform500Of1000(b *testing.B) {
	w := world{counts: map[kafka.TopicID]int32{}}
	var ids []kafka.TopicID
	for i := range 10 {
		ids = append(ids, topic(i))
		w.counts[topic(i)] = 100
	}
	for i := range 500 {
		w.members = append(w.members, Member{ID: fmt.Sprint(i), Topics: ids})
	}
	had := Uniform(w.all(nil), w.partitions)
	members := w.all(had)[1:]
	b.ReportAllocs()
	for b.Loop() {
		Uniform(members, w.partitions)
	}
}
