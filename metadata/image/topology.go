package image

import (
	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/wire/kafka"
)

// SameTopology tells whether topics, partitions, brokers and the placement of coordinators of two images are the same maps, so
// that what was derived from one holds for the other. It may say no of equal images, but never yes of different ones. Offset commits, groups and
// configurations do not count: they change far more often than what is derived from the rest.
func (m *Image) SameTopology(o *Image) bool {
	return m.topics == o.topics && m.partitions == o.partitions && m.brokers == o.brokers && m.clusterID == o.clusterID && m.coordinators == o.coordinators
}

// Topics is the topics of an image by themselves: what is derived from them holds while two of these are the same by ==.
type Topics struct {
	ids, names *iradix.Tree[*Topic]
}

// TopicSet is the image's topics. It keeps nothing else of the image in memory.
func (m *Image) TopicSet() Topics { return Topics{m.topics, m.names} }

// ByName finds a topic.
func (t Topics) ByName(name string) (*Topic, bool) { return t.names.Get([]byte(name)) }

// ByID finds a topic.
func (t Topics) ByID(id kafka.TopicID) (*Topic, bool) { return t.ids.Get(id[:]) }

// Each calls f in name order until it returns false.
func (t Topics) Each(f func(*Topic) bool) { walk(t.names, f) }
