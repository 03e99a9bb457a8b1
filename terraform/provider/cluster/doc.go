// Package cluster is what the Terraform provider knows and does of a cluster, over the Kafka protocol; it knows nothing of Terraform.
//
// Terraform reads resources one by one, ten at a time. A Cluster answers those reads from a view that is taken once: one Metadata
// and one ListPartitionReassignments for all topics, and DescribeConfigs in pages of thousands, whoever asks first paying for
// all who come meanwhile. What is written leaves the view, and is asked for by itself from then on:
//
//	Topic(a) ─┐                      ┌─▶ Metadata, reassignments   once
//	Topic(b) ─┼─▶ view ── not yet? ──┴─▶ DescribeConfigs           once for each 2,000 topics
//	Topic(c) ─┘     ▲
//	Grow(b) ────────┘ b is asked for alone now
//
// What must stay true: a read that begins after a write of this Cluster's has returned sees that write; a change returns when every broker
// shows it, or says in words that it does not; errors carry Kafka's code, the broker's text, and what to do (Error).
//
// Start reading at cluster.go, then view.go; placement.go is pure.
package cluster
