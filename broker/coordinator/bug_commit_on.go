//go:build qanat_bug_commit

package coordinator

const bugCommit = true
