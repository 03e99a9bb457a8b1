// Package image is the cluster's state: topics, partitions, remote manifests,
// brokers, configs, groups and their offsets. An Image is immutable; Apply
// makes the next one.
//
//	              Begin            Apply, Apply, …            Commit
//	image n ─────────────► Tx ─────────────────────────► image n+1, Changes
//	   └───────── nearly everything is shared ─────────────┘
//	   │
//	   ├─ Encode ─► snapshot ─ Decode ─► an equal image
//
// What must stay true: Apply is deterministic. It has no clock (the proposer's
// time is in the envelope), no randomness, and no outcome depends on the order
// of a Go map; two nodes that apply the same entries hold equal images, which
// encode to equal bytes. Nothing that an image holds is ever written to again.
// A command either happens or is refused whole, unless its comment in package
// command says which parts are left out.
//
// Start reading at Image, then apply.go (the switch over commands) and the
// rules beside it: topics.go, partitions.go, groups.go. dedup.go makes retries
// harmless; snapshot.go is the format that docs/formats-metadata.md describes.
package image
