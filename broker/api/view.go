package api

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/statelog"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// view is an image's topics as Metadata shows them, ready to be sent: a full Metadata response shares its slices. Immutable
// once published; responses that hold parts of it only read them. It outlives images that differ in other things, such as
// committed offsets.
type view struct {
	image  *image.Image
	topics []kmsg.MetadataResponseTopic // in name order; then those that are only found by name
	listed int                          // how many of them are in the list of all topics
	byName map[string]int               // positions in topics
	byID   map[kafka.TopicID]int
}

// viewCache keeps the newest view.
type viewCache struct {
	internal bool // Kafka's internal topics are served

	current  atomic.Pointer[view]
	building sync.Mutex // one builder; the others wait and share
}

// of returns the view of an image, built if the newest one does not fit.
func (c *viewCache) of(m *image.Image) *view {
	if v := c.current.Load(); v != nil && c.fits(v, m) {
		return v
	}
	c.building.Lock()
	defer c.building.Unlock()
	old := c.current.Load()
	if old != nil && c.fits(old, m) {
		return old
	}
	v := buildView(m, c.internal)
	if old == nil || old.image.Index() <= m.Index() {
		c.current.Store(v)
	}
	return v
}

// fits tells whether a view is the one of an image.
func (c *viewCache) fits(v *view, m *image.Image) bool {
	return v.image.SameTopology(m) && (!c.internal || v.image.HasGroups() == m.HasGroups() && v.image.HasTransactions() == m.HasTransactions())
}

func buildView(m *image.Image, internal bool) *view {
	v := &view{image: m, byName: map[string]int{}, byID: map[kafka.TopicID]int{}}
	m.Topics(func(t *image.Topic) bool {
		v.topics = append(v.topics, describeTopic(m, t))
		return true
	})
	var unlisted []kmsg.MetadataResponseTopic
	if internal {
		add := func(t *image.Topic, exists bool) {
			to := &unlisted
			if exists {
				to = &v.topics
			}
			*to = append(*to, describeInternal(m, t))
		}
		add(statelog.Offsets, m.HasGroups())
		add(statelog.Transactions, m.HasTransactions())
		slices.SortFunc(v.topics, func(a, b kmsg.MetadataResponseTopic) int { return strings.Compare(*a.Topic, *b.Topic) })
	}
	v.listed = len(v.topics)
	v.topics = append(v.topics, unlisted...)
	for i := range v.topics {
		v.byName[*v.topics[i].Topic], v.byID[v.topics[i].TopicID] = i, i
	}
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
