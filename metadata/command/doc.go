// Package command is what can be proposed to the metadata quorum: versioned
// change records, and the one encoding in which they lie in the Raft log.
//
//	proposer ── Body(c) ──► bodies ── Join(envelope, bodies) ──► one Raft entry
//	                                                                  │
//	image.Apply ◄── Envelope, Command ◄──────── Decode(entry) ◄───────┘
//
// What must stay true: an entry that was written is readable for ever, by
// every later release; the encoding of a command never changes within its
// version (golden files watch it); a kind, version or field that this release
// does not know is an error on which the node halts, never something to skip,
// since replicas that skip differently have different images; whatever Body
// lets pass, Decode can read.
//
// To change a command: add the field under a new key, raise the version in
// kinds, let Apply give the zero value its old meaning, and add a golden file.
// The format is described in docs/formats-metadata.md.
//
// Start reading at Command, then the list of kinds in kind.go, then encode.go.
package command
