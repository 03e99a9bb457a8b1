//go:build !qanat_bug_late

package hot

// bugLate flushes the volume without what is late, and makes the journal void. A deliberate bug: the fault runs are tried with it (faults bugs), and have to find it.
const bugLate = false
