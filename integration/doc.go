// Package integration holds the black-box tests: real broker processes, real
// clients, a real S3 server where QANAT_TEST_S3 names one, killed for real. It
// imports no package of the broker, so that it sees what a user sees.
//
// Clusters under faults are in packages of their own, of which faults is the
// command: history ← workload, checker; cluster ← nemesis, probe ← faults.
// docs/reliability.md says how they go together.
package integration
