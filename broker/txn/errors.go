package txn

import "errors"

// Decisions; broker/api turns them into Kafka's codes.
var (
	// ErrUnknownProducer says that the transactional id is not known, or has another producer id.
	ErrUnknownProducer = errors.New("the transactional id is not known to have this producer id")

	// ErrFenced says that another client has taken the transactional id over, or that the coordinator has ended its transaction.
	ErrFenced = errors.New("another epoch of the producer has the transactional id")

	// ErrConcurrent says that the transaction before is still being ended: the same request succeeds a little later.
	ErrConcurrent = errors.New("the transaction before is not ended everywhere yet")

	// ErrState says that the transaction cannot take this turn.
	ErrState = errors.New("the transaction is not in the state that this needs")

	// ErrTooLarge says that the transaction would have more than it may, see maxBytes. What it has is untouched, and can be ended.
	ErrTooLarge = errors.New("the transaction has written to as many partitions and groups as it may: end it, and begin another")

	// ErrNotEnlisted says that the transaction does not have the partition.
	ErrNotEnlisted = errors.New("the partition was not added to the transaction")
)
