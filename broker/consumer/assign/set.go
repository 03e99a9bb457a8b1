package assign

import (
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Set is partitions in order of topic id and index, without repeats. Sets are shared: nobody writes to one.
type Set []kafka.Partition

// SetOf sorts partitions into a set; it may keep ps.
func SetOf(ps []kafka.Partition) Set {
	slices.SortFunc(ps, kafka.Partition.Compare)
	return slices.Compact(ps)
}

// Has tells whether p is in the set.
func (s Set) Has(p kafka.Partition) bool {
	_, found := slices.BinarySearchFunc(s, p, kafka.Partition.Compare)
	return found
}

// Equal tells whether both hold the same.
func (s Set) Equal(o Set) bool { return slices.Equal(s, o) }

// Minus is what s has and o has not.
func (s Set) Minus(o Set) Set { return s.filter(o, false) }

// And is what both have.
func (s Set) And(o Set) Set { return s.filter(o, true) }

// Within tells whether o has all of s.
func (s Set) Within(o Set) bool { return len(s) <= len(o) && len(s.Minus(o)) == 0 }

// Meets tells whether they have something in common.
func (s Set) Meets(o Set) bool { return len(s.And(o)) > 0 }

// filter keeps what is in o, or what is not. It returns s itself when all of it is kept.
func (s Set) filter(o Set, in bool) Set {
	var out Set
	kept, j := 0, 0
	for i, p := range s {
		for j < len(o) && o[j].Compare(p) < 0 {
			j++
		}
		if found := j < len(o) && o[j] == p; found != in {
			continue
		}
		if out == nil && kept < i { // something was left out before
			out = append(make(Set, 0, len(s)-1), s[:kept]...)
		}
		if out != nil {
			out = append(out, p)
		}
		kept++
	}
	if kept == len(s) {
		return s
	}
	if out == nil {
		return s[:kept:kept]
	}
	return out
}

// Or is what either has.
func (s Set) Or(o Set) Set {
	switch {
	case len(s) == 0:
		return o
	case len(o) == 0:
		return s
	}
	return SetOf(append(append(make([]kafka.Partition, 0, len(s)+len(o)), s...), o...))
}
