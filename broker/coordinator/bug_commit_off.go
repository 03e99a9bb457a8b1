//go:build !qanat_bug_commit

package coordinator

// bugCommit answers offset commits before they are applied. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugCommit = false
