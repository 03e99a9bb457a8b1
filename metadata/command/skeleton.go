package command

import (
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Command is one change. Which ones exist is listed here, once; each has a type number and a version in its encoding.
type Command interface{ Kind() Kind }

type Kind uint16

// Envelope travels with a command: who proposes, for fencing and for applying retries once.
type Envelope struct {
	Broker      kafka.BrokerID
	BrokerEpoch kafka.BrokerEpoch
	Request     uint64 // per broker incarnation, growing; 0: not deduplicated
	TimeMs      int64  // the proposer's clock; Apply has none
}

type Endpoint struct {
	Listener, Host string
	Port           int32
	Security       string
}

// RegisterBroker makes its broker's epoch the entry's index.
type RegisterBroker struct {
	ID          kafka.BrokerID
	Incarnation [16]byte
	Rack        string
	Endpoints   []Endpoint
	Version     string
}

type CreateTopic struct {
	ID         kafka.TopicID
	Name       string
	Partitions [][]kafka.BrokerID // replicas of each; the first is preferred
	Configs    map[string]string
}
type DeleteTopic struct{ ID kafka.TopicID }
type AddPartitions struct {
	ID       kafka.TopicID
	From     int32 // current count: compare-and-set
	Replicas [][]kafka.BrokerID
}

// ResourceType is Kafka's ConfigResource.Type: 2 topic, 4 broker, 32 group, 16 client metrics.
type ResourceType int8

type SetConfigs struct {
	Type   ResourceType
	Name   string // topic name, broker id or "" for the cluster default, group
	Set    map[string]string
	Delete []string
}

// ElectLeaders starts leaderships: each named partition gets Leader at its leader epoch + 1, if Expected is still its partition epoch.
type ElectLeaders struct{ Elections []Election }
type Election struct {
	Partition kafka.Partition
	Leader    kafka.BrokerID
	ISR       []kafka.BrokerID
	Expected  kafka.PartitionEpoch
}

type CommitSegment struct {
	Partition kafka.Partition
	Entry     manifest.Entry // Entry.Epoch must be the partition's leader epoch
}
type TrimLog struct {
	Partition kafka.Partition
	Epoch     kafka.LeaderEpoch
	Start     kafka.Offset // new log start offset, only forward
}
type AllocateProducerIDs struct{ Count int32 } // result: first id of the block

type OffsetCommit struct {
	Partition   kafka.Partition
	Offset      kafka.Offset
	LeaderEpoch kafka.LeaderEpoch
	Metadata    string
	ExpireMs    int64 // 0: by the group's retention
}
type CommitOffsets struct {
	Group   string
	Offsets []OffsetCommit
}
type DeleteOffsets struct {
	Group      string
	Partitions []kafka.Partition
}

// PutGroup replaces a group's durable state (members, generation, assignments), encoded by broker/group and opaque here.
// State nil: the group is gone but for its offsets.
type PutGroup struct {
	Group string
	Type  string // classic, consumer, share, streams
	State []byte
}
type DeleteGroup struct{ Group string } // and its offsets
