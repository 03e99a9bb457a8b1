// Package manifest is the list of a partition's remote segments: an
// immutable value, and edits that are pure functions on it. metadata/image
// applies them when the quorum commits; readers and the archive only look.
//
//	entries, ordered by base, contiguous:  [0,100) [100,250) [250,300)
//	                                        └ Start()            End() ┘
//	version n    ├────────── shared slots ──────────┤
//	version n+1  ├────────── shared slots ──────────┼ one more ┤
//
// The oldest entries of a long list are spilled: they lie in the bucket, as pages, of which the list keeps only what is
// needed without reading them.
//
//	[page of 1,024 entries) [page of 1,024) [600,700) [700,800) …
//	└ Start()                               └ Recent()          └ End()
//
// What must stay true: entries do not overlap and leave no gap; epochs never
// decrease; an entry is never changed, only added at the end or removed from
// the front; a slot that any version can see is never written again.
//
// Start reading at Manifest, then Append and TrimBefore in edit.go. How it is
// kept in snapshots is in encode.go; how objects are named, in entry.go. Pages are in page.go.
package manifest
