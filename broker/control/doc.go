// Package control is how brokers look after each other. The one that leads the
// metadata quorum is the controller; every broker, that one included, has a
// session with it.
//
//	Session (every broker)                        Controller (on the quorum's leader)
//	  Register, fenced                              who is heard, who is dead (liveness)
//	  Heartbeat ─────── peer: KeyHeartbeat ───────▶   │
//	  ◀── you are known; you may be active ───────    ├─ image changes ─▶ controller.Decide ─▶ proposals
//	  Active, by its own proposal                     │
//	  Stop: Stopping, until nothing is held           └─ every few minutes: leaders back to the preferred replicas
//
// How a broker's end is found out:
//
//	its process dies     the connection of its heartbeats closes, its port refuses: dead at once
//	it hangs, is cut off no heartbeat for broker.session.timeout.ms
//	it stops             it says so, and gives away what it leads first
//	it starts anew       its registration fences what it was before (package image)
//
// Heartbeats carry what brokers tell of themselves for all to know: clocks (clock.go), and what ails their partitions (ailment.go).
//
// What must stay true:
//
//   - Only the quorum's leader decides, and only after it has given everybody the time of a session to be heard, unless it
//     knows better. A controller that has slept itself knows nothing: it begins anew.
//   - A broker holds a lease from the moment that it has sent a heartbeat which was answered, for the time of a session. The
//     controller moves nothing away from it earlier, so who has no lease any more must not act for the cluster (Leased).
//   - What is decided takes effect only through the quorum, by compare-and-set. Two controllers, one of them old, do no harm.
//   - A broker becomes active only when the controller hears it, and when what its registration calls for has been decided.
//
// Start reading at Controller.lead, then Session.Run. liveness.go is free of goroutines and clocks.
package control
