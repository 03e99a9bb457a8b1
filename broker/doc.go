// Package broker wires the parts of one broker: builds them from the bottom
// up, starts them in one group, stops them from the top down.
//
//	Open: directory → TLS → (index ∥ quorum ∥ bucket) → control → telemetry → tiers → hosted, replication → listeners →
//	      registration → partitions → coordinators → api, server
//	Run:  serves; the end of its context, or of any part, ends all of them in order: what served returns, control,
//	      partitions, what storage runs, console and listeners, flusher, quorum, index, bucket, telemetry, directory
//
// A file has what one group of parts is built with: metadata.go, tiers.go, partitions.go, replication.go, coordinators.go,
// clients.go (listeners, api, server), measured.go, tls.go; life.go is the broker's life in its cluster.
//
// What must stay true: nothing is served before every partition that the image
// places here is open or known to be damaged; a clean stop flushes and marks every log.
//
// Start reading at Open, whose steps are in order.
package broker
