package controller

import (
	"cmp"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// finish ends a reassignment whose target is in sync. A leader that is to go hands over to the first of the target.
func (d *decider) finish(p *image.Partition) *command.Finish {
	if !moving(p) {
		return nil
	}
	target := without(p.Replicas, p.Removing...)
	if !subset(target, p.ISR) {
		return nil
	}
	leader := p.Leader
	if !slices.Contains(target, leader) || !d.isActive(leader) {
		leader = first(target, d.isActive)
	}
	if leader == kafka.NoBroker {
		return nil
	}
	return &command.Finish{Partition: p.Partition, Expected: p.PartitionEpoch, Leader: leader}
}

func moving(p *image.Partition) bool { return len(p.Adding)+len(p.Removing) > 0 }

// moves begins reassignments, as many as may be under way beside those that are: drains first, then balance.
func (d *decider) moves() []command.Assignment {
	drains := false
	for _, b := range d.brokers {
		drains = drains || b.Drain
	}
	if !drains && !d.Balance {
		return nil
	}
	room := d.Moves - Moving(d.Image)
	var list []command.Assignment
	if drains {
		list = d.drain(max(room, 0))
		room -= len(list)
	}
	if !d.Balance || len(list) > 0 || room <= 0 {
		return list // a plan is made when drains have been begun, knowing them
	}
	for _, m := range Plan(d.World, room) {
		p, _ := d.Image.Partition(m.Partition)
		list = append(list, command.Assignment{Partition: m.Partition, Expected: p.PartitionEpoch, Target: m.Target})
	}
	return list
}

// drain gives the replicas of brokers that are to be emptied to others, up to room partitions of them. A partition without
// a leader waits: there is nobody to copy from.
func (d *decider) drain(room int) (list []command.Assignment) {
	loads := loadsOf(d.Image, d.takers())
	d.Image.AllPartitions(func(p *image.Partition) bool {
		if len(list) >= room {
			return false
		}
		if moving(p) || p.Leader == kafka.NoBroker {
			return true
		}
		target := slices.Clone(p.Replicas)
		for i, id := range target {
			if b := d.brokers[id]; b == nil || !b.Drain {
				continue
			}
			if l := replacement(loads, target, i, d.Image); l != nil {
				target[i] = l.id
				l.replicas++
				if i == 0 {
					l.leaders++
				}
			}
		}
		if !slices.Equal(target, p.Replicas) {
			list = append(list, command.Assignment{Partition: p.Partition, Expected: p.PartitionEpoch, Target: target})
		}
		return true
	})
	return list
}

// replacement finds who may take the place of one of a partition's replicas; nil when nobody may.
func replacement(loads []*load, replicas []kafka.BrokerID, place int, m *image.Image) (best *load) {
	var chosen []*load
	for i, id := range replicas {
		if i != place {
			chosen = append(chosen, &load{id: id, rack: rackOf(m, id)})
		}
	}
	for _, l := range loads {
		if !slices.Contains(replicas, l.id) && (best == nil || better(l, best, chosen)) {
			best = l
		}
	}
	return best
}

func rackOf(m *image.Image, id kafka.BrokerID) string {
	if b, ok := m.Broker(id); ok {
		return b.Rack
	}
	return ""
}

// Drain is how far a broker is from being empty.
type Drain struct {
	Replicas int // that it still has
	Moving   int // of these, those that are on the way to another broker
	Stuck    int // of these, those that no other broker can take, or that have no leader to copy from
}

// Draining looks at what a broker still has.
func Draining(m *image.Image, id kafka.BrokerID) (n Drain) {
	loads := loadsOf(m, slices.DeleteFunc(Takers(m), func(other kafka.BrokerID) bool { return other == id }))
	m.AllPartitions(func(p *image.Partition) bool {
		at := slices.Index(p.Replicas, id)
		if at < 0 {
			return true
		}
		n.Replicas++
		switch {
		case slices.Contains(p.Removing, id):
			n.Moving++
		case p.Leader == kafka.NoBroker || replacement(loads, p.Replicas, at, m) == nil:
			n.Stuck++
		}
		return true
	})
	return n
}

// placeCoordinators gives every shard of the groups to a broker that can coordinate it, spreads them evenly, and moves as
// few as that takes.
func (d *decider) placeCoordinators() (list []command.ShardPlacement) {
	able := d.takers()
	if len(able) == 0 {
		for _, b := range d.brokers {
			if b.State == command.Active {
				able = append(able, b.ID)
			}
		}
		slices.Sort(able)
	}
	if len(able) == 0 {
		return nil
	}
	holds := make(map[kafka.BrokerID][]int32, len(able))
	var orphans []int32
	for shard := range int32(image.CoordinatorShards) {
		if at := d.Image.Coordinator(shard).Broker; slices.Contains(able, at) {
			holds[at] = append(holds[at], shard)
		} else {
			orphans = append(orphans, shard)
		}
	}
	byLoad := func(a, b kafka.BrokerID) int { return cmp.Compare(len(holds[a]), len(holds[b])) }
	give := func(shard int32) {
		to := slices.MinFunc(able, byLoad)
		holds[to] = append(holds[to], shard)
		list = append(list, command.ShardPlacement{Shard: shard, Broker: to, Expected: d.Image.Coordinator(shard).Epoch})
	}
	for _, shard := range orphans {
		give(shard)
	}
	for {
		most := slices.MaxFunc(able, byLoad)
		if len(holds[most])-len(holds[slices.MinFunc(able, byLoad)]) < 2 {
			return list
		}
		// Never one that was just given: that was given to the least loaded.
		shard := holds[most][0]
		holds[most] = holds[most][1:]
		give(shard)
	}
}

// Moving counts the reassignments that are under way.
func Moving(m *image.Image) (n int) {
	m.AllPartitions(func(p *image.Partition) bool {
		if moving(p) {
			n++
		}
		return true
	})
	return n
}
