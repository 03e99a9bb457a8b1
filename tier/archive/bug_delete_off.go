//go:build !qanat_bug_delete

package archive

// bugDelete has local segments deleted before the quorum has committed where they are in the bucket. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugDelete = false
