//go:build !qanat_bug_lock

package share

// bugLock has a record given out that somebody has the lock of. A deliberate bug: the
// fault runs are tried with it (faults bugs), and have to find it.
const bugLock = false
