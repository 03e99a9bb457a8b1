// Package group is the classic consumer-group protocol as a pure state machine:
// no I/O, no clock, no goroutine, no randomness. Whoever runs it (package
// coordinator) hands in a request and the time, and carries out the effects
// that come back: replies to parked requests, a state to make durable, and the
// time at which the machine wants to be called again.
//
//	          first member joins                 all joined, or timeout
//	Empty ───────────────────────▶ PreparingRebalance ─────────▶ CompletingRebalance
//	  ▲                             ▲   │ ▲                          │        │
//	  │ nobody is left              │   │ └── member joins, leaves, ─┘        │ leader's assignment
//	  └─────────────────────────────┼───┘     fails, changes                  ▼ is durable
//	                                └───────────────────────────────────── Stable
//	Dead: deleted; refuses everything, so that nobody writes into a group that is about to vanish.
//
// What must stay true:
//
//   - The generation only grows, and grows by one with every completed join phase.
//   - A member learns its assignment only after the whole assignment of its
//     generation is durable: a broker that comes back after a crash goes on in
//     that generation, and nobody rejoins.
//   - Every parked request is answered: by progress, by the expiry of a timer
//     that was set when it was parked, or by Abort.
//   - A member that waits in a join or a sync does not expire, except one whose
//     first join is still parked (it does not know its id and cannot heartbeat).
//
// A Group is not safe for concurrent use; its owner holds a lock.
//
// Sources: KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-345 (static
// members), KIP-394 (member id required), KIP-429 (cooperative rebalancing needs
// only that members may rejoin a stable group), KIP-800 (reasons), KIP-814 (skip
// assignment), and Kafka's own coordinator where the KIPs are silent.
//
// Start reading at Group (group.go), then join.go and sync.go; deadlines are in
// advance.go, the durable form in encode.go.
package group
