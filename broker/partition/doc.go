// Package partition is one partition at its leader: leader epoch, high
// watermark, in-sync replicas, producer state, and who waits for what.
//
//	Produce ── verify ─ sequence ─ stamp ─ append ─┐            (appendMu)
//	                                               ▼
//	                                          log (tier/log)
//	                                               │ flushed
//	                                               ▼
//	 waiters ◂── high watermark = min(durable ends of the ISR)  (ackMu)
//	 listeners ◂──────┘
//	Read ── up to the high watermark or last stable offset      (no lock)
//
// What must stay true: an acks=all produce is answered only when the high
// watermark has passed its last record; nothing at or above the high
// watermark is shown to a consumer; the high watermark never goes back.
//
// It knows nothing of connections or protocols. Start reading at Produce.
package partition
