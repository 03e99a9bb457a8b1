//go:build qanat_bug_ack

package partition

const bugAck = true
