package command

import "github.com/qanat-io/qanat/wire/kafka"

// Transactions. A coordinator decides on the record that the image has and proposes the one that follows; broker/txn has the
// rules. What a group commits within a transaction waits beside the group's offsets, and becomes theirs in the very entry that
// decides the transaction.

// TxnState is a transaction's state, in Kafka's numbers.
type TxnState uint8

// The states. Between Prepare and Complete the outcome is certain, and markers are being written.
const (
	TxnEmpty          TxnState = 0
	TxnOngoing        TxnState = 1
	TxnPrepareCommit  TxnState = 2
	TxnPrepareAbort   TxnState = 3
	TxnCompleteCommit TxnState = 4
	TxnCompleteAbort  TxnState = 5
)

// String is the state's name as Kafka's tools show it.
func (s TxnState) String() string {
	switch s {
	case TxnEmpty:
		return "Empty"
	case TxnOngoing:
		return "Ongoing"
	case TxnPrepareCommit:
		return "PrepareCommit"
	case TxnPrepareAbort:
		return "PrepareAbort"
	case TxnCompleteCommit:
		return "CompleteCommit"
	case TxnCompleteAbort:
		return "CompleteAbort"
	}
	return "Unknown"
}

// Decided tells whether the outcome is certain and markers are still to be written.
func (s TxnState) Decided() bool { return s == TxnPrepareCommit || s == TxnPrepareAbort }

// Transaction is all that is known of a transactional id. Values are immutable, with what they point to.
type Transaction struct {
	ID string `cbor:"1,keyasint"`

	// Revision counts the changes of the record, from 1.
	Revision uint64 `cbor:"2,keyasint"`

	Producer kafka.ProducerID    `cbor:"3,keyasint"`
	Epoch    kafka.ProducerEpoch `cbor:"4,keyasint"`

	// LastProducer and LastEpoch are what the client had before the newest change of either: a request that it sends again because
	// the answer was lost still bears them. kafka.NoProducer and -1 when there is no such request.
	LastProducer kafka.ProducerID    `cbor:"5,keyasint"`
	LastEpoch    kafka.ProducerEpoch `cbor:"6,keyasint"`

	State     TxnState `cbor:"7,keyasint"`
	TimeoutMs int32    `cbor:"8,keyasint"`

	// Partitions and Groups are what the transaction has written to; Partitions go away one by one once it is complete.
	Partitions []kafka.Partition `cbor:"9,keyasint,omitempty"`
	Groups     []string          `cbor:"10,keyasint,omitempty"`

	StartedMs int64 `cbor:"11,keyasint,omitempty"` // 0: none is under way
	ChangedMs int64 `cbor:"12,keyasint"`

	// Version is the protocol that its client speaks: 2 where epochs grow with every transaction (KIP-890).
	Version uint8 `cbor:"13,keyasint,omitempty"`

	// Next is the producer id that the client gets with the next answer when the epochs of Producer are used up: the markers under
	// way still bear Producer. kafka.NoProducer: Producer stays.
	Next kafka.ProducerID `cbor:"14,keyasint"`
}

// PutTransaction replaces the record of a transactional id, or brings its first. Refused when the record that is there is not
// the one before. When the state turns from TxnOngoing to TxnPrepareCommit or TxnCompleteCommit, what the transaction has committed for
// groups becomes theirs; in any other one it is dropped.
type PutTransaction struct {
	Transaction Transaction `cbor:"1,keyasint"`

	// Coordinator is the epoch of the shard under which this was decided; 0: not fenced.
	Coordinator kafka.CoordinatorEpoch `cbor:"2,keyasint,omitempty"`
}

// DeleteTransaction forgets a transactional id, which must be at Revision and have no transaction under way.
type DeleteTransaction struct {
	ID          string                 `cbor:"1,keyasint"`
	Revision    uint64                 `cbor:"2,keyasint"`
	Coordinator kafka.CoordinatorEpoch `cbor:"3,keyasint,omitempty"`
}

// CommitTxnOffsets stores a group's offsets under a transaction, which must be under way with that producer, and have the group.
// Those of partitions that do not exist are left out. Result: []kafka.Partition, those left out; nil when none.
type CommitTxnOffsets struct {
	Group    string              `cbor:"1,keyasint"`
	ID       string              `cbor:"2,keyasint"`
	Producer kafka.ProducerID    `cbor:"3,keyasint"`
	Epoch    kafka.ProducerEpoch `cbor:"4,keyasint"`
	Offsets  []OffsetCommit      `cbor:"5,keyasint"`

	// Coordinator is the epoch of the *group's* shard under which this was decided; 0: not fenced.
	Coordinator kafka.CoordinatorEpoch `cbor:"6,keyasint,omitempty"`
}

// Kind implements Command.
func (PutTransaction) Kind() Kind { return KindPutTransaction }

// Kind implements Command.
func (DeleteTransaction) Kind() Kind { return KindDeleteTransaction }

// Kind implements Command.
func (CommitTxnOffsets) Kind() Kind { return KindCommitTxnOffsets }
