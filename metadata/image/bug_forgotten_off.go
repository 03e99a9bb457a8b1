//go:build !qanat_bug_forgotten

package image

// bugForgotten commits one of the offsets of a transaction and forgets the others. A deliberate bug: the fault runs are tried with it (faults bugs), and have to find it.
const bugForgotten = false
