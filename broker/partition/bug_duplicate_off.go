//go:build !qanat_bug_duplicate

package partition

// bugDuplicate has batches appended that the log holds already. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugDuplicate = false
