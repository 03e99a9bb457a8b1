package streams

import (
	"cmp"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// GroupType marks this protocol's groups in the image, with Kafka's name. It is also their protocol type.
const GroupType = "streams"

// State of a streams group, with Kafka's names.
type State uint8

const (
	Empty State = iota
	NotReady
	Assigning
	Reconciling
	Stable
	Dead
)

var stateNames = [...]string{"Empty", "NotReady", "Assigning", "Reconciling", "Stable", "Dead"}

// String is Kafka's spelling, as ListGroups and StreamsGroupDescribe report it.
func (s State) String() string { return stateNames[s] }

// Epochs that a heartbeat may bring instead of a member's own.
const (
	Joining       int32 = 0
	Leaving       int32 = -1
	LeavingAWhile int32 = -2 // of a static member, of which there are none
)

// Task is one partition's work of a subtopology. Sub is the subtopology's place in the topology.
type Task struct{ Sub, Index int32 }

// Compare orders by subtopology, then partition.
func (t Task) Compare(o Task) int {
	if c := cmp.Compare(t.Sub, o.Sub); c != 0 {
		return c
	}
	return cmp.Compare(t.Index, o.Index)
}

// Tasks are tasks in order.
type Tasks = assign.Sorted[Task]

// Assignment is a member's tasks.
type Assignment struct{ Active, Standby Tasks }

func (a Assignment) empty() bool { return len(a.Active) == 0 && len(a.Standby) == 0 }
func (a Assignment) equal(o Assignment) bool {
	return a.Active.Equal(o.Active) && a.Standby.Equal(o.Standby)
}
func (a Assignment) minus(o Assignment) Assignment {
	return Assignment{a.Active.Minus(o.Active), a.Standby.Minus(o.Standby)}
}
func (a Assignment) and(o Assignment) Assignment {
	return Assignment{a.Active.And(o.Active), a.Standby.And(o.Standby)}
}
func (a Assignment) or(o Assignment) Assignment {
	return Assignment{a.Active.Or(o.Active), a.Standby.Or(o.Standby)}
}
func (a Assignment) has(t Task) bool { return a.Active.Has(t) || a.Standby.Has(t) }
func (a Assignment) meets(o Assignment) bool {
	return a.Active.Meets(o.Active) || a.Standby.Meets(o.Standby)
}
func (a Assignment) within(o Assignment) bool {
	return a.Active.Within(o.Active) && a.Standby.Within(o.Standby)
}

// Limits are the broker's settings for streams groups. Shared by all groups and immutable.
type Limits struct {
	MaxSize          int // group.streams.max.size
	MaxBytes         int // of what is kept of all members together, but for their tasks
	MaxTopology      int // bytes of a topology's durable form
	MaxSubtopologies int
	MaxInternal      int // repartition topics and changelogs of a topology
	MaxTasks         int // of a topology, without standbys
}

// DefaultLimits are Kafka's defaults; where Kafka has no limit, one that no honest client meets.
func DefaultLimits() Limits {
	return Limits{MaxSize: 1<<31 - 1, MaxBytes: 6 << 20, MaxTopology: 512 << 10, MaxSubtopologies: 1000, MaxInternal: 5000, MaxTasks: 1 << 16}
}

// World is what a request is handled in: what there is at the moment outside of the group.
type World struct {
	Topics    image.Topics
	Session   time.Duration // a member that is silent for so long is thrown out
	Heartbeat time.Duration // how often members are asked to speak
	Delay     time.Duration // how long the first members of a group wait for others before tasks are assigned
	Interval  time.Duration // between two target assignments
	Standbys  int           // of each task that has a state
}

// Ticket addresses a parked request. The machine hands it back, once, with the answer; what it is, is the caller's affair.
type Ticket any

// Heartbeat is StreamsGroupHeartbeat. What is nil is as the member said last.
type Heartbeat struct {
	MemberID      string
	Epoch         int32
	EndpointEpoch int32 // of what the member knows of the others' endpoints
	InstanceID    *string
	Rack          *string
	ClientID      string
	ClientHost    string
	RebalanceMs   int32     // -1: as before
	Topology      *Topology // as it was sent: see Topology.normal
	Owned         Owned
	Process       *string
	Endpoint      *Endpoint
	Tags          []Pair
	HasTags       bool // Tags is said
	HasOffsets    bool // offsets of tasks are said
	Shutdown      bool // the whole application is to stop
}

// Owned is which tasks a member says that it has. The lists count where they are said.
type Owned struct {
	Active, Standby, Warmup          []TaskIDs
	HasActive, HasStandby, HasWarmup bool
}

// TaskIDs are tasks of one subtopology.
type TaskIDs struct {
	Subtopology string
	Partitions  []int32
}

// Endpoint is where a member's process answers queries of its state.
type Endpoint struct {
	Host string `cbor:"1,keyasint"`
	Port uint16 `cbor:"2,keyasint"`
}

// Pair is a key with its value.
type Pair struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// Status tells a member that something of its group is not as it should be.
type Status struct {
	Code   StatusCode
	Detail string
}

// StatusCode has Kafka's numbers.
type StatusCode int8

const (
	StaleTopology StatusCode = iota
	MissingSourceTopics
	IncorrectlyPartitionedTopics
	MissingInternalTopics
	ShutdownApplication
	AssignmentDelayed
)

// Reply is the answer to a heartbeat. Assignment counts when Assigned; Topology names its subtopologies.
type Reply struct {
	Err           error
	MemberID      string
	Epoch         int32
	Interval      time.Duration
	Status        []Status
	Assigned      bool
	Assignment    Assignment
	Topology      *Topology
	Create        []NewTopic // internal topics that are missing: whoever answers creates them
	EndpointEpoch int32
	Told          bool // Endpoints is all that there are; else the member knows them
	Endpoints     []EndpointPartitions
}

// EndpointPartitions is which partitions a process has the state of.
type EndpointPartitions struct {
	Endpoint
	Active, Standby []TopicPartitions
}

// TopicPartitions are partitions of a topic.
type TopicPartitions struct {
	Topic      string
	Partitions []int32
}

// NewTopic is an internal topic to create. Replicas 0: the broker's default.
type NewTopic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Configs    []Pair
}

// Effects is what a call asks its caller to carry out. A Change must be proposed before the lock that orders the calls is released; replies may
// go out after. The zero value is ready; calls add.
type Effects struct {
	Replies []Answer
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
