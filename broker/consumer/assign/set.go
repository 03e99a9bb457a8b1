package assign

import (
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Set is partitions in order of topic id and index.
type Set = Sorted[kafka.Partition]

// Sorted is what members are given, in order, without repeats: partitions, or the tasks of a streams group. They are shared: nobody writes to one.
type Sorted[T Ordered[T]] []T

// Ordered is what can be in a Sorted.
type Ordered[T any] interface {
	comparable
	Compare(T) int
}

// SetOf sorts ps into a set; it may keep them.
func SetOf[T Ordered[T]](ps []T) Sorted[T] {
	slices.SortFunc(ps, T.Compare)
	return slices.Compact(ps)
}

// Has tells whether p is in the set.
func (s Sorted[T]) Has(p T) bool {
	_, found := slices.BinarySearchFunc(s, p, T.Compare)
	return found
}

// Equal tells whether both hold the same.
func (s Sorted[T]) Equal(o Sorted[T]) bool { return slices.Equal(s, o) }

// Minus is what s has and o has not.
func (s Sorted[T]) Minus(o Sorted[T]) Sorted[T] { return s.filter(o, false) }

// And is what both have.
func (s Sorted[T]) And(o Sorted[T]) Sorted[T] { return s.filter(o, true) }

// Within tells whether o has all of s.
func (s Sorted[T]) Within(o Sorted[T]) bool { return len(s) <= len(o) && len(s.Minus(o)) == 0 }

// Meets tells whether they have something in common.
func (s Sorted[T]) Meets(o Sorted[T]) bool { return len(s.And(o)) > 0 }

// filter keeps what is in o, or what is not. It returns s itself when all of it is kept.
func (s Sorted[T]) filter(o Sorted[T], in bool) Sorted[T] {
	var out Sorted[T]
	kept, j := 0, 0
	for i, p := range s {
		for j < len(o) && o[j].Compare(p) < 0 {
			j++
		}
		if found := j < len(o) && o[j] == p; found != in {
			continue
		}
		if out == nil && kept < i { // something was left out before
			out = append(make(Sorted[T], 0, len(s)-1), s[:kept]...)
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
func (s Sorted[T]) Or(o Sorted[T]) Sorted[T] {
	switch {
	case len(s) == 0:
		return o
	case len(o) == 0:
		return s
	}
	return SetOf(append(append(make([]T, 0, len(s)+len(o)), s...), o...))
}
