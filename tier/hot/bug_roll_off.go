//go:build !qanat_bug_roll

package hot

// bugRoll drops the batch that does not fit into a segment any more. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugRoll = false
