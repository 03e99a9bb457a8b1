package controller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ErrTooFewBrokers says that there are fewer live brokers than replicas wanted.
var ErrTooFewBrokers = errors.New("replication factor is larger than the number of live brokers")

// ErrBadCount says that a partition count or replication factor is not positive.
var ErrBadCount = errors.New("partition count and replication factor must be at least 1")

// Place chooses replicas for count partitions over the live brokers, spread
// by load: every replica goes to the broker that has the fewest so far, and
// of a partition's replicas the one that leads least comes first. No broker
// holds a partition twice. Racks are honoured as far as they go: a
// partition's next replica avoids the racks that already have one.
//
// Errors: ErrTooFewBrokers, ErrBadCount.
func Place(m *image.Image, live []kafka.BrokerID, count, factor int) ([][]kafka.BrokerID, error) {
	loads := loadsOf(m, live)
	switch {
	case count < 1 || factor < 1:
		return nil, fmt.Errorf("%w: %d partitions, factor %d", ErrBadCount, count, factor)
	case factor > len(loads):
		return nil, fmt.Errorf("%w: factor %d, %d live", ErrTooFewBrokers, factor, len(loads))
	}
	placed := make([][]kafka.BrokerID, count)
	for i := range placed {
		placed[i] = placeOne(loads, factor)
	}
	return placed, nil
}

// load is what a broker carries.
type load struct {
	id                kafka.BrokerID
	rack              string
	replicas, leaders int
}

// loadsOf counts the live brokers' replicas and preferred leaderships, in id order, without repeats.
func loadsOf(m *image.Image, live []kafka.BrokerID) []*load {
	live = slices.Compact(slices.Sorted(slices.Values(live)))
	loads := make([]*load, len(live))
	byID := make(map[kafka.BrokerID]*load, len(live))
	for i, id := range live {
		l := &load{id: id}
		if b, ok := m.Broker(id); ok {
			l.rack = b.Rack
		}
		loads[i], byID[id] = l, l
	}
	m.AllPartitions(func(p *image.Partition) bool {
		for i, id := range p.Replicas {
			l, ok := byID[id]
			if !ok {
				continue
			}
			l.replicas++
			if i == 0 {
				l.leaders++
			}
		}
		return true
	})
	return loads
}

// placeOne chooses one partition's replicas and adds them to the loads.
func placeOne(loads []*load, factor int) []kafka.BrokerID {
	var chosen []*load
	for len(chosen) < factor {
		var best *load
		for _, l := range loads {
			if !slices.Contains(chosen, l) && (best == nil || better(l, best, chosen)) {
				best = l
			}
		}
		chosen = append(chosen, best)
	}
	first := slices.MinFunc(chosen, func(a, b *load) int { return cmp.Compare(a.leaders, b.leaders) })
	first.leaders++
	replicas := []kafka.BrokerID{first.id}
	for _, l := range chosen {
		l.replicas++
		if l != first {
			replicas = append(replicas, l.id)
		}
	}
	return replicas
}

// better tells whether a suits a partition more than b does, given those already chosen.
func better(a, b *load, chosen []*load) bool {
	if fresh := newRack(a, chosen); fresh != newRack(b, chosen) {
		return fresh
	}
	return cmp.Or(cmp.Compare(a.replicas, b.replicas), cmp.Compare(a.leaders, b.leaders), cmp.Compare(a.id, b.id)) < 0
}

func newRack(l *load, chosen []*load) bool {
	return l.rack == "" || !slices.ContainsFunc(chosen, func(c *load) bool { return c.rack == l.rack })
}
