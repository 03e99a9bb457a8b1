// Package index keeps where batches lie in closed local segments, in Badger.
//
// It is a cache of facts that the segments hold: written in batches off the
// acknowledgement path, trusted only after the batch header it points to
// agrees, deleted and rebuilt on any doubt. Losing the whole directory loses
// nothing but time.
//
//	Put, Drop ──► pending ──► writer goroutine ──► Badger
//	                 │              │                │
//	Lookup ◄─────────┴── writing ◄──┴── cache ◄──────┘   first that knows, answers
//
// A segment's entries are cut into pages of up to 64 (4 MiB of log); a page is
// one key. See docs/formats-index.md for the bytes and for why it is not a key
// per entry.
//
// What must stay true:
//   - What a Lookup returns was put for that segment after its last Drop, and is
//     the floor that was put: a page knows where the next one begins, so that a
//     missing page is a miss and never a lower floor.
//   - Put, Drop and DropPartition never wait for the disk.
//   - Nothing here can stop the broker: a directory that does not open is made
//     anew, one that killed the process while opening too, a failed write is
//     counted, and no write is tried on a nearly full disk (Badger writes through
//     memory maps, where a full disk is not an error but a signal).
//
// Start reading at Index.Put and Index.Lookup.
package index
