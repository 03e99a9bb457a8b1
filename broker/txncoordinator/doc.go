// Package txncoordinator runs transactions (package txn): it finds a request's transactional id, decides on its newest record,
// proposes the record that follows, answers when that is applied, and has markers written where a decision says so.
//
//	request ─▶ shard lock ─▶ txn.Init, Enlist, End ─▶ PutTransaction ─▶ applied ─▶ answer
//	              │  ▲                                                    │
//	              │  └── parked, while the transaction before is ended ◀──┤ decided?
//	              │                                                       ▼
//	              └ sweep: timed out, expired, left over        markers: this broker, or the private API
//	                                                                      │ below the high watermark, everywhere
//	                                                                      ▼
//	                                                             PutTransaction: complete
//
// What must stay true:
//
//   - The image is the truth. A record in memory is the image's, or one that was proposed on top of it and is not applied yet; what
//     was decided on such a one is answered only when it is applied, and when it is not, everything that was decided on it fails.
//
//   - No marker is sent before its decision is applied, and none is written by a leader whose image does not show the decision:
//     the sender tells how new its own image is, and the leader waits for that. So a marker that comes late, or twice, never ends
//     the next transaction: by then the leader's image, which had to show that one before it took its first batch, knows better.
//
//   - A decision that is found in the image is carried out by whoever coordinates the id by then, for as long as it takes. A
//     partition that is gone needs no marker.
//
//   - Callbacks of the quorum take no shard's lock: they leave a note for Run.
//
//   - Only ids with something in flight are in memory.
//
// Start reading at Coordinator.decide (coordinator.go); run.go is the loop, markers.go the sending side, leader.go the writing
// one, enlist.go how partitions' leaders and groups' coordinators ask.
package txncoordinator
