//go:build !qanat_bug_marker

package txncoordinator

// bugMarker sends markers when a decision is proposed, and has leaders write them before it is applied. A deliberate bug:
// TestHistoriesOfCoordinators is tried with it, and has to find it.
const bugMarker = false
