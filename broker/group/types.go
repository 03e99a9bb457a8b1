package group

import (
	"strings"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
)

// State of a classic group, with Kafka's names.
type State uint8

const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String is Kafka's spelling, as ListGroups and DescribeGroups report it.
func (s State) String() string { return stateNames[s] }

// ConsumerType is the protocol type whose subscriptions the broker can read.
const ConsumerType = "consumer"

// Limits are the broker's settings for classic groups. Shared by all groups and immutable.
type Limits struct {
	MaxSize       int           // group.max.size
	MinSession    time.Duration // group.min.session.timeout.ms
	MaxSession    time.Duration // group.max.session.timeout.ms
	InitialDelay  time.Duration // group.initial.rebalance.delay.ms
	NewMemberJoin time.Duration // how long a member's very first join may stay parked
	MaxPending    int           // member ids handed out and not yet used, per group
	MaxBytes      int           // metadata and assignments of all members together
	MaxProtocols  int           // of one member: each join, and each election, goes through all of them, and others of the shard wait
}

// Check refuses what no group takes of a member that speaks the classic protocol, whatever protocol the group is of.
func (l *Limits) Check(r *JoinRequest) error {
	switch {
	case r.Session < l.MinSession || r.Session > l.MaxSession:
		return ErrInvalidSessionTimeout
	case len(r.Protocols) > l.MaxProtocols:
		return ErrTooLarge
	}
	return nil
}

// Blank tells whether there is nothing to see of a name: Kafka takes it for none.
func Blank(s string) bool { return strings.TrimSpace(s) == "" }

// DefaultLimits are Kafka's defaults; where Kafka has no limit, one that no honest client meets.
func DefaultLimits() Limits {
	return Limits{
		MaxSize:       10_000,
		MinSession:    6 * time.Second,
		MaxSession:    30 * time.Minute,
		InitialDelay:  3 * time.Second,
		NewMemberJoin: 5 * time.Minute,
		MaxPending:    10_000,
		MaxBytes:      6 << 20, // a metadata command holds 8 MiB
		MaxProtocols:  1000,
	}
}

// Ticket addresses a parked request. The machine hands it back, once, with the answer; what it is, is the caller's affair. Never nil.
type Ticket any

// Protocol is one way of assigning that a member supports, with what it tells the leader.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinRequest is JoinGroup. Byte slices are copied where they are kept.
type JoinRequest struct {
	MemberID    string // "" at the first join
	NewMemberID string // the id to use then; drawn by the caller, since the machine has no randomness
	InstanceID  string // "" for dynamic members
	ClientID    string
	ClientHost  string
	Session     time.Duration
	Rebalance   time.Duration
	Type        string
	Protocols   []Protocol
	Reason      string

	RequireKnownID bool // v4+: answer a first join with MEMBER_ID_REQUIRED
	SkipAssignment bool // v9+: the client understands SkipAssignment
}

// JoinResult is the answer to a join. Err nil: the member is in Generation.
type JoinResult struct {
	Err            error
	MemberID       string
	Generation     int32
	Type           string
	Protocol       string
	Leader         string
	SkipAssignment bool
	Members        []JoinedMember // for the leader only
}

// JoinedMember is what the leader is told of a member.
type JoinedMember struct {
	ID, InstanceID string
	Metadata       []byte
}

// SyncRequest is SyncGroup. Nil Type or Protocol are not checked (before v5).
type SyncRequest struct {
	MemberID, InstanceID string
	Generation           int32
	Type, Protocol       *string
	Assignments          []Assignment // from the leader
}

// Assignment is what one member is to do.
type Assignment struct {
	MemberID string
	Data     []byte
}

// SyncResult is the answer to a sync.
type SyncResult struct {
	Err        error
	Type       string
	Protocol   string
	Assignment []byte
}

// Identity names the sender of a heartbeat or an offset commit.
type Identity struct {
	MemberID, InstanceID string
	Generation           int32

	// Old: the request is of a version in which Generation is never a member's epoch (KIP-848); no member of the consumer protocol sends it.
	Old bool

	// Offsets are what it commits; nil where that does not matter.
	Offsets []command.OffsetCommit
}

// Leaver is one member of a LeaveGroup. MemberID "" with an InstanceID: removal by an administrator.
type Leaver struct{ MemberID, InstanceID, Reason string }

// Effects is what a call asks its caller to carry out. Persists must be proposed before the lock that orders the
// calls is released; replies may go out after. The zero value is ready; calls append.
type Effects struct {
	Joins    []JoinReply
	Syncs    []SyncReply
	Persists []Persist
	Events   []Event
}

// JoinReply and SyncReply answer parked requests.
type JoinReply struct {
	Ticket Ticket
	JoinResult
}
type SyncReply struct {
	Ticket Ticket
	SyncResult
}

// Persist is a state to make durable; its outcome is told to Persisted with the same Seq.
type Persist struct {
	Seq   uint64
	State []byte
}

// Event is a fact worth a log line.
type Event struct {
	Kind       EventKind
	Member     string
	Reason     string
	Generation int32
	Members    int
}

// EventKind says what happened.
type EventKind uint8

const (
	RebalanceStarted EventKind = iota
	GenerationStarted
	GroupStable
	GroupEmptied
	MemberFailed
	MemberLeft
	InstanceReplaced
	MemberUnfit // refused: its protocols do not fit the group's, which clients take for final
)

var eventNames = [...]string{
	"group rebalance started", "group generation started", "group stable", "group emptied",
	"group member failed", "group member left", "group static member replaced",
	"group member refused",
}

// String is a log message.
func (k EventKind) String() string { return eventNames[k] }
