// Package history holds what clients did and what they were told: the only
// thing that integration/checker judges.
//
// A history is text, a line an event, so that a client in any language can write
// it and a person can read it. Every client process appends to a file of its
// own; files are joined by concatenation, in any order: only the order of one
// process's lines means something.
//
//	PROCESS TIME VERB ARGUMENT…
//
// PROCESS is a number that is never used again, not even for the same program
// started anew. TIME is CLOCK_MONOTONIC in nanoseconds, which all processes of a
// machine share (Go: Now; Java: System.nanoTime; Python: time.monotonic_ns).
//
//	begin CLIENT FLAG…                 first line of a process; flags: idempotent final transactional
//	topic NAME PARTITIONS FLAG…        what the history is about; flags: dense
//	derive GROUP SOURCES               members of this group make of each record of the first so many partitions one of another, in the
//	                                   transaction that commits the record's offset
//	send sN PARTITION [VALUE]          value PROCESS.N is about to be sent; N counts from 0; VALUE is what it was made of
//	transaction sN sM                  sends N to M are a transaction whose commit is about to be asked for
//	commit cN GROUP GENERATION P OFF   a commit is about to be sent; within a transaction it is completed when that is
//	fetch fN GROUP P                   a committed offset is about to be asked for, with RequireStable
//	ok OP [OFFSET]                     it was done: sends and fetches say the offset, -1 for none
//	fail OP CODE                       it was not done and never will be
//	unknown OP CODE                    nobody knows: timeouts, disconnects, whatever was retried
//	poll P OFFSET VALUE…               records of consecutive offsets that the application was handed
//	bad P OFFSET DETAIL                a record whose bytes are not those of any value
//	seek P OFFSET                      the position was set by the application
//	assign GROUP GENERATION OWNED NEW  a rebalance has ended: partitions owned, those of them that are new ("0,1" or "-")
//	revoke GROUP GENERATION P…         partitions given up or lost
//	final P OFFSET                     the partition was read from its beginning to this end
//	share GROUP LOCK LEASE FLAG…       members of this group share partitions (KIP-932), their locks last so many nanoseconds, and so many
//	                                   may a leader go on that was moved; flags: steady
//	join                               a member of that group begins: what it takes was given out later than this
//	take P OFFSET VALUE…               records of consecutive offsets that the member was handed, and has the locks of
//	settle aN P OFFSET KIND            what it says of one of them (accept, release, reject) is about to be sent
//	leave                              the member ends: its locks with it
//	start bN P                         where the group's share of a partition starts is about to be asked for
//	drained P OFFSET                   there is nothing more to take: the share starts at this end
//	end                                the process ended in order; without it, it crashed
//
// What must hold for the checker to be right:
//
//   - an invocation (send, commit, fetch) is in the file, as far as a killed
//     process is concerned, before anything of it leaves for the network;
//   - a completion's TIME is taken after the client was told, an invocation's
//     before it was asked;
//   - fail is written only when the operation cannot have happened and cannot
//     happen later. When in doubt: unknown;
//   - a value is sent once, to one partition. Retries are the client's;
//   - a share group is called steady only when nothing that is done to the system takes locks from their holders.
//
// A last line without its newline is that of a killed process, and void.
//
// One history is about one topic. The sends of a transactional process are
// completed when their transaction is: ok when its commit was, fail when an abort
// was asked for. So are commits that are sent within it. Who reads beside such a process reads what is committed.
//
// Start reading at history.go (what is kept), read.go (text to History),
// write.go (what the Go client uses), payload.go (how a value becomes bytes).
package history
