//go:build qanat_bug_late

package hot

const bugLate = true
