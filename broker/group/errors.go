package group

import "errors"

// Decisions of the protocol. broker/api turns each into Kafka's code of the same name.
var (
	ErrInvalidGroupID        = errors.New("group id is not valid")
	ErrInvalidSessionTimeout = errors.New("session timeout is out of the broker's bounds")
	ErrUnknownMember         = errors.New("no such member in the group")
	ErrFencedInstance        = errors.New("group instance id is in use by a newer member")
	ErrIllegalGeneration     = errors.New("generation is not current")
	ErrRebalanceInProgress   = errors.New("group is rebalancing")
	ErrInconsistentProtocol  = errors.New("member's protocols do not fit the group's")
	ErrMemberIDRequired      = errors.New("join again with the member id given here")
	ErrMaxSize               = errors.New("group is full")
	ErrNotAvailable          = errors.New("coordinator is not available")
	ErrNonEmpty              = errors.New("group has members")
	ErrNotFound              = errors.New("no such group")
	ErrSubscribed            = errors.New("group is subscribed to the topic")

	// ErrTooLarge says that the group's members and assignments exceed what one metadata command may carry.
	ErrTooLarge = errors.New("group metadata is too large")
)
