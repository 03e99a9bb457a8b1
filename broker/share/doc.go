// Package share is share groups (KIP-932) as pure state machines: no I/O, no
// clock, no goroutine, no randomness. Whoever runs them hands in requests, the
// time and what there is, and carries out the effects that come back.
//
// Two machines, that know nothing of each other:
//
//	Group      who is in a group, and which partitions each reads: any partition may be read by many (package coordinator runs it)
//	Partition  a group's share of a partition: which record is whose, until when, and what has become of it (package shareleader runs
//	           it, where the partition's leader is)
//
// A record in a share:
//
//	                           Acquire: locked for a member, for a while
//	┌──────────── Available ──────────────────────────▶ Acquired
//	│                 ▲   release, or the lock runs out    │ │
//	│                 └────────────────────────────────────┘ ├── accept ──▶ Acknowledged ─┐
//	│ nothing for consumers: a transaction's marker, what    │                            ├─▶ start moves on
//	│ was aborted, what retention took                       ├── reject, or given out     │
//	└────────────────────────────────────────────────────────┴── too often ─▶ Archived ───┘
//
// What must stay true:
//
//   - A record is locked for one member at most, and for nobody once it is Acknowledged or Archived.
//   - An acknowledgement is answered when it is durable. What was released is given out again when that is durable, so that who gives
//     it out knows how often it was.
//   - start only grows, and everything below it is done. Locks are not durable: who leads next gives those records out again, and who
//     had them is told that they are not its own.
//   - What is to be made durable is handed out as one Change at a time, with everything that came before it: many acknowledgements are one
//     write. When a Change fails the machine is of no use any more: its owner answers what waits (Abort) and makes it anew.
//
// Sources: KIP-932, KIP-1206 (how many records), KIP-1222 (renewal); Kafka's own broker where they are silent.
//
// Start reading at Partition (partition.go), then acquire.go and acknowledge.go; Group is in group.go.
package share
