// Package segment is the one segment format, on disk and in the bucket.
//
// On disk a segment is batches and nothing else. In the bucket the same bytes
// are followed by a trailer that makes the object complete by itself: without
// any other file it can be checked, searched and served, and the log it came
// from rebuilt.
//
//	0                  DataSize                                     size
//	├── batches ───────┼── trailer: sections ──────────┼── footer ──┤
//	│ magic 2, as      │ metadata · chunk CRCs · index │ 40 bytes,  │
//	│ producers sent   │ epochs · aborted · state      │ magic last │
//
// docs/formats-bucket.md draws every byte; testdata/v1.segment is an object of
// version 1 that must stay readable for ever.
//
// What must stay true: the data is never changed by wrapping it, so a position
// in a local file is a position in the object; each section carries its own
// CRC32C; a reader skips sections it does not know and refuses a major version
// that it does not know; no length is believed before it was compared with
// what is there.
//
// Start reading at Footer, then Scan (data → facts) and ReadFooter (object →
// facts).
package segment
