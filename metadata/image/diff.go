package image

import (
	"maps"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
)

// Diff compares two images and names what differs, in key order. It looks at
// everything: for an image that came as a snapshot, where no transaction kept
// the list.
func Diff(old, new *Image) Changes {
	var f Folder
	differ(old.topics, new.topics, func(a, b *Topic) bool { return *a == *b },
		func(t *Topic) { f.topics.add(t.ID) })
	differ(old.partitions, new.partitions, (*Partition).equal,
		func(p *Partition) { f.partitions.add(p.Partition) })
	differ(old.brokers, new.brokers, (*Broker).equal,
		func(b *Broker) { f.brokers.add(b.ID) })
	differ(old.groups, new.groups, (*groupState).equal,
		func(g *groupState) { f.groups.add(g.Name) })
	// The key is not in the value here.
	differ(named(old), named(new), func(a, b namedConfigs) bool { return maps.Equal(a.overrides, b.overrides) },
		func(c namedConfigs) { f.configs.add(c.key) })
	for shard, now := range new.coordinators {
		if old.coordinators[shard] != now {
			f.coordinators.add(int32(shard))
		}
	}
	return f.Take()
}

// differ calls touched, in key order, for what is only in one of two maps or not equal in both.
func differ[V any](old, new *iradix.Tree[V], equal func(a, b V) bool, touched func(V)) {
	old.Root().Walk(func(k []byte, was V) bool {
		if is, ok := new.Get(k); !ok || !equal(was, is) {
			touched(was)
		}
		return false
	})
	new.Root().Walk(func(k []byte, is V) bool {
		if _, ok := old.Get(k); !ok {
			touched(is)
		}
		return false
	})
}

type namedConfigs struct {
	key       ConfigKey
	overrides map[string]string
}

func named(m *Image) *iradix.Tree[namedConfigs] {
	tx := iradix.New[namedConfigs]().Txn()
	m.configs.Root().Walk(func(k []byte, overrides map[string]string) bool {
		tx.Insert(k, namedConfigs{ConfigKey{command.ResourceType(k[0]), string(k[1:])}, overrides})
		return false
	})
	return tx.CommitOnly()
}

func (p *Partition) equal(o *Partition) bool {
	return p.Partition == o.Partition && slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.ISR, o.ISR) && slices.Equal(p.ELR, o.ELR) &&
		slices.Equal(p.Adding, o.Adding) && slices.Equal(p.Removing, o.Removing) &&
		p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.PartitionEpoch == o.PartitionEpoch &&
		p.LogStart == o.LogStart && p.Remote.Equal(o.Remote)
}

func (b *Broker) equal(o *Broker) bool {
	return b.ID == o.ID && b.Incarnation == o.Incarnation && b.Rack == o.Rack && b.Version == o.Version &&
		b.Directory == o.Directory && b.Cluster == o.Cluster && b.Unclean == o.Unclean && b.Fenced == o.Fenced &&
		b.Epoch == o.Epoch && b.State == o.State && b.Drain == o.Drain && slices.Equal(b.Endpoints, o.Endpoints)
}

// equal compares states only: offsets are not among the changes.
func (g *groupState) equal(o *groupState) bool {
	return g.Type == o.Type && slices.Equal(g.State, o.State) && (g.State == nil) == (o.State == nil) && g.Version == o.Version && sameParts(g.parts, o.parts)
}

func sameParts(a, b *iradix.Tree[[]byte]) bool {
	if a == b {
		return true
	}
	same := a.Len() == b.Len()
	differ(a, b, slices.Equal, func([]byte) { same = false })
	return same
}
