// Package replica keeps this broker's followers in step with their leaders, and has who is in sync changed where it leads.
//
//	image ─ hosted ─▸ Follow(p, leader, epoch) ─▸ one fetcher per leader:
//
//	    Fetch: position = durable end ──────────────▸ leader ── waits for records, up to its log's END
//	    append byte for byte ◂─────────── records ──────┘       (the positions in the request move its high watermark)
//	    one flush for all partitions of the answer
//	    └─▸ next Fetch, which names only what has moved (fetch sessions, KIP-227)
//
//	partition ─ ISR(p) ─▸ Keeper ─▸ ProposeISR ─▸ quorum ─▸ SettleISR
//
// What must stay true: a position that was sent is on this broker's disk; what a leadership sent is appended only while the
// partition follows that leadership; logs are cut by epoch, never by high watermark.
//
// Start reading at fetcher.run; what a follower does to its log is in broker/partition/follow.go.
package replica
