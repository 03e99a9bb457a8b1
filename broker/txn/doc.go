// Package txn is the life of a transactional id as pure functions: a record and a request give the record that follows, and
// what the client is told. No I/O, no clock, no locks; package txncoordinator runs it.
//
//	            Init                     Enlist                        End, or its timeout: Fence
//	(nothing) ───────▶ Empty ──────────────────────▶ Ongoing ───────────────────────────┐
//	                     ▲                              ▲ └──▶ (more partitions, groups) │
//	                     │ Init                         │ Enlist                         ▼
//	                     └───────────── CompleteCommit, CompleteAbort ◀── Complete ── PrepareCommit, PrepareAbort
//	                                                                 all markers are written
//
// What must stay true:
//
//   - A decision, once a record says PrepareCommit or PrepareAbort, is never taken back: nothing but Complete leads out of it.
//   - Markers are written under the record's producer id and epoch. Where the client's protocol lets epochs grow with every
//     transaction (version 2, KIP-890), that epoch is newer than every batch of the transaction, so that a batch that comes late is
//     refused; and so it is wherever the coordinator ends a transaction itself.
//   - A request that is sent again because its answer was lost gets that answer, and changes nothing (KIP-360).
//   - Of two clients with one transactional id the one that asked last goes on, the other is told that it is fenced.
//
// Sources: KIP-98, KIP-360, KIP-447, KIP-890, and Kafka's coordinator where the KIPs are silent.
//
// Start reading at Init (init.go), then enlist.go and end.go.
package txn
