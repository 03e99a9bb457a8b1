// Package index keeps where batches lie in closed local segments, in Badger.
//
// It is a cache of facts that the segments hold: written in batches off the
// acknowledgement path, trusted only after the batch header it points to
// agrees, deleted and rebuilt on any doubt. Losing the whole directory loses nothing.
package index
