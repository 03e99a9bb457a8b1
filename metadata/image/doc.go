// Package image is the cluster's state, immutable; Apply is a pure function.
package image
