package share

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// GroupType marks share groups in the image, with Kafka's name. It is also their protocol type.
const GroupType = image.ShareGroup

// State of a share group, with Kafka's names.
type State uint8

const (
	Empty State = iota
	Stable
	Dead
)

var stateNames = [...]string{"Empty", "Stable", "Dead"}

// String is Kafka's spelling, as ListGroups and ShareGroupDescribe report it.
func (s State) String() string { return stateNames[s] }

// Epochs that a heartbeat may bring instead of a member's own.
const (
	Joining int32 = 0
	Leaving int32 = -1
)

// GroupLimits are the broker's settings for share groups. Shared by all groups and immutable.
type GroupLimits struct {
	MaxSize  int // group.share.max.size
	MaxBytes int // of all members' subscriptions together
}

// DefaultGroupLimits are Kafka's; where Kafka has no limit, one that no honest client meets.
func DefaultGroupLimits() GroupLimits { return GroupLimits{MaxSize: 200, MaxBytes: 6 << 20} }

// World is what a request is handled in: what there is at the moment outside of the group.
type World struct {
	Topics    image.Topics
	Session   time.Duration // a member that is silent for so long is thrown out
	Heartbeat time.Duration // how often members are asked to speak
}

// Ticket addresses a parked request. The machine hands it back, once, with the answer; what it is, is the caller's affair.
type Ticket any

// Heartbeat is ShareGroupHeartbeat. What is nil is as the member said last.
type Heartbeat struct {
	MemberID   string
	Epoch      int32
	Rack       *string
	ClientID   string
	ClientHost string
	Topics     []string
	HasTopics  bool // Topics is said
}

// Reply is the answer to a heartbeat. Assignment counts when Assigned.
type Reply struct {
	Err        error
	MemberID   string
	Epoch      int32
	Interval   time.Duration
	Assigned   bool
	Assignment assign.Set
}

// Effects is what a call of a group asks its caller to carry out. A Change must be proposed before the lock that orders the calls is released;
// replies may go out after. The zero value is ready; calls add.
type Effects struct {
	Replies []Answer
	Change  *GroupChange
	Events  []group.Event
}

// Answer answers a parked heartbeat.
type Answer struct {
	Ticket Ticket
	Reply
}

// GroupChange is what of a group to make durable; its outcome is told to Persisted with the same Seq. There is one at a time.
type GroupChange struct {
	Seq    uint64
	Put    []command.GroupPart
	Delete []string
}
