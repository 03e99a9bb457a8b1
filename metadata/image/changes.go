package image

import (
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Changes name what differs between two images, without repeats, in the order
// in which it was touched. Offset commits, which change nothing that a broker
// acts on, leave no trace here.
type Changes struct {
	Topics     []kafka.TopicID   // created, deleted, or partitions added
	Partitions []kafka.Partition // of topics not in Topics: leader, ISR, manifest or log start
	Configs    []ConfigKey
	Brokers    []kafka.BrokerID // registered, forgotten, or in another state
	Groups     []string         // state replaced or deleted; not for offset commits

	Coordinators []int32 // shards of the groups that were placed
}

// ConfigKey names a resource that has overrides.
type ConfigKey struct {
	Type command.ResourceType
	Name string
}

// Empty tells whether nothing is named.
func (c Changes) Empty() bool {
	return len(c.Topics)+len(c.Partitions)+len(c.Configs)+len(c.Brokers)+len(c.Groups)+len(c.Coordinators) == 0
}

// Folder gathers changes, of a transaction or of many, leaving out repeats.
// The zero value is ready to use.
type Folder struct {
	topics     ordered[kafka.TopicID]
	partitions ordered[kafka.Partition]
	configs    ordered[ConfigKey]
	brokers    ordered[kafka.BrokerID]
	groups     ordered[string]

	coordinators ordered[int32]
}

// Add folds c in.
func (f *Folder) Add(c Changes) {
	f.topics.add(c.Topics...)
	f.partitions.add(c.Partitions...)
	f.configs.add(c.Configs...)
	f.brokers.add(c.Brokers...)
	f.groups.add(c.Groups...)
	f.coordinators.add(c.Coordinators...)
}

// Take returns what was gathered and begins anew.
func (f *Folder) Take() Changes {
	c := Changes{Topics: f.topics.list, Configs: f.configs.list, Brokers: f.brokers.list, Groups: f.groups.list, Coordinators: f.coordinators.list}
	for _, p := range f.partitions.list {
		if !f.topics.has(p.Topic) {
			c.Partitions = append(c.Partitions, p)
		}
	}
	*f = Folder{}
	return c
}

// ordered is a set that remembers in which order its members came.
type ordered[T comparable] struct {
	list []T
	set  map[T]struct{}
}

func (o *ordered[T]) has(v T) bool { _, ok := o.set[v]; return ok }

func (o *ordered[T]) add(vs ...T) {
	for _, v := range vs {
		if o.has(v) {
			continue
		}
		if o.set == nil {
			o.set = make(map[T]struct{})
		}
		o.set[v] = struct{}{}
		o.list = append(o.list, v)
	}
}
