// Package shareleader runs the share machines (share.Partition) of the partitions that this broker leads: it reads the log where a machine wants
// it to be read, hands out what that finds, makes durable what has become of records, and wakes who waits.
//
//	ShareFetch ─▶ session ─▶ share: where? ─▶ partition.Read ─▶ share: whose? ─▶ records and their locks
//	                           │  ▲                                  │
//	            nothing: waits │  └─ woken, one at a time ◀──────────┤ released, durable, produced
//	                           ▼                                     ▼
//	ShareAcknowledge ─▶ share machine ─▶ Change ─▶ Quorum.ProposeAsync(ChangeShare) ─▶ applied ─▶ inbox ─▶ machine ─▶ answers
//	                                       └ one under way for each share: what comes meanwhile is the next one
//
// What must stay true:
//
//   - A share is made from an image that shows this broker's leadership, and every change of it carries that leader epoch and the
//     version on which it was decided. So whatever a leader that was replaced decides is refused, and the next leader has seen everything
//     that was not.
//
//   - A broker that is cut off gives nothing out (Config.Leased): who leads in its place gives the same records out, and is told
//     what becomes of them. Where a leader is moved while its broker is well, both may for a moment: until that broker has heard
//     of it, or its lease ends.
//
//   - A share whose change was refused, or of which nobody knows, is dropped and made anew from the image. Who waits for it is told.
//
//   - The log is read by one at a time for each share, and no lock is held meanwhile: hundreds of consumers on a partition read it
//     once, each its part.
//
//   - Callbacks of the quorum take no share's lock: they leave a note for Run. News of partitions take a leaf lock only.
//
//   - Where nobody has asked for long and nothing is locked, nothing is in memory.
//
// Start reading at Leader.Fetch (fetch.go); entry.go is one share, run.go the loop, sessions.go what a consumer has subscribed to here.
package shareleader
