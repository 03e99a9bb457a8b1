package command

import "github.com/qanat-io/qanat/wire/kafka"

// ChangeGroup changes parts of a group's durable state, each known by a key, and leaves the others as they are: what a change of a large group
// costs is in proportion to the change. Keys and values are made by the group's protocol and opaque here. A group of another type, or one whose
// state is a whole (PutGroup), is replaced. A group without parts is gone but for its offsets.
//
// It is compare-and-set on the version of the group, which is the index of the last entry that changed parts of it: what was decided on a state
// that never came to be changes nothing.
type ChangeGroup struct {
	Group  string      `cbor:"1,keyasint"`
	Type   string      `cbor:"2,keyasint"`           // consumer, share, streams
	Base   uint64      `cbor:"3,keyasint,omitempty"` // the version on which this was decided; 0: the group has no parts
	Put    []GroupPart `cbor:"4,keyasint,omitempty"`
	Delete []string    `cbor:"5,keyasint,omitempty"` // keys; those that are not there are no error

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced.
	Coordinator kafka.CoordinatorEpoch `cbor:"6,keyasint,omitempty"`
}

// GroupPart is one part of a group's state.
type GroupPart struct {
	Key   string `cbor:"1,keyasint"`
	Value []byte `cbor:"2,keyasint"`
}

// Kind implements Command.
func (ChangeGroup) Kind() Kind { return KindChangeGroup }
