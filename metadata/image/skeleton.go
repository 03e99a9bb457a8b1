package image

import (
	"errors"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Refusals that Apply decides; returned to the proposer as its result.
var (
	ErrTopicExists      = errors.New("topic already exists")
	ErrUnknownTopic     = errors.New("no such topic")
	ErrUnknownPartition = errors.New("no such partition")
	ErrPartitionCount   = errors.New("partition count changed meanwhile")
	ErrStaleEpoch       = errors.New("epoch is not current")
	ErrUnknownGroup     = errors.New("no such group")
	ErrFenced           = errors.New("broker epoch is not current")
)

// Image is immutable and may be read by anyone. Built on persistent maps: a new version shares nearly everything with the last.
type Image struct{}

type Topic struct {
	ID         kafka.TopicID
	Name       string
	Partitions int32
	Created    int64
}

type Partition struct {
	kafka.Partition
	Replicas, ISR  []kafka.BrokerID
	Leader         kafka.BrokerID
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	LogStart       kafka.Offset // what retention and DeleteRecords have decided; the log's start is at least this
	Remote         manifest.Manifest
}

type Broker struct {
	command.RegisterBroker
	Epoch kafka.BrokerEpoch
}

type Group struct {
	Name  string
	Type  string
	State []byte
}

type Offset struct {
	command.OffsetCommit
	CommittedMs int64
}

// Index is the Raft index of the last applied command.
func (m *Image) Index() uint64                             { panic("skeleton") }
func (m *Image) ClusterID() string                         { panic("skeleton") }
func (m *Image) TopicByName(name string) (*Topic, bool)    { panic("skeleton") }
func (m *Image) TopicByID(id kafka.TopicID) (*Topic, bool) { panic("skeleton") }

// Topics calls f in name order until it returns false.
func (m *Image) Topics(f func(*Topic) bool)                     { panic("skeleton") }
func (m *Image) Partition(p kafka.Partition) (*Partition, bool) { panic("skeleton") }

// Partitions calls f for a topic's partitions in index order.
func (m *Image) Partitions(id kafka.TopicID, f func(*Partition) bool) { panic("skeleton") }
func (m *Image) Broker(id kafka.BrokerID) (*Broker, bool)             { panic("skeleton") }
func (m *Image) Brokers(f func(*Broker) bool)                         { panic("skeleton") }

// Configs returns the overrides of a resource; nil when none. Not to be changed.
func (m *Image) Configs(t command.ResourceType, name string) map[string]string { panic("skeleton") }

// ConfigNames lists the resources of a type that have overrides.
func (m *Image) ConfigNames(t command.ResourceType) []string { panic("skeleton") }
func (m *Image) Group(name string) (*Group, bool)            { panic("skeleton") }

// Groups calls f for every group that has state or offsets, in name order.
func (m *Image) Groups(f func(*Group) bool)                             { panic("skeleton") }
func (m *Image) Offset(group string, p kafka.Partition) (*Offset, bool) { panic("skeleton") }
func (m *Image) Offsets(group string, f func(*Offset) bool)             { panic("skeleton") }
