package command

import "github.com/qanat-io/qanat/wire/kafka"

// Share groups (KIP-932). A group's members are parts of its state (ChangeGroup); what has become of a partition's records in a group is the
// group's *share* of the partition, which the partition's leader changes. broker/share has the rules.

// ShareState is what has become of a record in a share group, in Kafka's numbers. That a member holds a record is not durable: who leads next
// gives it out again.
type ShareState uint8

// The states.
const (
	ShareAvailable    ShareState = 0
	ShareAcknowledged ShareState = 2
	ShareArchived     ShareState = 4
)

// Done tells whether the record is never given out again.
func (s ShareState) Done() bool { return s == ShareAcknowledged || s == ShareArchived }

// ShareRun is a run of offsets [First, Next) of which the same has become.
type ShareRun struct {
	First      kafka.Offset `cbor:"1,keyasint"`
	Next       kafka.Offset `cbor:"2,keyasint"`
	State      ShareState   `cbor:"3,keyasint,omitempty"`
	Deliveries int16        `cbor:"4,keyasint,omitempty"` // how often it was given out
}

// MaxShareRuns bounds the runs of one share.
const MaxShareRuns = 1 << 15

// ChangeShare changes a group's share of a partition, or brings its first: its start moves on, and runs replace what there was of their offsets.
// Refused unless LeaderEpoch is the partition's and the share is at the version on which this was decided: of a leader that was replaced, or a
// decision on a state that never came to be, nothing is left. The group must be a share group. Result: uint64, the share's version.
type ChangeShare struct {
	Group       string            `cbor:"1,keyasint"`
	Partition   kafka.Partition   `cbor:"2,keyasint"`
	LeaderEpoch kafka.LeaderEpoch `cbor:"3,keyasint"`
	Base        uint64            `cbor:"4,keyasint,omitempty"` // the version; 0: there is none
	Start       kafka.Offset      `cbor:"5,keyasint"`           // everything below is done; it never goes back
	Put         []ShareRun        `cbor:"6,keyasint,omitempty"` // in order, none below Start
}

// ResetShares has a share group begin anew at offsets, or forget its shares of topics: an administrator's. The group must be a share group.
type ResetShares struct {
	Group  string          `cbor:"1,keyasint"`
	Starts []ShareStart    `cbor:"2,keyasint,omitempty"`
	Forget []kafka.TopicID `cbor:"3,keyasint,omitempty"`

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced.
	Coordinator kafka.CoordinatorEpoch `cbor:"4,keyasint,omitempty"`
}

// ShareStart is where a share begins.
type ShareStart struct {
	Partition kafka.Partition `cbor:"1,keyasint"`
	Start     kafka.Offset    `cbor:"2,keyasint"`
}

// Kind implements Command.
func (ChangeShare) Kind() Kind { return KindChangeShare }

// Kind implements Command.
func (ResetShares) Kind() Kind { return KindResetShares }
