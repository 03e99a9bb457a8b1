//go:build qanat_bug_aborted

package image

const bugAborted = true
