// Package assign divides partitions among the members of a consumer group
// (KIP-848's server-side assignors), purely.
//
//	members, their topics, what they had ─▶ Uniform or Range ─▶ a Set for each
//
// What must stay true:
//
//   - Every partition of a topic that somebody subscribes to goes to exactly
//     one member, and that member subscribes to the topic.
//   - The same input gives the same answer: no clock, no randomness, no map order.
//   - Uniform: when all subscribe to the same topics, nobody has two more than
//     another, and no partition moves that balance does not ask to. Else: no
//     partition can move to a subscriber that has at least two less.
//   - Range is Kafka's, partition for partition, so that topics with the same
//     number of partitions meet in the same member.
//
// Share groups divide otherwise, but have their partitions as Sets too, and keep
// them in the same form (runs.go). What a streams group gives out are tasks; they
// are Sorted as well (set.go).
//
// Start reading at Set (set.go), then uniform.go.
package assign
