// Package cluster runs the nodes of a system under test as real processes, in
// places where faults can be made: each node in a network of its own, on a
// volume of its own.
//
//	harness (this process, in a network, mount and process namespace of its own: see Isolate)
//	   │ bridge 10.77.0.254
//	   ├── veth ── node 1, 10.77.0.1      ext4 on a loop device over a tmpfs
//	   ├── veth ── node 2, 10.77.0.2      …
//	   ├── veth ── clients, 10.77.0.100
//	   └── S3 server behind a proxy that breaks what passes
//
// Nothing outlives the harness: its process namespace takes every process with
// it, its mount namespace every mount, its network namespace every link. No
// address outside those namespaces is ever reached.
//
// A system is known by System: how a node is started, and where its records lie.
// Kafka and Qanat are the two there are; the first is the reference, with which
// the harness itself is tested.
//
// Without root nodes run on loopback ports and plain directories: what needs a
// network or a volume then cannot be tried, and Network and Volume say so by
// being nil.
package cluster
