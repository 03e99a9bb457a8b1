package share

import "errors"

// Decisions of the protocol beyond those of package group, which are used where they fit. broker/api turns each into Kafka's code of the same name.
var (
	ErrInvalidRequest  = errors.New("invalid request of a share consumer")
	ErrFencedEpoch     = errors.New("member epoch is not the coordinator's: the member joins again")
	ErrRecordState     = errors.New("record is not locked for this member")
	ErrSessionNotFound = errors.New("no such share session")
	ErrSessionEpoch    = errors.New("share session epoch is not the one expected")
	ErrSessionLimit    = errors.New("too many share sessions")
)
