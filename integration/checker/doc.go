// Package checker says whether a history could have happened to clients of a
// system that keeps its promises. It is pure: a history goes in, verdicts come
// out; it knows no broker, no network and no clock.
//
//	history ─► logs (what each offset held) ─► content   one value an offset, one offset a value, nothing made up
//	                                        ├► reading   positions neither go back nor skip; the final read finds all
//	                                        ├► appends   a producer's own order, and real time
//	                                        ├► groups    committed offsets, resumed positions, owners, fencing
//	                                        ├► derived   one record made of each that a group has consumed, and committed
//	                                        ├► shares    who had the lock of a record, what was said of it, whether everything was given out
//	                                        └► cycles    the dependency graph of all sends and polls
//
// The invariants are those of Jepsen's kafka workload and a few that Kafka's
// protocol allows to be sharper about; invariants.go lists them with what each
// of them takes for granted. The rule for all of them: an operation whose outcome
// is unknown may have happened, at any time after it was begun, or not; only what
// no such choice explains is a violation. So that these are no alarms:
//
//   - a commit that timed out and is applied later, over a newer one, while the
//     same generation lasts (seen with a paused coordinator);
//   - records that a consumer had fetched before they were polled: a poll happens
//     at the moment when it returns, and finding nothing means nothing;
//   - gaps in offsets, when the topic may hold transaction markers;
//   - a producer without idempotence that writes a record twice;
//   - a record of a share group that is given out again, as long as nobody's word on it was answered; or, to a member that had it
//     before that, handed to the application after.
//
// The drivers must do their part (integration/history says which): ask for
// committed offsets with RequireStable, or a resumed coordinator's stale answer
// looks like a lost commit; ask for end offsets from the current leader; never
// take an error after a retry for a definite failure.
//
// A verdict of "nothing found" is worth what was looked at: Report.Stats counts
// it, and Report.Unfinished says what could not be judged, such as a partition
// that nobody read to its end. A harness that wants to pass must look at both.
//
// What is not in a history is judged by integration/probe at the end of a run:
// replicas, the bucket, the index.
//
// Start reading at checker.go.
package checker
