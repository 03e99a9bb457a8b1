package kafka

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// Offset is the position of a record in a partition. Ranges of offsets are
// half-open: [base, next).
type Offset int64

// LeaderEpoch counts the starts of leadership of a partition. It only grows.
type LeaderEpoch int32

// NoEpoch is what clients and files that predate epochs send.
const NoEpoch LeaderEpoch = -1

// PartitionEpoch is the version of a partition's replica set, ISR and leader.
type PartitionEpoch int32

// BrokerID is a broker's node.id.
type BrokerID int32

// NoBroker stands where no leader is known.
const NoBroker BrokerID = -1

// BrokerEpoch is the Raft index of a broker's registration.
type BrokerEpoch int64

// CoordinatorEpoch counts the placements of a shard of the groups. It only grows.
type CoordinatorEpoch int32

// ProducerID names an idempotent or transactional producer.
type ProducerID int64

// NoProducer is the producer id of a batch without idempotence.
const NoProducer ProducerID = -1

// ProducerEpoch fences older incarnations of a producer.
type ProducerEpoch int16

// TopicID is a topic's identity: a topic that is deleted and created again
// has another one.
type TopicID [16]byte

// NewTopicID draws a random (version 4) id, never the zero id, and, as Kafka, none whose spelling begins with a dash: command
// lines would take it for a flag.
func NewTopicID() TopicID {
	for {
		var id TopicID
		if _, err := rand.Read(id[:]); err != nil {
			panic(fmt.Sprintf("no randomness: %v", err))
		}
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// IsZero tells whether the id is the one that stands for "none".
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String is Kafka's spelling: URL-safe base64 without padding, 22 characters.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads what String prints.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("topic id %q: want 22 characters of URL-safe base64", s)
	}
	copy(id[:], b)
	return id, nil
}

// Partition names one partition of one incarnation of a topic. The keys are
// its form in the metadata log and its snapshots.
type Partition struct {
	Topic TopicID `cbor:"1,keyasint"`
	Index int32   `cbor:"2,keyasint"`
}

// Compare orders partitions by topic id and index.
func (p Partition) Compare(o Partition) int {
	return cmp.Or(bytes.Compare(p.Topic[:], o.Topic[:]), cmp.Compare(p.Index, o.Index))
}

// String is the form used in paths and logs: <topic id>/<partition>.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }
