package streams

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/qanat-io/qanat/metadata/image"
)

// configured is what a topology comes to with the topics that there are. Never written to once it is made.
type configured struct {
	problem *Status    // why there are no tasks; nil: there are
	create  []NewTopic // internal topics that are missing
	counts  map[string]int32
	tasks   []int32 // of each subtopology; nil with a problem
}

func (c *configured) ready() bool { return c != nil && c.problem == nil }

// has tells whether there is such a task.
func (c *configured) has(t Task) bool {
	return t.Sub >= 0 && int(t.Sub) < len(c.tasks) && t.Index >= 0 && t.Index < c.tasks[t.Sub]
}

// mostPartitions is how many there may be of an internal topic, whatever it is that asks for more; CreateTopics has its own bound.
const mostPartitions = 1 << 20

// configure looks at the topics that a topology asks for: that what it reads is there, that what is to be copartitioned is, and which internal
// topics there have to be, with how many partitions.
func (l *Limits) configure(t *Topology, topics image.Topics) *configured {
	there := func(name string) (int32, bool) {
		if x, ok := topics.ByName(name); ok {
			return x.Partitions, true
		}
		return 0, false
	}
	failed := func(code StatusCode, format string, args ...any) *configured {
		return &configured{problem: &Status{code, fmt.Sprintf(format, args...)}}
	}
	if missing := t.missing(there); len(missing) > 0 {
		return failed(MissingSourceTopics, "source topics that do not exist: %s", some(missing))
	}
	decided, err := t.repartitioned(func(name string) int32 { n, _ := there(name); return n })
	if err != nil { // normal has refused it
		panic(err)
	}
	count := func(name string) int32 {
		if n, ok := there(name); ok {
			return n
		}
		return decided[name]
	}
	if why := t.copartition(count, decided); why != "" {
		return failed(IncorrectlyPartitionedTopics, "%s", why)
	}
	tasks := make([]int32, len(t.Subtopologies))
	total := 0
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		for _, name := range s.inputs() {
			tasks[i] = max(tasks[i], count(name))
		}
		for j := range s.Changelogs {
			decided[s.Changelogs[j].Name] = tasks[i]
		}
		total += int(tasks[i])
	}
	if total > l.MaxTasks {
		return failed(IncorrectlyPartitionedTopics, "%d tasks, at most %d", total, l.MaxTasks)
	}
	c := &configured{counts: decided, tasks: tasks}
	c.compare(t, there)
	return c
}

// compare tells what is in the way of the tasks in the internal topics that there are.
func (c *configured) compare(t *Topology, there func(name string) (partitions int32, ok bool)) {
	var names []string
	for name, topic := range t.internal() {
		want := c.counts[name]
		have, exists := there(name)
		switch {
		case !exists:
			c.create = append(c.create, NewTopic{Name: name, Partitions: want, Replicas: topic.Replicas, Configs: topic.Configs})
			names = append(names, name)
		case have != want:
			*c = configured{problem: &Status{IncorrectlyPartitionedTopics, fmt.Sprintf("topic %q has %d partitions, where %d belong", name, have, want)}}
			return
		}
	}
	if len(c.create) > 0 {
		slices.SortFunc(c.create, func(a, b NewTopic) int { return strings.Compare(a.Name, b.Name) })
		slices.Sort(names)
		c.problem, c.tasks = &Status{MissingInternalTopics, "internal topics that do not exist yet: " + some(names)}, nil
	}
}

// internal is every internal topic by its name; of one that two subtopologies have, the first.
func (t *Topology) internal() map[string]*InternalTopic {
	out := map[string]*InternalTopic{}
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		for _, list := range [][]InternalTopic{s.Repartition, s.Changelogs} {
			for j := range list {
				if out[list[j].Name] == nil {
					out[list[j].Name] = &list[j]
				}
			}
		}
	}
	return out
}

// missing are the sources that are not there.
func (t *Topology) missing(there func(string) (int32, bool)) []string {
	out := map[string]struct{}{}
	for i := range t.Subtopologies {
		for _, name := range t.Subtopologies[i].Sources {
			if _, ok := there(name); !ok {
				out[name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// repartitioned is the partitions of the topics between subtopologies: what they say, or as many as the most that one that writes to it reads. It is
// refused when that goes round in a circle, or nobody writes to a topic.
func (t *Topology) repartitioned(partitions func(source string) int32) (map[string]int32, error) {
	decided := map[string]int32{}
	var left []*Subtopology // with a sink that is not decided
	for i := range t.Subtopologies {
		s := &t.Subtopologies[i]
		for j := range s.Repartition {
			if n := s.Repartition[j].Partitions; n != 0 {
				decided[s.Repartition[j].Name] = min(n, mostPartitions)
			}
		}
		if len(s.Sinks) > 0 {
			left = append(left, s)
		}
	}
	for whole := true; len(left) > 0; { // those first of which all is known that they read
		before := len(left)
		left = slices.DeleteFunc(left, func(s *Subtopology) bool {
			n, unknown := int32(0), false
			for j := range s.Repartition {
				at := decided[s.Repartition[j].Name]
				n, unknown = max(n, at), unknown || at == 0
			}
			for _, name := range s.Sources {
				n = max(n, partitions(name))
			}
			if n == 0 || whole && unknown {
				return false
			}
			for _, name := range s.Sinks {
				if decided[name] == 0 {
					decided[name] = n
				}
			}
			return true
		})
		switch {
		case len(left) < before:
			whole = true
		case whole:
			whole = false
		default:
			return nil, fmt.Errorf("%w: partitions of the topic %.249q follow from themselves", ErrInvalidTopology, left[0].Sinks[0])
		}
	}
	for i := range t.Subtopologies {
		for j := range t.Subtopologies[i].Repartition {
			if name := t.Subtopologies[i].Repartition[j].Name; decided[name] == 0 {
				return nil, fmt.Errorf("%w: nothing writes to the repartition topic %.249q", ErrInvalidTopology, name)
			}
		}
	}
	return decided, nil
}

// copartition has topics that belong together agree: those that are not the application's, and those whose number it says, rule. It tells why
// they cannot.
func (t *Topology) copartition(count func(string) int32, decided map[string]int32) (why string) {
	said := map[string]bool{} // internal topics, and whether they say how many partitions they have
	for i := range t.Subtopologies {
		for j := range t.Subtopologies[i].Repartition {
			r := &t.Subtopologies[i].Repartition[j]
			said[r.Name] = r.Partitions != 0
		}
	}
	for i := range t.Subtopologies {
		for _, names := range t.Subtopologies[i].Copartitioned {
			rules := func(of func(fixed, internal bool) bool) (n int32, alike, any bool) {
				alike = true
				for _, name := range names {
					if fixed, internal := said[name]; of(fixed, internal) {
						alike = alike && (!any || n == count(name))
						n, any = max(n, count(name)), true
					}
				}
				return n, alike, any
			}
			n, alike, any := rules(func(_, internal bool) bool { return !internal })
			if !any {
				n, alike, any = rules(func(fixed, _ bool) bool { return fixed })
			}
			if !any {
				n, _, _ = rules(func(bool, bool) bool { return true })
			}
			if !alike {
				return "topics that must have the same number of partitions do not: " + some(names)
			}
			for _, name := range names {
				fixed, internal := said[name]
				if fixed && count(name) != n {
					return fmt.Sprintf("repartition topic %q has %d partitions, where %d belong for the topics that it is read with", name, count(name), n)
				}
				if internal {
					decided[name] = n
				}
			}
		}
	}
	return ""
}

// some is a list of names that is not too long to be told.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
