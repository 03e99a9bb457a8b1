// Package controller is pure decisions: image and liveness in, commands out.
// What it decides takes effect when the quorum has applied it, by
// compare-and-set, so a decision made on an old image does no harm.
//
//	image + who is dead  ─► Decide        ─► fence ─► elect, shrink ISRs ─► end reassignments
//	                                          └─► place coordinators ─► begin drains, balance
//	image + live brokers ─► Place         ─► replicas for CreateTopic, AddPartitions
//	image + sizes        ─► Plan          ─► what would balance the cluster
//	image                ─► Rebalance     ─► leaderships back to the preferred replicas
//	image + a broker     ─► StartLeaders  ─► ElectLeaders of a cluster of one, in chunks
//
// What must stay true:
//
//   - The same image and the same arguments give the same decision; nothing here reads a clock, draws lots, or waits.
//   - A decision is a fixed point: made again on the image that it makes, it is empty.
//   - Nobody is elected who may lack what was acknowledged, unless the topic allows it and nobody else is there (KIP-966).
//   - No partition with an eligible active replica stays without a leader; nobody fenced is ever chosen.
//   - A reassignment takes nothing away before what it brings is in sync.
//
// Start reading at Decide, then settle.go, which is about one partition.
package controller
