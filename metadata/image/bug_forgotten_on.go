//go:build qanat_bug_forgotten

package image

const bugForgotten = true
