//go:build qanat_bug_stable

package partition

const bugStable = true
