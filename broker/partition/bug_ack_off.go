//go:build !qanat_bug_ack

package partition

// bugAck has the leader acknowledge what is on its own disk, before the in-sync replicas have it. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugAck = false
