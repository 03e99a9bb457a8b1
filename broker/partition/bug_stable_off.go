//go:build !qanat_bug_stable

package partition

// bugStable has read_committed consumers read up to the high watermark, whatever is undecided below it. A deliberate bug:
// TestReadCommittedAgainstModel is tried with it, and has to find it.
const bugStable = false
