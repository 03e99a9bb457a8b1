// Package member is a broker's membership of the metadata quorum: it opens the listener between brokers, forms a cluster or
// joins the one that there is, and runs the quorum over it.
//
//	cluster.listener ─▶ peer.Hub ─┬─ Raft ─────────────────────────▶ quorum.Quorum
//	                              └─ private API ─▶ server ─▶ peer.Mux ─▶ quorum.Entry, then quorum.Quorum
//	                                                               └─▶ what broker registers (heartbeats, replication)
//
// Open's way, which peers.go makes possible by translating between the calls of metadata/quorum and the keys of broker/peer:
//
//	directory known ────────────────────────────────▶ quorum.Open
//	new, no cluster.peers ── forms a cluster of one ─▶ quorum.Open
//	new, cluster.peers ──── quorum.Entry.Enter ──────▶ quorum.Open
//
// Start reading at Open.
package member
