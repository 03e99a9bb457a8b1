package api

import "slices"

// A request may name the same thing as often as it has room for names, and an answer may be much larger than a name: what is named again is
// answered once. What filters name is a set as well: what is filtered is walked once, however long the filter.

type distinct[T comparable] map[T]struct{}

func distinctOf[T comparable](values []T) distinct[T] {
	d := make(distinct[T], len(values))
	for _, v := range values {
		d[v] = struct{}{}
	}
	return d
}

// again adds v, and tells whether it was there.
func (d distinct[T]) again(v T) bool {
	if _, ok := d[v]; ok {
		return true
	}
	d[v] = struct{}{}
	return false
}

// passes tells whether a filter lets v through; an empty one lets everything.
func (d distinct[T]) passes(v T) bool {
	_, ok := d[v]
	return ok || len(d) == 0
}

// once is values, each of them once, in their order. It reuses values.
func once[T comparable](values []T) []T { return slices.DeleteFunc(values, distinct[T]{}.again) }
