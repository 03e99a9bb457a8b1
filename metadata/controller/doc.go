// Package controller is pure decisions: image and liveness in, commands out.
// What it decides takes effect when the quorum has applied it, by
// compare-and-set, so a decision made on an old image does no harm.
//
//	image + live brokers ─► Place         ─► replicas for CreateTopic, AddPartitions
//	image + a broker     ─► StartLeaders  ─► ElectLeaders, in chunks
//
// What must stay true: the same image and the same arguments give the same
// decision; nothing here reads a clock, draws lots, or waits.
//
// Start reading at Place.
package controller
