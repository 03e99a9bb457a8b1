// Package compact cleans logs whose topics keep the last value of each key (cleanup.policy=compact), in the background, one log at a time.
//
//	      start        cleaned to                       end: the first that may not be cleaned yet
//	────────┼───────────────┼────────────────────────────┼─────────────┬─────────┐
//	        │ one record    │ dirty: read once, to learn │ too young,  │ active  │
//	        │ for each key  │ each key's latest offset   │ not stable  │ segment │
//	        └───────────────┴────────────────────────────┘
//	         then both are rewritten without what has a later record of its key
//
// What must stay true:
//
//   - The last record of every key below the end stays, at its offset; a record goes only when a later one of its key stays in the log
//     or was a tombstone that has been there for delete.retention.ms since the pass that found it.
//   - Two keys are never taken for one: they are told apart by 128 bits of a salted SHA-256.
//   - Only what is below the limit (the high watermark, the last stable offset) is read or changed.
//   - What a transaction has committed becomes a batch of no transaction, what it has aborted goes, so that its marker is needed by nobody but
//     who has been told of the transaction before: it goes as a tombstone does.
//   - Tombstones of a log with older segments in the bucket stay: those are not compacted, and would show the key again.
//   - The last batch, and marker, of every producer that may still write stays, perhaps empty: it carries epoch and sequence to new replicas.
//   - A pass needs as much memory as Config.MapBytes allows, however many keys there are: a log with more is cleaned in several passes.
//   - What a crash interrupts has happened or not, segment by segment (hot.Log.Rewrite); a pass that is done again changes nothing.
//
// Every replica cleans its own log, so that replicas hold the same records in other batches.
// Source: Kafka's log cleaner; KIP-58 (lag), KIP-354 (maximum lag), KIP-534 (delete horizon).
//
// Start reading at Cleaner.Run, then pass.go; which log is next is decided in policy.go.
package compact
