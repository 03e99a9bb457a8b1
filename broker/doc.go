// Package broker wires the parts of one broker: builds them from the bottom
// up, starts them in one group, stops them from the top down.
//
//	Open: directory → (index ∥ quorum ∥ bucket) → flusher, cold, archive →
//	      registration → leaderships → partitions → coordinator → api → listeners
//	Run:  serves; the end of its context, or of any part, ends all of them
//	      in order: clients, coordinator, archive, partitions, flusher, quorum
//
// What must stay true: nothing is served before every partition that the image
// places here is open or known to be damaged; a clean stop flushes and marks every log.
//
// Start reading at Open.
package broker
