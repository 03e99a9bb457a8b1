// Package log is one partition's log across both tiers, and the only door to
// them: appends go to the local log, reads to whichever tier holds the offset.
//
//	offset 0 … Start          Manifest.End        hot.Start      End
//	       ┊    ├── bucket ────────┤                               ┊
//	       ┊    ┊          ├ both ─┤                               ┊
//	       ┊    ┊          ├── local disk ─────────────────────────┤
//	  expired   ┊          LocalStart                              next append
//
// What must stay true: every offset in [Start, End) is in the bucket, on the
// local disk, or in both; where both have it the local copy is read. Local
// segments are only released once the published manifest names them, so
// LocalStart <= Manifest().End() whenever anything is in the bucket.
//
// Start reading at Log.Read.
package log
