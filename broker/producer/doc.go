// Package producer is what a partition remembers of its idempotent producers and
// of their transactions, as a pure state machine: no I/O, no clock, no locks.
//
//	Check(batch)  → fresh | duplicate of [base, last] | refused
//	Append(batch) → remembered, after it was given its offset; txn.go has what a marker does
//	Encode/Decode → the snapshot beside segments and in the bucket's objects
//
// What must stay true: a batch that Check calls a duplicate is in the log at
// the offsets it names; for each producer the newest epoch and the last five
// batches are remembered, which is how many a client may have in flight.
//
// Source: KIP-98, KIP-360; Kafka's ProducerStateManager.
package producer
