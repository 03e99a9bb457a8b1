// Package statelog shows what the metadata quorum knows of groups and transactions as Kafka's own topics for it, for programs that read those: lag
// exporters, consoles, kafka-console-consumer with Kafka's formatters.
//
//	__consumer_offsets    committed offsets, classic groups      image.Offset, image.Group
//	__transaction_state   transactional ids                      command.Transaction
//
// They are views: nothing is stored for them, nothing can be written to them, and until somebody reads a partition there is nothing at all but
// its name. The first read of a partition walks the image once; from then on what entries touch (quorum.Watch) is appended behind
// it, until nobody has read for a while.
//
//	           image at entry n, by time of commit     entries n+1, n+2, …
//	offsets    [ n·2¹⁶ - records ────────── n·2¹⁶ )    (n+1)·2¹⁶ + 0, 1, …   (n+2)·2¹⁶ + …
//
// An offset is the number of the entry in the metadata log, times 2¹⁶, plus the how manieth record of its partition the entry has
// made: every broker counts alike. So a position means "all up to here have been seen" on whichever broker, and after any
// restart: who goes on from it is never sent back, and misses no change. What was there when a partition was opened has no
// numbers of its own any more and lies directly below; who comes from before gets it all once more, each key's latest, as after a
// compaction that is late.
//
// What must stay true: a record shows what the image holds for its key, or held a moment ago; positions only grow; the goroutine
// that applies entries is never kept waiting for a reader: readers encode what they took under the lock after they have let go of it.
//
// Start reading at Logs, then partition.go. docs/decisions/0014-state-logs.md says why it is like this.
package statelog
