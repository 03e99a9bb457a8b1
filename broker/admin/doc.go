// Package admin answers what the admin port is asked (console.Backend): from the image where the question is about the
// cluster, from a broker's parts where it is about this broker. What changes something is a proposal to the quorum.
//
//	admin.go    who this broker is, and whether it serves; the quorum
//	brokers.go  the cluster's brokers
//	health.go   what is wrong in the cluster
//	moves.go    drains, balance, leaderships: what is proposed
//	storage.go  hot and cold ranges, uploads, orphans
//	scrub.go    checks of local segments
//
// What must stay true: nothing here keeps state, and an answer about the cluster is the same on every broker that has the
// same image (but for what it says about the broker that was asked).
//
// Start reading at Parts.
package admin
