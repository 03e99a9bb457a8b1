// Package server is the listeners and connections of the Kafka port: frames in, answers out in the order of requests,
// and the bounds that keep one client from another's throat.
//
//	            ┌─────────────────────── conn ────────────────────────────┐
//	socket ──▶  reader ──▶ admit ──▶ queue: [answered][parked][answered]   │
//	            │ one       bytes,    ▲ order of arrival                   │
//	            │ goroutine slots     │                                    │
//	            │      └─ Handle ─────┘ Reply, any goroutine               │
//	socket ◀──  flush: whoever answers the head writes; a goroutine only when the socket is full
//	            └──────────────────────────────────────────────────────────┘
//	sweeper ──▶ closes the idle, the stalled and the slow, once a tick for all connections
//
// What must stay true:
//
//   - Answers leave in the order of their requests; the next requests are read and handled meanwhile.
//   - Whoever calls Reply never waits for a client: what a socket does not take at once goes to a goroutine of its own.
//   - Every frame and every run is released exactly once, and every byte of the budget returned, however a connection ends.
//   - A connection that waits holds no buffer: the reader takes one when there is something to read.
//   - Nothing is unbounded: connections, requests and bytes in flight, the time a frame and an answer may take.
//   - What is announced and does not come keeps nobody waiting for long (relief.go).
//   - Requests wait only for those of their own class of sizes (budget.go).
//   - Client.Gone is done as soon as the other end is, also while nothing is read because a bound is reached.
//
// Start at conn.go; then read.go, queue.go, write.go. sys_linux.go has the system calls.
package server
