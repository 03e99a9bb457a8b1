package api

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Kafka's internal topics, __consumer_offsets and __transaction_state, are views that package statelog makes of the image: Metadata,
// DescribeTopicPartitions, DescribeConfigs, DescribeProducers, ListOffsets, OffsetForLeaderEpoch and Fetch know them, and
// whatever would change them is refused with INVALID_TOPIC_EXCEPTION, as Kafka refuses to let clients write to them. They are in
// the list of all topics once there is a group, or a transactional id: in Kafka they are created then. By name they can be found before.

// internalTopic tells whether a name belongs to the broker and not to its users.
func internalTopic(name string) bool { return statelog.Named(name) != nil }

func refuseInternal(t *image.Topic) error {
	return refuse(kerr.InvalidTopicException, "topic %q is made up from the metadata when it is read: it cannot be changed", t.Name)
}

// readableNamed is topicNamed for who only reads.
func (h *Handler) readableNamed(m *image.Image, name string) (*image.Topic, error) {
	if t := statelog.Named(name); t != nil && h.StateLogs != nil {
		return t, nil
	}
	return topicNamed(m, name)
}

// readableWithID is topicWithID for who only reads.
func (h *Handler) readableWithID(m *image.Image, id kafka.TopicID) (*image.Topic, error) {
	if t := statelog.WithID(id); t != nil && h.StateLogs != nil {
		return t, nil
	}
	return topicWithID(m, id)
}

// reading is leading for who only reads.
func (h *Handler) reading(t *image.Topic, index int32) (readable, error) {
	if statelog.Named(t.Name) != t {
		return h.leading(t, index)
	}
	p := h.StateLogs.Get(kafka.Partition{Topic: t.ID, Index: index})
	if p == nil {
		return nil, errNoPartition
	}
	return p, nil
}

// readingAt is leadingAt for who only reads.
func (h *Handler) readingAt(m *image.Image, topic string, index int32, epoch kafka.LeaderEpoch) (readable, error) {
	t, err := h.readableNamed(m, topic)
	if err != nil {
		return nil, err
	}
	l, err := h.reading(t, index)
	if err != nil {
		return nil, err
	}
	return l, l.CheckEpoch(epoch)
}

// describeInternal is what Metadata says of a view: who serves it, and, as every broker has what it is made of, some others as its replicas.
func describeInternal(m *image.Image, t *image.Topic) kmsg.MetadataResponseTopic {
	mt := kmsg.NewMetadataResponseTopic()
	mt.Topic, mt.TopicID, mt.IsInternal = &t.Name, t.ID, true
	mt.AuthorizedOperations = unauthorized
	var alive []int32
	m.Brokers(func(b *image.Broker) bool {
		if b.State != command.Fenced {
			alive = append(alive, int32(b.ID))
		}
		return true
	})
	for i := range t.Partitions {
		c := statelog.Leader(m, i)
		mp := kmsg.NewMetadataResponseTopicPartition()
		mp.Partition, mp.Leader, mp.LeaderEpoch = i, int32(c.Broker), int32(c.Epoch)
		if c.Broker == kafka.NoBroker {
			mp.ErrorCode = leaderNotAvailable
		} else {
			mp.Replicas = []int32{mp.Leader}
		}
		if at := slices.Index(alive, mp.Leader); at >= 0 {
			for j := 1; j < min(len(alive), internalReplicas); j++ {
				mp.Replicas = append(mp.Replicas, alive[(at+j)%len(alive)])
			}
		}
		mp.ISR = mp.Replicas
		mt.Partitions = append(mt.Partitions, mp)
	}
	return mt
}

// internalReplicas is how many replicas a view is said to have: Kafka's default of offsets.topic.replication.factor.
const internalReplicas = 3

// internalConfigs are the views' configurations, as Kafka gives its own.
var internalConfigs = map[string]string{"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"}
