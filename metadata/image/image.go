package image

import (
	"encoding/binary"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Image is immutable and may be read by anyone. Built on persistent maps: a
// new version shares nearly everything with the last.
type Image struct {
	index          uint64
	clusterID      string
	nextProducerID kafka.ProducerID
	level          command.Level

	topics     *iradix.Tree[*Topic]            // by id
	names      *iradix.Tree[*Topic]            // by name
	partitions *iradix.Tree[*Partition]        // by topic id and index
	brokers    *iradix.Tree[*Broker]           // by id
	configs    *iradix.Tree[map[string]string] // by resource type and name
	groups     *iradix.Tree[*groupState]       // by name
	sessions   *iradix.Tree[*session]          // by broker id: what was applied, for retries

	transactions *iradix.Tree[*command.Transaction] // by transactional id

	coordinators *coordinators // never nil
}

// Empty is the image before the first command.
func Empty() *Image {
	return &Image{
		topics:     iradix.New[*Topic](),
		names:      iradix.New[*Topic](),
		partitions: iradix.New[*Partition](),
		brokers:    iradix.New[*Broker](),
		configs:    iradix.New[map[string]string](),
		groups:     iradix.New[*groupState](),
		sessions:   iradix.New[*session](),

		transactions: iradix.New[*command.Transaction](),

		coordinators: nobody,
	}
}

// Topic is one incarnation of a topic.
type Topic struct {
	ID         kafka.TopicID
	Name       string
	Partitions int32
	Created    int64 // proposer's clock, milliseconds
}

// Partition is what the quorum decides of a partition. Not to be changed by its readers.
type Partition struct {
	kafka.Partition

	// Replicas: the first is preferred. Invariant: no repeats, never empty.
	Replicas []kafka.BrokerID

	// ISR are the in-sync replicas, a subset without repeats. Empty only when
	// the last of them has come back with another data directory: no replica
	// is known to have what was acknowledged.
	ISR []kafka.BrokerID

	// ELR are the eligible leader replicas: they left the ISR while it was too
	// small for the high watermark to move, so they have all that was ever
	// below it (KIP-966). Invariant: replicas that are not in the ISR.
	ELR []kafka.BrokerID

	// Adding and Removing are what a reassignment brings and takes away: both
	// are among Replicas until it is finished. Empty when there is none.
	Adding, Removing []kafka.BrokerID

	// Leader is kafka.NoBroker when no replica can lead.
	Leader kafka.BrokerID

	// LeaderEpoch grows with every start of a leadership, PartitionEpoch with every change of leader, ISR or replicas.
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch

	// LogStart is what retention and DeleteRecords have decided; the log's
	// start is at least this. It only grows.
	LogStart kafka.Offset
	Remote   manifest.Manifest
}

// Broker is a registered broker.
type Broker struct {
	command.RegisterBroker
	Epoch kafka.BrokerEpoch
	State command.BrokerState
	Drain bool // it is to be emptied
}

// Group is a group's durable state: a whole, or parts. State is nil for a group that has parts, or only offsets.
type Group struct {
	Name  string
	Type  string
	State []byte

	// Version is the index of the entry that last changed parts of it. Invariant: 0 exactly when it has none.
	Version uint64
}

// Kept tells whether more of the group is kept than offsets.
func (g *Group) Kept() bool { return g.State != nil || g.Version != 0 }

// Offset is a committed offset.
type Offset struct {
	command.OffsetCommit
	CommittedMs int64 // proposer's clock
}

// groupState is a group with its offsets. Invariant: it has a state, or at least one offset.
type groupState struct {
	Group
	offsets *iradix.Tree[*Offset]        // by topic id and partition index
	parts   *iradix.Tree[[]byte]         // by key; never nil
	pending *iradix.Tree[*pendingOffset] // by transactional id, topic id and partition index; never nil
	shares  *iradix.Tree[*Share]         // by topic id and partition index; never nil
}

// Index is the Raft index of the last applied command.
func (m *Image) Index() uint64 { return m.index }

// ClusterID is "" until FormCluster is applied.
func (m *Image) ClusterID() string { return m.clusterID }

// NextProducerID is the first id that no block holds.
func (m *Image) NextProducerID() kafka.ProducerID { return m.nextProducerID }

// Level is what the cluster works at; see command.Level.
func (m *Image) Level() command.Level { return m.level }

// TopicByName finds a topic.
func (m *Image) TopicByName(name string) (*Topic, bool) { return m.names.Get([]byte(name)) }

// TopicByID finds a topic.
func (m *Image) TopicByID(id kafka.TopicID) (*Topic, bool) { return m.topics.Get(id[:]) }

// TopicCount is the number of topics.
func (m *Image) TopicCount() int { return m.topics.Len() }

// BrokerCount is the number of registered brokers.
func (m *Image) BrokerCount() int { return m.brokers.Len() }

// HasGroups tells whether there is any group, HasTransactions whether there is any transactional id.
func (m *Image) HasGroups() bool       { return m.groups.Len() > 0 }
func (m *Image) HasTransactions() bool { return m.transactions.Len() > 0 }

// PartitionCount is the number of partitions of all topics.
func (m *Image) PartitionCount() int { return m.partitions.Len() }

// Topics calls f in name order until it returns false.
func (m *Image) Topics(f func(*Topic) bool) { walk(m.names, f) }

// Partition finds a partition.
func (m *Image) Partition(p kafka.Partition) (*Partition, bool) {
	k := partitionKey(p)
	return m.partitions.Get(k[:])
}

// Partitions calls f for a topic's partitions in index order until it returns false.
func (m *Image) Partitions(id kafka.TopicID, f func(*Partition) bool) {
	m.partitions.Root().WalkPrefix(id[:], func(_ []byte, p *Partition) bool { return !f(p) })
}

// AllPartitions calls f for every partition, by topic id and index, until it returns false.
func (m *Image) AllPartitions(f func(*Partition) bool) { walk(m.partitions, f) }

// Broker finds a registered broker.
func (m *Image) Broker(id kafka.BrokerID) (*Broker, bool) {
	k := brokerKey(id)
	return m.brokers.Get(k[:])
}

// Brokers calls f in id order until it returns false.
func (m *Image) Brokers(f func(*Broker) bool) { walk(m.brokers, f) }

// Configs returns the overrides of a resource; nil when none. Not to be changed.
func (m *Image) Configs(t command.ResourceType, name string) map[string]string {
	var room [128]byte // for most names: groups are asked at every heartbeat
	overrides, _ := m.configs.Get(append(append(room[:0], byte(t)), name...))
	return overrides
}

// ConfigNames lists the resources of a type that have overrides, in order.
func (m *Image) ConfigNames(t command.ResourceType) []string {
	var names []string
	m.configs.Root().WalkPrefix([]byte{byte(t)}, func(k []byte, _ map[string]string) bool {
		names = append(names, string(k[1:]))
		return false
	})
	return names
}

// Group finds a group that has state or offsets.
func (m *Image) Group(name string) (*Group, bool) {
	g, ok := m.groups.Get([]byte(name))
	if !ok {
		return nil, false
	}
	return &g.Group, true
}

// GroupParts calls f for the parts of a group's state, by key, until it returns false. Values are not to be changed.
func (m *Image) GroupParts(name string, f func(key string, value []byte) bool) {
	if g, ok := m.groups.Get([]byte(name)); ok {
		g.parts.Root().Walk(func(k []byte, v []byte) bool { return !f(string(k), v) })
	}
}

// Groups calls f for every group that has state or offsets, in name order, until it returns false.
func (m *Image) Groups(f func(*Group) bool) {
	walk(m.groups, func(g *groupState) bool { return f(&g.Group) })
}

// Offset finds a committed offset.
func (m *Image) Offset(group string, p kafka.Partition) (*Offset, bool) {
	g, ok := m.groups.Get([]byte(group))
	if !ok {
		return nil, false
	}
	k := partitionKey(p)
	return g.offsets.Get(k[:])
}

// Offsets calls f for a group's offsets, by topic id and partition, until it returns false.
func (m *Image) Offsets(group string, f func(*Offset) bool) {
	if g, ok := m.groups.Get([]byte(group)); ok {
		walk(g.offsets, f)
	}
}

// walk calls f in key order until it returns false.
func walk[V any](t *iradix.Tree[V], f func(V) bool) {
	t.Root().Walk(func(_ []byte, v V) bool { return !f(v) })
}

// partitionKey orders partitions by topic id, then index: indexes are never negative.
func partitionKey(p kafka.Partition) (k [20]byte) {
	copy(k[:], p.Topic[:])
	binary.BigEndian.PutUint32(k[16:], uint32(p.Index))
	return k
}

// brokerKey orders ids as numbers, negative ones first.
func brokerKey(id kafka.BrokerID) (k [4]byte) {
	binary.BigEndian.PutUint32(k[:], uint32(id)^1<<31)
	return k
}

func configKey(t command.ResourceType, name string) []byte {
	return append([]byte{byte(t)}, name...)
}
