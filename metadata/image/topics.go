package image

import (
	"maps"
	"math"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// MaxPartitions bounds a topic: indexes are int32, and a mistyped number must not fill every broker's memory.
const MaxPartitions = 100_000

func (tx *Tx) formCluster(c command.FormCluster) *Refusal {
	switch {
	case c.ClusterID == "":
		return refuse(ErrInvalid, "cluster id is empty")
	case tx.clusterID == "":
		tx.clusterID = c.ClusterID
	case tx.clusterID != c.ClusterID:
		return refuse(ErrOtherCluster, "it is %q, not %q", tx.clusterID, c.ClusterID)
	}
	return nil
}

func (tx *Tx) createTopic(timeMs int64, c command.CreateTopic) *Refusal {
	if c.Name == "" || c.ID.IsZero() {
		return refuse(ErrInvalid, "topic %q with id %s", c.Name, c.ID)
	}
	if _, ok := tx.names.get([]byte(c.Name)); ok {
		return refuse(ErrTopicExists, "%q", c.Name)
	}
	if old, ok := tx.topics.get(c.ID[:]); ok {
		return refuse(ErrTopicExists, "id %s is topic %q", c.ID, old.Name)
	}
	if r := checkReplicas(0, c.Partitions); r != nil {
		return r
	}
	t := &Topic{ID: c.ID, Name: c.Name, Partitions: int32(len(c.Partitions)), Created: timeMs}
	tx.putTopic(t)
	tx.newPartitions(t.ID, 0, c.Partitions)
	if len(c.Configs) > 0 {
		tx.configs.put(configKey(command.Topic, c.Name), maps.Clone(c.Configs))
		tx.changes.configs.add(ConfigKey{command.Topic, c.Name})
	}
	return nil
}

// putTopic stores a topic under both of its keys.
func (tx *Tx) putTopic(t *Topic) {
	tx.topics.put(slices.Clone(t.ID[:]), t)
	tx.names.put([]byte(t.Name), t)
	tx.changes.topics.add(t.ID)
}

func (tx *Tx) newPartitions(id kafka.TopicID, from int32, replicas [][]kafka.BrokerID) {
	for i, r := range replicas {
		p := &Partition{
			Partition: kafka.Partition{Topic: id, Index: from + int32(i)},
			Replicas:  slices.Clone(r),
			ISR:       slices.Clone(r),
			Leader:    r[0],
		}
		tx.putPartition(p)
	}
}

// putPartition stores a partition; its change is noted by the caller.
func (tx *Tx) putPartition(p *Partition) {
	k := partitionKey(p.Partition)
	tx.partitions.put(k[:], p)
}

// checkReplicas checks the replicas of partitions from on.
func checkReplicas(from int32, partitions [][]kafka.BrokerID) *Refusal {
	if len(partitions) == 0 || int64(from)+int64(len(partitions)) > MaxPartitions {
		return refuse(ErrInvalid, "%d partitions, between 1 and %d are allowed", int64(from)+int64(len(partitions)), MaxPartitions)
	}
	for i, replicas := range partitions {
		if !isSet(replicas) {
			return refuse(ErrInvalid, "partition %d with replicas %v", int(from)+i, replicas)
		}
	}
	return nil
}

// isSet tells whether ids are broker ids, at least one, without repeats.
func isSet(ids []kafka.BrokerID) bool {
	for i, id := range ids {
		if id < 0 || slices.Contains(ids[:i], id) {
			return false
		}
	}
	return len(ids) > 0
}

func (tx *Tx) addPartitions(c command.AddPartitions) *Refusal {
	old, ok := tx.topics.get(c.ID[:])
	if !ok {
		return refuse(ErrUnknownTopic, "id %s", c.ID)
	}
	if old.Partitions != c.From {
		return refuse(ErrPartitionCount, "topic %q has %d, the request expected %d", old.Name, old.Partitions, c.From)
	}
	if r := checkReplicas(c.From, c.Replicas); r != nil {
		return r
	}
	t := *old
	t.Partitions += int32(len(c.Replicas))
	tx.putTopic(&t)
	tx.newPartitions(t.ID, c.From, c.Replicas)
	return nil
}

func (tx *Tx) deleteTopic(c command.DeleteTopic) *Refusal {
	t, ok := tx.topics.get(c.ID[:])
	if !ok {
		return refuse(ErrUnknownTopic, "id %s", c.ID)
	}
	tx.dropOffsets(t.ID)
	tx.topics.delete(t.ID[:])
	tx.names.delete([]byte(t.Name))
	tx.partitions.deletePrefix(t.ID[:])
	if _, had := tx.configs.get(configKey(command.Topic, t.Name)); had {
		tx.configs.delete(configKey(command.Topic, t.Name))
		tx.changes.configs.add(ConfigKey{command.Topic, t.Name})
	}
	tx.changes.topics.add(t.ID)
	return nil
}

func (tx *Tx) setConfigs(c command.SetConfigs) *Refusal {
	for _, key := range c.Delete {
		if _, both := c.Set[key]; both {
			return refuse(ErrInvalid, "config %q is both set and deleted", key)
		}
	}
	if c.Type == command.Topic {
		if _, ok := tx.names.get([]byte(c.Name)); !ok {
			return refuse(ErrUnknownTopic, "%q", c.Name)
		}
	}
	k := configKey(c.Type, c.Name)
	old, _ := tx.configs.get(k)
	overrides := maps.Clone(old)
	if overrides == nil {
		overrides = make(map[string]string, len(c.Set))
	}
	maps.Copy(overrides, c.Set)
	for _, key := range c.Delete {
		delete(overrides, key)
	}
	if maps.Equal(old, overrides) {
		return nil
	}
	if len(overrides) == 0 {
		tx.configs.delete(k)
	} else {
		tx.configs.put(k, overrides)
	}
	tx.changes.configs.add(ConfigKey{c.Type, c.Name})
	if old[minISR] != overrides[minISR] {
		tx.forgetELR(c.Type, c.Name)
	}
	return nil
}

// minISR is the one configuration that has a meaning here.
const minISR = "min.insync.replicas"

// forgetELR empties the eligible leader replicas of a topic, or of all when a
// broker's configuration changes. They are eligible because the high watermark
// could not move while the ISR was below the minimum that held: under another
// minimum the same ISR may be large enough, and leave them behind. Source: KIP-966.
func (tx *Tx) forgetELR(of command.ResourceType, name string) {
	root, prefix := tx.partitions.root(), []byte(nil)
	switch of {
	case command.Topic:
		t, _ := tx.names.get([]byte(name)) // setConfigs has found it
		prefix = t.ID[:]
	case command.Broker:
	default:
		return
	}
	var had []*Partition
	root.WalkPrefix(prefix, func(_ []byte, p *Partition) bool {
		if len(p.ELR) > 0 {
			had = append(had, p)
		}
		return false
	})
	for _, old := range had {
		p := *old
		p.ELR = nil
		tx.changePartition(&p)
	}
}

func (tx *Tx) allocateProducerIDs(c command.AllocateProducerIDs) (any, *Refusal) {
	first := tx.nextProducerID
	if c.Count <= 0 || first > math.MaxInt64-kafka.ProducerID(c.Count) {
		return nil, refuse(ErrInvalid, "%d producer ids from %d on", c.Count, first)
	}
	tx.nextProducerID += kafka.ProducerID(c.Count)
	return first, nil
}
