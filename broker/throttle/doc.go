// Package throttle bounds how fast replicas that are not in sync are copied, so that moving data does not take the network and the
// disks away from those who produce and consume.
//
//	leader.replication.throttled.rate    a broker's, of what it sends for    leader.replication.throttled.replicas     (topic)
//	follower.replication.throttled.rate  a broker's, of what it fetches for  follower.replication.throttled.replicas   (topic)
//	cluster.moves.max.bytes.per.second   every broker's, of both, for replicas that a reassignment adds
//
// The first two are Kafka's (KIP-73), and its tools set them. The last is Qanat's own: one setting for all that is moved, which the
// controller takes back when nothing is moved any more.
//
// A replica that is in the ISR is never held back, listed or not, and what it fetches does not use up the quota (Kafka counts it): to
// slow it down would slow down every acks=all.
//
// Start reading at Replication.
package throttle
