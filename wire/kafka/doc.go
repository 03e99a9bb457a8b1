// Package kafka holds the field's nouns: the small value types that every
// other package names things with. It imports nothing of Qanat and has no
// behaviour beyond printing and parsing, so that an offset is never passed
// where an epoch is meant.
package kafka
