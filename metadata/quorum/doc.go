// Package quorum runs hashicorp/raft under the image: the log and snapshots on
// disk, the transport, leadership, proposals, and the publication of images to
// those who act on them.
//
//	Propose ─┐                                   ┌─► image ─► Image()
//	Propose ─┼─► queue ─► proposer ─► Raft ─► fsm┤
//	Propose ─┘   (≤ 512 KiB, one entry)          └─► changes ─► Subscribe's goroutines
//
//	DIR/node.json     whose directory it is, and a lock beside it (identity.go)
//	DIR/log/          the entries (package raftlog)
//	DIR/snapshots/    the newest two images
//
// What must stay true:
//
//   - A proposal is answered after its entry is fsynced by a majority and
//     applied here, and the image shows it.
//   - One entry of this node is in flight at a time. What arrives meanwhile
//     shares the next one. So a broker's commands are applied in the order of
//     their proposal, and what has to be proposed again after a lost
//     leadership is exactly the last entry (see image/dedup.go).
//   - An entry that cannot be read, a log store that fails or stalls: the node
//     halts (Config.Fatal). It skips nothing and leads on no broken disk. Its
//     last snapshot holds nothing that came after the fault.
//
// A quorum of one is formed by Bootstrap, one of several by form.go; who comes later joins (join.go). Voters are kept at the wanted
// number by membership.go. How members speak with each other stands in peers.go and, a file for each call, beside it.
//
// Start reading at Open, then proposer.go, then fsm.go.
package quorum
