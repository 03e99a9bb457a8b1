//go:build qanat_bug_torn

package txncoordinator

const bugTorn = true
