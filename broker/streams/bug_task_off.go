//go:build !qanat_bug_task

package streams

// bugTask gives a task to its next owner while it is still another's. A deliberate bug: the fault runs are tried with it (faults bugs), and have to
// find it.
const bugTask = false
