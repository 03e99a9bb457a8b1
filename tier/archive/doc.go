// Package archive moves closed segments to the bucket and expires what is
// there and what is local: journey 4 of the architecture, and retention.
//
//	sealed, durable,          footer        one PUT, a name      the quorum       the image
//	below the high watermark                never used before    decides          says so
//	      segment ──▸ scan every CRC ──▸ upload ──▸ commit ──▸ publish ──▸ release locally
//	                       │                │          │
//	                    damaged:        failed: new    refused: the object
//	                    reported        name, later    is deleted again
//
//	manifest long ──▸ oldest entries put as a page ──▸ commit (compare-and-set) ──▸ published without them
//
//	log start moves ──▸ published ──▸ objects deleted ──▸ local segments released
//
// What must stay true:
//
//   - An entry is committed only after its object's Put has succeeded, and
//     in the order of offsets.
//   - A local segment is released only when the published manifest covers what
//     of it can still be read, or the published log start lies behind it.
//   - An object is deleted only when no published manifest names it and none
//     can come to name it: its entry left the manifest, or was refused for good,
//     or was never proposed and is older than the grace.
//   - Entries leave the manifest for a page only after the page's Put has succeeded, and only if they are the ones in it.
//   - What a page may name that cannot be read is not deleted.
//   - Nothing here is remembered beyond the process: after a restart the
//     manifest says what is in the bucket, and a sweep finds what it does not name.
//   - No lock is held over a bucket, the quorum, a Source or an observer.
//   - A partition costs a map entry and a place in a heap: no goroutine, no timer.
//
// Start reading at Archive.Run (run.go), then look.go, which is one visit to
// a partition; its decisions are the pure functions of retention.go. upload.go
// is the way of one segment, spill.go that of a page, delete.go and sweep.go the way out.
package archive
