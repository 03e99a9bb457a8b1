//go:build qanat_bug_settle

package share

const bugSettle = true
