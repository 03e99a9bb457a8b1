// Package streams is the streams group protocol of KIP-1071 as a pure state
// machine: no I/O, no clock, no goroutine, no randomness. Whoever runs it
// (package coordinator) hands in a request, the time and the topics there are,
// and carries out the effects that come back.
//
// Members are threads of Kafka Streams applications. The first one brings the
// topology: subtopologies, what they read, and which topics there are between
// them. A task is a subtopology's work on one partition of what it reads.
//
//	topology + topics that there are ──▶ configured: how many tasks; or what is in the way, and which internal topics are to be created
//	   │
//	a member joins, leaves, fails, changes; topics change
//	   ▼                       sticky
//	group epoch + 1 ──────────────────────▶ target: tasks of each member, active and standby
//	                                           │ member by member, at its heartbeats
//	                                           ▼
//	Stable ── gives up (Unrevoked) ──▶ waits for others to (Unreleased) ──▶ Stable in the target's epoch
//
// What must stay true:
//
//   - A task is active in one member at most, and in a process in one role at most: from the answer that assigns it until the member says that
//     it has given it up, leaves, or is thrown out.
//   - A member learns of an epoch and of its tasks only when they are durable. One Change is under way at a time; a reply waits for the one that
//     holds what it tells.
//   - The group epoch only grows. The target's epoch is never ahead of it, a member's never ahead of the target's.
//   - Offsets are committed in the member's epoch, or in one before it, for active tasks that have been the member's ever since (grants.go).
//   - A topology is checked as a whole before anything of its request is kept. It stays for as long as the group is there.
//   - When a Change fails, the machine is of no use any more: its owner answers what waits (Abort) and loads it anew.
//
// As in Kafka 4.3 there are no warm-up tasks, static members, subscriptions by regular expression, updates of a topology, or offsets of tasks;
// requests that say so are refused.
//
// A Group is not safe for concurrent use; its owner holds a lock.
//
// Sources: KIP-1071; Kafka's own coordinator where the KIP is silent.
//
// Start reading at Group (group.go), then heartbeat.go and reconcile.go; topology.go and configure.go are the topology's, sticky.go divides
// tasks, encode.go has the durable form.
package streams
