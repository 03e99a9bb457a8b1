//go:build qanat_bug_roll

package hot

const bugRoll = true
