//go:build qanat_bug_marker

package txncoordinator

const bugMarker = true
