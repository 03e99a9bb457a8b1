// Package hot is the local log of one partition: append, group flush, read,
// truncate, recover, retain.
//
//	<data dir>/recovery                       recovery points of all logs (recovery.go)
//	<data dir>/journal.0, journal.1           what small rounds have made durable (redo.go, tier/journal)
//	<data dir>/<topic id>/<partition>/
//	    00000000000000000000.log              sealed: Kafka v2 batches, nothing else
//	    00000000000000084211.log              active: the last one, appended to
//	    00000000000000084211.state            what was known when it began (state.go)
//	    00000000000000000000.damaged          found damaged, and shown to nobody since (check.go)
//	    00000000000000000000.cleaned, .swap   what is about to replace segments (rewrite.go)
//	    cleaned                               up to where compaction has come (cleaned.go)
//	    owed                                  what the journal held and the files did not take (owed.go)
//	    quarantine/                           damaged segments, set aside
//
//	                      start          recovery point   durable      end
//	  offsets  ─────────────┼──────────────────┼─────────────┼──────────┼──►
//	                        │ never scanned    │ scanned after a crash  │
//	                        │ missing or bad   │ cut where it is torn   │
//	                        │ = damage         │                        │
//
// What must stay true:
//
//   - DurableEnd never shows an offset that a power cut could take back. It moves
//     only after a flush that began after the write succeeded; after one failed flush it never moves again.
//
//   - What survives a crash is a prefix of what was written, byte for byte, and
//     reaches at least to every DurableEnd that was ever shown (group mode).
//
//   - A bad batch above the recovery point is a torn tail and is cut; below it, it is ErrDamaged and is never cut silently.
//
//   - Whatever takes back a promise (Truncate, Reset, Delete, ReleaseBefore) makes that durable in the recovery file before it touches the log.
//
//   - Readers take no lock: they see a view (segments, tail) that is replaced, never
//     changed, and an end that is published last.
//
//   - Between two retirements of the journal no byte of a segment is written twice; whoever cuts or removes a file goes through
//     Flusher.barrier first.
//
//   - A file lacks what is late of it only while nobody looks: late.go.
//
//   - A log has no holes: where compaction leaves no record a batch without records stands (batch.Gap).
//
// Lock order: Log.shape, then Log.mu, then Flusher.disk, then latecomers.writing, then late.mu, then recoveryFile.mu, then
// pending.mu, latecomers.mu or Flusher.mu. No callback is called, and nothing is flushed on the append path, under any of them.
//
// Start reading at Log.Append (append.go), then Flusher.Flush (flusher.go), Log.Read
// (read.go, tail.go), opening.run (open.go, open_scan.go), and Log.Rewrite (rewrite.go).
package hot
