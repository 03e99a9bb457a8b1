//go:build qanat_bug_task

package streams

const bugTask = true
