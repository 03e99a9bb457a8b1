package streams

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/wire/cbor"
)

// Topology is what an application does, in subtopologies. Once it is a group's it is never written to.
type Topology struct {
	Epoch         int32         `cbor:"1,keyasint"`
	Subtopologies []Subtopology `cbor:"2,keyasint"`
}

// Subtopology is a part of a topology that is one task for each partition of what it reads.
type Subtopology struct {
	ID          string          `cbor:"1,keyasint"`
	Sources     []string        `cbor:"2,keyasint,omitempty"` // topics of others that it reads
	Repartition []InternalTopic `cbor:"3,keyasint,omitempty"` // topics of the application that it reads
	Sinks       []string        `cbor:"4,keyasint,omitempty"` // topics of the application that it writes for another to read
	Changelogs  []InternalTopic `cbor:"5,keyasint,omitempty"` // what its state can be made anew from

	// Copartitioned are topics that it reads which must have the same number of partitions, by group.
	Copartitioned [][]string `cbor:"6,keyasint,omitempty"`

	// As it was sent; nil in what is kept.
	Regexes []string      `cbor:"-"`
	Groups  []Copartition `cbor:"-"`
}

// Copartition is Copartitioned as it is sent: places in the subtopology's own lists.
type Copartition struct{ Sources, Regexes, Repartition []int16 }

// InternalTopic is a topic of the application's own. Partitions 0: it follows from what is written to it; Replicas 0: the broker's default.
type InternalTopic struct {
	Name       string `cbor:"1,keyasint"`
	Partitions int32  `cbor:"2,keyasint,omitempty"`
	Replicas   int16  `cbor:"3,keyasint,omitempty"`
	Configs    []Pair `cbor:"4,keyasint,omitempty"`
}

// Names is every topic that a topology speaks of, with repeats.
func (t *Topology) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range t.Subtopologies {
			s := &t.Subtopologies[i]
			for _, list := range [][]string{s.Sources, s.Sinks} {
				for _, name := range list {
					if !yield(name) {
						return
					}
				}
			}
			for _, list := range [][]InternalTopic{s.Repartition, s.Changelogs} {
				for j := range list {
					if !yield(list[j].Name) {
						return
					}
				}
			}
		}
	}
}

// check refuses what can be no topology, whatever topics there are.
func (l *Limits) check(t *Topology) error {
	if t.Epoch < 0 {
		return fmt.Errorf("%w: %d", ErrInvalidTopologyEpoch, t.Epoch)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalidTopology}, args...)...)
	}
	if len(t.Subtopologies) > l.MaxSubtopologies {
		return bad("%d subtopologies, at most %d", len(t.Subtopologies), l.MaxSubtopologies)
	}
	internal := 0
	for i := range t.Subtopologies {
		internal += len(t.Subtopologies[i].Repartition) + len(t.Subtopologies[i].Changelogs)
	}
	if internal > l.MaxInternal { // each is a topic that one heartbeat may have made
		return bad("%d internal topics, at most %d", internal, l.MaxInternal)
	}
	spelled := 0 // bytes of names that a request says by places, two bytes each, and that are kept as names
	places := func(list []int16, name func(int16) string, n int) bool {
		for _, i := range list {
			if i < 0 || int(i) >= n {
				return false
			}
			spelled += len(name(i))
		}
		return true
	}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		if len(s.Regexes) > 0 {
			return fmt.Errorf("%w: subscriptions by regular expression are not served", ErrInvalidRequest)
		}
		if len(s.Sources) == 0 && len(s.Repartition) == 0 {
			return bad("subtopology %.100q reads nothing", s.ID)
		}
		for j := range s.Changelogs {
			if c := &s.Changelogs[j]; c.Partitions != 0 {
				return bad("changelog topic %.249q says %d partitions, where they follow from what is read", c.Name, c.Partitions)
			}
		}
		for j := range s.Repartition {
			if r := &s.Repartition[j]; r.Partitions < 0 {
				return bad("repartition topic %.249q says %d partitions", r.Name, r.Partitions)
			}
		}
		for _, g := range s.Groups {
			if len(g.Regexes) > 0 || !places(g.Sources, func(i int16) string { return s.Sources[i] }, len(s.Sources)) ||
				!places(g.Repartition, func(i int16) string { return s.Repartition[i].Name }, len(s.Repartition)) {
				return bad("copartitioned topics of subtopology %.100q are none that it reads", s.ID)
			}
			if spelled > l.MaxTopology {
				return bad("names of copartitioned topics are more than %d bytes", l.MaxTopology)
			}
		}
	}
	return nil
}

// normal is the form in which a topology that was checked is kept: what has no order of its own is in order, so that equal topologies are equal
// bytes. It is refused when something is there twice, or when numbers of partitions do not follow from each other.
func (l *Limits) normal(t *Topology) (*Topology, []byte, error) {
	n := &Topology{Epoch: t.Epoch, Subtopologies: make([]Subtopology, len(t.Subtopologies))}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		o := &n.Subtopologies[i]
		*o = Subtopology{
			ID: s.ID, Sources: sortedNames(s.Sources), Sinks: sortedNames(s.Sinks),
			Repartition: sortedTopics(s.Repartition), Changelogs: sortedTopics(s.Changelogs),
		}
		if len(o.Repartition) < len(s.Repartition) || len(o.Changelogs) < len(s.Changelogs) {
			return nil, nil, fmt.Errorf("%w: subtopology %.100q has an internal topic twice", ErrInvalidTopology, s.ID)
		}
		for _, g := range s.Groups {
			var names []string
			for _, j := range g.Sources {
				names = append(names, s.Sources[j])
			}
			for _, j := range g.Repartition {
				names = append(names, s.Repartition[j].Name)
			}
			if names = sortedNames(names); len(names) > 0 {
				o.Copartitioned = append(o.Copartitioned, names)
			}
		}
		slices.SortFunc(o.Copartitioned, slices.Compare)
	}
	slices.SortFunc(n.Subtopologies, func(a, b Subtopology) int { return strings.Compare(a.ID, b.ID) })
	b := cbor.MustMarshal(n)
	if len(b) > l.MaxTopology {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidTopology, len(b), l.MaxTopology)
	}
	return n, b, n.sound()
}

// sound refuses a topology that has a subtopology twice, or whose numbers of partitions do not follow from those of what it reads.
func (t *Topology) sound() error {
	for i := 1; i < len(t.Subtopologies); i++ {
		if t.Subtopologies[i].ID <= t.Subtopologies[i-1].ID {
			return fmt.Errorf("%w: subtopology %.100q is there twice", ErrInvalidTopology, t.Subtopologies[i].ID)
		}
	}
	_, err := t.repartitioned(func(string) int32 { return 1 })
	return err
}

func sortedNames(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// sortedTopics is in order of name, each name once.
func sortedTopics(topics []InternalTopic) []InternalTopic {
	out := slices.Clone(topics)
	slices.SortFunc(out, func(a, b InternalTopic) int { return strings.Compare(a.Name, b.Name) })
	out = slices.CompactFunc(out, func(a, b InternalTopic) bool { return a.Name == b.Name })
	for i := range out {
		out[i].Configs = sortedPairs(out[i].Configs)
	}
	return out
}

// sortedPairs is in order of key, each key once, with what was said last.
func sortedPairs(pairs []Pair) []Pair {
	out := slices.Clone(pairs)
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(out, func(a, b Pair) bool { return a.Key == b.Key })
}

// find is the place of a subtopology.
func (t *Topology) find(id string) (int32, bool) {
	i, found := slices.BinarySearchFunc(t.Subtopologies, id, func(s Subtopology, id string) int { return strings.Compare(s.ID, id) })
	return int32(i), found
}

// ByID is tasks by their subtopologies' ids. Partitions are in order.
func (t *Topology) ByID(ts Tasks) []TaskIDs {
	out := []TaskIDs{}
	for _, task := range ts {
		if id := t.Subtopologies[task.Sub].ID; len(out) == 0 || out[len(out)-1].Subtopology != id {
			out = append(out, TaskIDs{Subtopology: id})
		}
		last := &out[len(out)-1]
		last.Partitions = append(last.Partitions, task.Index)
	}
	return out
}

// inputs are the topics that a subtopology reads, in order of name.
func (s *Subtopology) inputs() []string {
	out := slices.Clone(s.Sources)
	for i := range s.Repartition {
		out = append(out, s.Repartition[i].Name)
	}
	return sortedNames(out)
}

// reads tells whether a subtopology reads a topic.
func (t *Topology) reads(topic string) bool {
	return slices.ContainsFunc(t.Subtopologies, func(s Subtopology) bool {
		return slices.Contains(s.Sources, topic) || slices.ContainsFunc(s.Repartition, func(r InternalTopic) bool { return r.Name == topic })
	})
}
