//go:build qanat_bug_duplicate

package partition

const bugDuplicate = true
