//go:build qanat_bug_lock

package share

const bugLock = true
