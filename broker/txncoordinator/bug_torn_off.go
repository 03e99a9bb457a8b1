//go:build !qanat_bug_torn

package txncoordinator

// bugTorn sends a marker that was not written at first again as an abort's, and has leaders write it whatever was decided. A deliberate bug, for the
// fault runs to find.
const bugTorn = false
