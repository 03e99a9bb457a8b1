// Package journal makes small appends to many files durable with one sequential write.
//
//	<dir>/journal.0   ┌header┬header┬frame┬frame┬frame┬ … zeros … ┐
//	<dir>/journal.1   └──────┴──────┴─────┴─────┴─────┴───────────┘
//
// A flush of N files costs N small writes and the file system's own journal. Here what was appended since the last flush is one frame, written past
// the page cache into room that has been written before, so that no metadata changes. The files themselves are flushed later, all at once; from then on the
// frames are of no use and the half that holds them is retired. After a crash what frames say is written into the files again (Replay).
//
//	Stage ──► staged frame ── Write ──► half 0 … full ──► half 1 … full ──► (volume sync by the caller) ──► Retire
//	                                      └── cleaned beside: volume sync, Clean
//
// What must stay true:
//
//   - Bytes are staged after they were written to their file: a sync of all files that begins after Stage covers them, and Drop may forget them.
//   - Between two Retires a byte of a file is written once. Whoever cuts, removes or renames a file syncs all files and retires the journal first;
//     else a replay would bring back what had gone.
//   - A half is retired only after a sync of all files that began after the half's last frame had been staged.
//   - A frame is written when the one before it is durable. So a bad frame with a good one behind it is damage, never a torn end.
//
// The idea is BookKeeper's journal and every database's redo log; the records are physical: file, position, bytes.
package journal
