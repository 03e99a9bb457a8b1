package api

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// view is an image's topics as Metadata shows them, ready to be sent: a full Metadata response shares its slices. Immutable
// once published; responses that hold parts of it only read them. It outlives images that differ in other things, such as
// committed offsets.
type view struct {
	image  *image.Image
	topics []kmsg.MetadataResponseTopic // in name order
	byName map[string]int               // positions in topics
	byID   map[kafka.TopicID]int
}

// viewCache keeps the newest view.
type viewCache struct {
	current  atomic.Pointer[view]
	building sync.Mutex // one builder; the others wait and share
}

// of returns the view of an image, built if the newest one does not fit.
func (c *viewCache) of(m *image.Image) *view {
	if v := c.current.Load(); v != nil && v.image.SameTopology(m) {
		return v
	}
	c.building.Lock()
	defer c.building.Unlock()
	old := c.current.Load()
	if old != nil && old.image.SameTopology(m) {
		return old
	}
	v := buildView(m)
	if old == nil || old.image.Index() <= m.Index() {
		c.current.Store(v)
	}
	return v
}

func buildView(m *image.Image) *view {
	v := &view{image: m, byName: map[string]int{}, byID: map[kafka.TopicID]int{}}
	m.Topics(func(t *image.Topic) bool {
		v.byName[t.Name] = len(v.topics)
		v.byID[t.ID] = len(v.topics)
		v.topics = append(v.topics, describeTopic(m, t))
		return true
	})
	return v
}

func describeTopic(m *image.Image, t *image.Topic) kmsg.MetadataResponseTopic {
	mt := kmsg.NewMetadataResponseTopic()
	mt.Topic, mt.TopicID, mt.IsInternal = &t.Name, t.ID, internalTopic(t.Name)
	mt.AuthorizedOperations = unauthorized
	mt.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, t.Partitions)
	m.Partitions(t.ID, func(p *image.Partition) bool {
		mp := kmsg.NewMetadataResponseTopicPartition()
		mp.Partition, mp.Leader, mp.LeaderEpoch = p.Index, int32(p.Leader), int32(p.LeaderEpoch)
		if p.Leader == kafka.NoBroker {
			mp.ErrorCode = leaderNotAvailable
		}
		mp.Replicas, mp.ISR, mp.OfflineReplicas = ids(p.Replicas), ids(p.ISR), offline(m, p.Replicas)
		mt.Partitions = append(mt.Partitions, mp)
		return true
	})
	return mt
}

// ids are broker ids in the wire's type.
func ids(brokers []kafka.BrokerID) []int32 {
	out := make([]int32, len(brokers))
	for i, b := range brokers {
		out[i] = int32(b)
	}
	return out
}

// offline are the replicas whose brokers are fenced, or not registered.
func offline(m *image.Image, replicas []kafka.BrokerID) []int32 {
	var out []int32
	for _, b := range replicas {
		if r, ok := m.Broker(b); !ok || r.State == command.Fenced {
			out = append(out, int32(b))
		}
	}
	return out
}
