// Package consumer is the consumer group protocol of KIP-848 as a pure state
// machine: no I/O, no clock, no goroutine, no randomness. Whoever runs it
// (package coordinator) hands in a request, the time and the topics there are,
// and carries out the effects that come back.
//
//	a member joins, leaves, fails, subscribes anew; topics change
//	   │
//	   ▼                       assignor
//	group epoch + 1 ──────────────────────▶ target assignment of that epoch, a part for each member
//	                                           │ member by member, at its heartbeats
//	                                           ▼
//	          ┌────────── Stable ◀─────────── member's epoch = target's, partitions that are free are its own
//	          │ has what the target gives          ▲                 │ some are not free yet
//	          │ to somebody else                   │ free            ▼
//	          ▼                                    └──────────── Unreleased
//	      Unrevoked: asked to give them up; it says in a heartbeat that it has, or is thrown out after its rebalance timeout
//
// What must stay true:
//
//   - A partition is of one member at most: from the answer that assigns it until the member says that it has given it up, leaves, or is
//     thrown out. owners has every such partition, and nothing is assigned that is there.
//   - A member learns of an epoch and of an assignment only when they are durable. Changes are handed out as one Change at a time, each
//     with all that came before it; a reply waits for the Change that holds what it tells.
//   - The group epoch only grows. The target's epoch is never ahead of it, a member's never ahead of the target's.
//   - When a Change fails, the machine is of no use any more: its owner answers what waits (Abort) and loads it anew.
//
// While a Change is on its way, members whose answer needs a new target wait, and are then served by one: what many members that come
// together cost is a few targets, not one each.
//
// A Group is not safe for concurrent use; its owner holds a lock.
//
// Sources: KIP-848; Kafka's own coordinator where the KIP is silent.
//
// Start reading at Group (group.go), then heartbeat.go and reconcile.go; deadlines are in advance.go, the durable form in encode.go.
package consumer
