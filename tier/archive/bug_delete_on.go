//go:build qanat_bug_delete

package archive

const bugDelete = true
