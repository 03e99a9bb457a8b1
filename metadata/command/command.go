package command

import (
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Command is one change. Which ones exist is listed in kind.go, once; each has
// a number and a version in its encoding. Commands are values, not pointers,
// and are not changed once proposed.
type Command interface{ Kind() Kind }

// Envelope travels with a command: who proposes, for fencing and for applying
// retries once.
type Envelope struct {
	// Broker proposes; kafka.NoBroker for a tool that is none.
	Broker kafka.BrokerID

	// BrokerEpoch is what the broker believes its epoch to be: when it is no
	// longer, the command is refused. 0: not registered yet, unfenced.
	BrokerEpoch kafka.BrokerEpoch

	// Session is drawn at random when the proposing process starts. Requests
	// are numbered within it.
	Session uint64

	// Request numbers the session's commands from 1, in the order of their
	// application; a number that was applied before is not applied again.
	// 0: not deduplicated.
	Request uint64

	// TimeMs is the proposer's clock; Apply has none.
	TimeMs int64
}

// FormCluster names the cluster, once. It is the first command of every log.
type FormCluster struct {
	ClusterID string `cbor:"1,keyasint"`
}

// RegisterBroker makes its broker's epoch the entry's index. Registering the
// same incarnation again renews what it says of itself and keeps epoch and
// state. Version 2 brought what a cluster of several needs.
// Result: kafka.BrokerEpoch.
type RegisterBroker struct {
	ID          kafka.BrokerID `cbor:"1,keyasint"`
	Incarnation [16]byte       `cbor:"2,keyasint"`
	Rack        string         `cbor:"3,keyasint"`
	Endpoints   []Endpoint     `cbor:"4,keyasint"`
	Version     string         `cbor:"5,keyasint"`

	// Directory is the identity of the data directory. Another one under the
	// same id has none of the data that the first had. Zero: not known.
	Directory [16]byte `cbor:"6,keyasint"`

	// Cluster is the host:port at which other brokers reach this one; "" when it has no such listener.
	Cluster string `cbor:"7,keyasint,omitempty"`

	// Unclean says that the directory was not closed cleanly: what `async`
	// topics had acknowledged may be missing.
	Unclean bool `cbor:"8,keyasint,omitempty"`

	// Fenced brokers begin as Fenced and say themselves when they are Active; the others are so at once.
	Fenced bool `cbor:"9,keyasint,omitempty"`
}

// Endpoint is where a broker listens.
type Endpoint struct {
	Listener string `cbor:"1,keyasint"`
	Host     string `cbor:"2,keyasint"`
	Port     int32  `cbor:"3,keyasint"`
	Security string `cbor:"4,keyasint"` // PLAINTEXT, SSL, …
}

// CreateTopic brings a topic with its first partitions: each with leader epoch
// 0, all replicas in sync, and the first replica as its leader.
type CreateTopic struct {
	ID         kafka.TopicID      `cbor:"1,keyasint"`
	Name       string             `cbor:"2,keyasint"`
	Partitions [][]kafka.BrokerID `cbor:"3,keyasint"` // replicas of each; the first is preferred
	Configs    map[string]string  `cbor:"4,keyasint"`
}

// DeleteTopic removes a topic, its partitions, its configs, and what groups
// have committed for it.
type DeleteTopic struct {
	ID kafka.TopicID `cbor:"1,keyasint"`
}

// AddPartitions grows a topic.
type AddPartitions struct {
	ID       kafka.TopicID      `cbor:"1,keyasint"`
	From     int32              `cbor:"2,keyasint"` // current count: compare-and-set
	Replicas [][]kafka.BrokerID `cbor:"3,keyasint"`
}

// ResourceType is Kafka's ConfigResource.Type.
type ResourceType int8

const (
	Topic         ResourceType = 2
	Broker        ResourceType = 4
	ClientMetrics ResourceType = 16
	Group         ResourceType = 32

	// ClientQuota is none of Kafka's: it has requests of its own for them. Names are as broker/quota makes them.
	ClientQuota ResourceType = 64
)

// SetConfigs changes a resource's overrides. A key stands in Set or in Delete, not in both.
type SetConfigs struct {
	Type   ResourceType      `cbor:"1,keyasint"`
	Name   string            `cbor:"2,keyasint"` // topic name, broker id or "" for the cluster default, group
	Set    map[string]string `cbor:"3,keyasint"`
	Delete []string          `cbor:"4,keyasint"`
}

// ElectLeaders starts leaderships: each named partition gets Leader at its
// leader epoch + 1, if Expected is still its partition epoch. Elections whose
// partition has moved on, or is gone, are left out; the others happen.
// Result: []kafka.Partition, those left out; nil when none.
type ElectLeaders struct {
	Elections []Election `cbor:"1,keyasint"`
}

// Election is one of ElectLeaders.
type Election struct {
	Partition kafka.Partition      `cbor:"1,keyasint"`
	Leader    kafka.BrokerID       `cbor:"2,keyasint"`
	ISR       []kafka.BrokerID     `cbor:"3,keyasint"`
	Expected  kafka.PartitionEpoch `cbor:"4,keyasint"`

	// ELR: see ISRChange. Version 2, like Unclean.
	ELR []kafka.BrokerID `cbor:"5,keyasint,omitempty"`

	// Unclean elections may take a leader, and an ISR, from outside of ISR
	// and ELR: acknowledged records may be lost. Only where the topic says so.
	Unclean bool `cbor:"6,keyasint,omitempty"`
}

// CommitSegment adds an uploaded segment to its partition's manifest.
type CommitSegment struct {
	Partition kafka.Partition `cbor:"1,keyasint"`
	Entry     manifest.Entry  `cbor:"2,keyasint"` // Entry.Epoch must be the partition's leader epoch
}

// TrimLog moves a log's start; a start that is not ahead changes nothing.
// Result: kafka.Offset, the start that holds now.
type TrimLog struct {
	Partition kafka.Partition   `cbor:"1,keyasint"`
	Epoch     kafka.LeaderEpoch `cbor:"2,keyasint"`
	Start     kafka.Offset      `cbor:"3,keyasint"` // new log start offset, only forward
}

// AllocateProducerIDs hands out a block of Count ids. Result: kafka.ProducerID, the block's first.
type AllocateProducerIDs struct {
	Count int32 `cbor:"1,keyasint"`
}

// OffsetCommit is one partition's committed offset.
type OffsetCommit struct {
	Partition   kafka.Partition   `cbor:"1,keyasint"`
	Offset      kafka.Offset      `cbor:"2,keyasint"`
	LeaderEpoch kafka.LeaderEpoch `cbor:"3,keyasint"`
	Metadata    string            `cbor:"4,keyasint,omitempty"`
	ExpireMs    int64             `cbor:"5,keyasint,omitempty"` // 0: by the group's retention
}

// CommitOffsets stores a group's offsets. Those of partitions that do not
// exist (a topic deleted meanwhile) are left out.
// Result: []kafka.Partition, those left out; nil when none.
type CommitOffsets struct {
	Group   string         `cbor:"1,keyasint"`
	Offsets []OffsetCommit `cbor:"2,keyasint"`

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced. Version 2.
	Coordinator kafka.CoordinatorEpoch `cbor:"3,keyasint,omitempty"`
}

// DeleteOffsets forgets a group's offsets of the named partitions.
type DeleteOffsets struct {
	Group      string            `cbor:"1,keyasint"`
	Partitions []kafka.Partition `cbor:"2,keyasint"`

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced. Version 2.
	Coordinator kafka.CoordinatorEpoch `cbor:"3,keyasint,omitempty"`
}

// PutGroup replaces a group's durable state (members, generation,
// assignments), encoded by broker/group and opaque here. State nil: the group
// is gone but for its offsets.
type PutGroup struct {
	Group string `cbor:"1,keyasint"`
	Type  string `cbor:"2,keyasint"` // classic, consumer, share, streams
	State []byte `cbor:"3,keyasint"`

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced. Version 2.
	Coordinator kafka.CoordinatorEpoch `cbor:"4,keyasint,omitempty"`
}

// DeleteGroup removes a group and its offsets.
type DeleteGroup struct {
	Group string `cbor:"1,keyasint"`

	// Coordinator is the epoch of the group's shard under which this was decided; 0: not fenced. Version 2.
	Coordinator kafka.CoordinatorEpoch `cbor:"2,keyasint,omitempty"`
}
