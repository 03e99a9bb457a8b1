// Package probe looks, at the end of a run, at what no client can see: that the
// replicas of a partition hold the same bytes, that the bucket holds what is said
// to be there and nothing else, and that an index made anew finds what the kept
// one found.
//
// It knows formats only as docs/ describes them, and none of the broker's code,
// so that a mistake is not made twice.
package probe
