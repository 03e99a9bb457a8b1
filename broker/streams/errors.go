package streams

import "errors"

// Decisions of the protocol beyond those of package group, which are used where they fit. broker/api turns each into Kafka's code of the same name.
var (
	ErrInvalidRequest       = errors.New("invalid heartbeat of a streams member")
	ErrFencedEpoch          = errors.New("member epoch is not the coordinator's: the member must abandon its tasks and join again")
	ErrStaleEpoch           = errors.New("member epoch is not current")
	ErrOldRequest           = errors.New("request is older than member epochs")
	ErrInvalidTopology      = errors.New("topology is not valid")
	ErrInvalidTopologyEpoch = errors.New("topology epoch is not valid")
)
