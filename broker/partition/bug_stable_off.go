//go:build !qanat_bug_stable

package partition

// bugStable has read_committed consumers read up to the high watermark, whatever is undecided below it. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugStable = false
