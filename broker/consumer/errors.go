package consumer

import "errors"

// Decisions of the protocol beyond those of package group, which are used where they fit. broker/api turns each into Kafka's code of the same name.
var (
	ErrFencedEpoch         = errors.New("member epoch is not the coordinator's: the member must abandon its partitions and join again")
	ErrOldRequest          = errors.New("request is older than member epochs")
	ErrStaleEpoch          = errors.New("member epoch is not current")
	ErrUnreleasedInstance  = errors.New("group instance id is in use by another member")
	ErrUnsupportedAssignor = errors.New("assignor is not supported")
	ErrInvalidRegex        = errors.New("subscription's regular expression is not valid")
	ErrInvalidRequest      = errors.New("invalid heartbeat")
)
