// Package integration holds the black-box tests: real broker processes, real
// clients, a real S3 server where QANAT_TEST_S3 names one, killed for real. It
// imports no package of the broker, so that it sees what a user sees.
package integration
