// Package coordinator runs the group state machines (packages group, consumer,
// share and streams, one for each protocol): it finds a request's group, hands it in with the time, proposes what must become
// durable, keeps replies parked until then, and wakes groups at their deadlines.
//
//	request ─▶ shard lock ─▶ group machine ─▶ effects
//	                │                           ├─ Persist ─▶ Quorum.ProposeAsync ─▶ applied ─▶ inbox ─▶ machine
//	                │                           ├─ replies ─▶ sent when the lock is released
//	                │                           └─ deadline ─▶ one heap, one timer (Run)
//	                └─ offset commits: proposed under the lock, answered when applied
//
// What must stay true:
//
//   - What a group decides is proposed before its shard's lock is released, and the quorum applies in that order. A
//     commit that was accepted in one generation is therefore applied before the assignments of the next are answered,
//     and a member that fetches offsets after its sync sees every commit that was accepted before.
//
//   - A commit is answered only after it was applied.
//
//   - Callbacks of the quorum never take a shard's lock (a proposal may block while that lock is held): they answer,
//     or leave a note in the inbox for Run.
//
//   - Only groups with members, and groups touched within the last seconds, are in memory. All others are in the image.
//
//   - An idle group costs one entry in the heap; a heartbeat touches no heap, no timer, and allocates nothing.
//
//   - Groups are divided into shards, which the image places on brokers, each placement under an epoch of its own. What is
//     proposed carries the epoch, so that whatever a coordinator decides after its shard has moved away is refused.
//
//   - A shard that comes is loaded from an image that shows its placement: every commit and every generation of the
//     coordinator before is in it. Members go on in their generation; a move costs no rebalance.
//
//   - A broker that is cut off serves no group: somebody else may by now (Config.Leased).
//
//   - A group that breaks a rule of its own is set aside, alone (aside.go). Whatever else panics here ends the process.
//
// Start reading at Coordinator.with (coordinator.go); place.go follows the
// shards, run.go is the loop, aside.go what becomes of a group that panics, offsets.go commits, sweep.go expiry.
package coordinator
