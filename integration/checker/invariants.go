package checker

// Invariant names a promise that was broken.
type Invariant string

// The invariants, each with what its violation means.
const (
	// InconsistentOffset: two values were acknowledged or read at one offset.
	InconsistentOffset Invariant = "inconsistent offset"
	// Duplicate: an idempotent producer's value has two offsets.
	Duplicate Invariant = "duplicate"
	// Phantom: a record was read that nobody had sent to that partition by then, or whose bytes are not those sent.
	Phantom Invariant = "phantom"
	// FailedRead: a value was read whose send had definitely failed.
	FailedRead Invariant = "failed write read"
	// AbortedRead: a value was read whose transaction was aborted, or not yet asked to be committed.
	AbortedRead Invariant = "aborted read"
	// TornTransaction: of one transaction some values are there and some are not.
	TornTransaction Invariant = "torn transaction"
	// LostWrite: a value that was acknowledged, or read, is not found by a reader that has gone past its offset.
	LostWrite Invariant = "lost write"
	// Unseen: a value that was acknowledged, or read, lies past the end that the final read found.
	Unseen Invariant = "unseen"
	// Hole: an offset below the end holds nothing, in a topic that has only records.
	Hole Invariant = "hole"
	// PollBack: a consumer was handed an offset a second time though nobody had moved its position.
	PollBack Invariant = "poll went back"
	// PollSkip: a consumer was not handed a record that is there, between two that it was.
	PollSkip Invariant = "poll skipped"
	// SendOrder: an idempotent producer's acknowledged values lie in another order than they were sent.
	SendOrder Invariant = "send order"
	// AppendOrder: a value sent after another's acknowledgement lies before it.
	AppendOrder Invariant = "append order"
	// Cycle: sends and polls depend on each other in a circle.
	Cycle Invariant = "cycle"
	// LostCommit: a committed offset was asked for, and none of those came that may have been the last.
	LostCommit Invariant = "committed offset regressed"
	// MadeUpCommit: a committed offset is one that nobody committed.
	MadeUpCommit Invariant = "committed offset made up"
	// AbortedCommit: a committed offset is one of a transaction that was aborted.
	AbortedCommit Invariant = "committed offset of an aborted transaction"
	// DerivedTwice: two records were made of one.
	DerivedTwice Invariant = "record derived twice"
	// NotDerived: no record was made of one that lies before what the group has committed.
	NotDerived Invariant = "record not derived"
	// HalfDone: a record was made of one that lies behind what the group has committed.
	HalfDone Invariant = "record derived, offset not committed"
	// ResumeSkip: a group's member began after records that the group had not committed.
	ResumeSkip Invariant = "group skipped"
	// ResumeBack: a group's member began before what the group had committed.
	ResumeBack Invariant = "group went back"
	// TwoOwners: two members had one partition in one generation.
	TwoOwners Invariant = "two owners"
	// Unfenced: a commit of an older generation was accepted after one of a newer.
	Unfenced Invariant = "old generation accepted"
	// TwoHolders: two members of a share group had the lock of one record at one time.
	TwoHolders Invariant = "lock held twice"
	// ServedAgain: a record was given out after a member's word that it is done had been answered; a leader that was moved may do so until it hears of it.
	ServedAgain Invariant = "settled record served"
	// StartBack: where a share starts was asked for, and was told further back than before.
	StartBack Invariant = "share start went back"
	// NotServed: nobody was given a record that lies below the start of a share.
	NotServed Invariant = "record of a share lost"
)

// Invariants is all of them, in the order of reports.
var Invariants = []Invariant{
	InconsistentOffset, Duplicate, Phantom, FailedRead, AbortedRead, TornTransaction, LostWrite, Unseen, Hole, PollBack, PollSkip, SendOrder, AppendOrder, Cycle,
	LostCommit, MadeUpCommit, AbortedCommit, DerivedTwice, NotDerived, HalfDone, ResumeSkip, ResumeBack, TwoOwners, Unfenced, TwoHolders, ServedAgain, StartBack, NotServed,
}
