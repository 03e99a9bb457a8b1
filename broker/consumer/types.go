package consumer

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// GroupType marks this protocol's groups in the image, with Kafka's name.
const GroupType = "consumer"

// State of a consumer group, with Kafka's names.
type State uint8

const (
	Empty State = iota
	Assigning
	Reconciling
	Stable
	Dead
)

var stateNames = [...]string{"Empty", "Assigning", "Reconciling", "Stable", "Dead"}

// String is Kafka's spelling, as ListGroups and ConsumerGroupDescribe report it.
func (s State) String() string { return stateNames[s] }

// Epochs that a heartbeat may bring instead of a member's own.
const (
	Joining       int32 = 0
	Leaving       int32 = -1
	LeavingAWhile int32 = -2 // a static member whose process will be back
)

// Limits are the broker's settings for consumer groups. Shared by all groups and immutable.
type Limits struct {
	MaxSize    int      // group.consumer.max.size
	Assignors  []string // group.consumer.assignors, the default first
	MaxRegexes int      // different ones in a group: each is matched against every topic
	MaxBytes   int      // of what is kept of all members together, but for partitions
}

// DefaultLimits are Kafka's defaults; where Kafka has no limit, one that no honest client meets.
func DefaultLimits() Limits {
	return Limits{MaxSize: 1<<31 - 1, Assignors: assign.Names, MaxRegexes: 100, MaxBytes: 6 << 20}
}

// World is what a request is handled in: what there is at the moment outside of the group.
type World struct {
	Topics    image.Topics
	Session   time.Duration // a member that is silent for so long is thrown out
	Heartbeat time.Duration // how often members are asked to speak
}

// Ticket addresses a parked request. The machine hands it back, once, with the answer; what it is, is the caller's affair.
type Ticket any

// Heartbeat is ConsumerGroupHeartbeat. What is nil is as the member said last. Kept are strings and what is in Owned.
type Heartbeat struct {
	MemberID     string
	NewMemberID  string // for who joins without an id; drawn by the caller, since the machine has no randomness
	Epoch        int32
	InstanceID   *string
	Rack         *string
	ClientID     string
	ClientHost   string
	RebalanceMs  int32 // -1: as before
	Topics       []string
	Regex        *string
	Assignor     *string
	Owned        assign.Set
	HasTopics    bool // Topics is said
	HasOwned     bool // Owned is said
	NeedMemberID bool // v1+: the client draws the id
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

// Effects is what a call asks its caller to carry out. A Change must be proposed before the lock that orders the calls is released; replies may
// go out after. The zero value is ready; calls add.
type Effects struct {
	Replies []Answer
	Joins   []group.JoinReply // of members that use the classic protocol
	Syncs   []group.SyncReply
	Change  *Change
	Events  []group.Event
}

// Answer answers a parked heartbeat.
type Answer struct {
	Ticket Ticket
	Reply
}

// Change is what to make durable; its outcome is told to Persisted with the same Seq. There is one at a time.
type Change struct {
	Seq    uint64
	Put    []command.GroupPart
	Delete []string
}
