// Package cold reads the remote log: manifest → ranges in memory → ranged
// GETs, with readahead that crosses segments.
//
//	Read(offset) ── manifest ──► remote (footer, blocks) ──► slab ──► batch.Run
//	   │ not here: ErrLoading                                  ▲
//	   └► stream (window 4 → 64 MiB) ──► pump ──► worker ── GET ┘ block by block
//
// A remote is an object whose footer is known. Its data is cut into blocks of
// up to 1 MiB that begin and end with entries of the footer's index, so that no
// batch straddles two, and its blocks into ranges: what one GET asks for, the same
// whoever reads. A slab is a range, or what of it nobody had, that one GET fills:
// blocks become readable one after the other as they arrive and are verified, long
// before the GET has ended. A stream is one client's progress in one partition;
// its window says how far ahead of it slabs are wanted.
//
// Entries that the manifest has spilled lie in pages, which are read like footers: when a reader comes there, once for all, and kept for
// a while. A page's entries are a manifest of their own, and a stream in them sees no further than its end.
//
// What must stay true:
//   - A block is in at most one slab, and is downloaded by at most one GET at a
//     time, however many streams want it (single flight).
//   - No byte is handed out that has not passed the footer's and its batch's checks.
//   - Slabs take at most MaxInFlight bytes, all together: loading, waiting to be
//     read, being sent, kept in case. The single exception is a block larger
//     than that by itself, which is loaded when nothing else is held.
//   - A slab's buffer is not reused while a Run or a GET points to it.
//   - Every ErrLoading is followed by exactly one call of ready, with mu not held,
//     unless the same client reads the same partition again before. So there is one
//     callback at most for each stream, however long the bucket stalls.
//   - Memory is shared out among clients. One with many partitions loads them in
//     turns, a whole range each, not all at once in small ones.
//   - At most Workers GETs run for readers; fewer while the store asks for patience.
//   - Read and Forget never wait for the bucket or for a callback.
//
// Start reading at Reader.Read, then stream.go (what is wanted), pump.go (what
// is begun), client.go (for whom), fetch.go (one GET and its failures), slab.go (memory).
package cold
