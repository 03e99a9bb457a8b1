//go:build !qanat_bug_aborted

package image

// bugAborted commits the offsets of transactions that are aborted. A deliberate bug: the fault runs are tried with it (faults bugs), and have to find it.
const bugAborted = false
