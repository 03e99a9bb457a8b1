package controller

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// settle decides who leads a partition and who is in sync, as far as its brokers' states decide it. At most one of e and c
// is set; neither when the partition is as it should be.
//
//   - A leader stays while its broker is active. Otherwise the first replica that is active and in the ISR leads; if none
//     is, the first in the ELR; if none is and the topic says so, the first active replica at all.
//   - A stopping leader stays while nobody can take over.
//   - Who is gone leaves the ISR. But the last ones stay: they are who may lead when they come back. And who is on the way back does not leave
//     it in favour of others of whom nobody has heard since: when all have died, they may be those that stay away.
//   - Whoever leaves while the ISR is below the minimum becomes eligible (KIP-966).
func (d *decider) settle(p *image.Partition, r Rules) (e *command.Election, c *command.ISRChange) {
	minimum := r.minISR(p)
	eligible := p.ELR
	if len(p.ISR) >= minimum {
		eligible = nil // the high watermark moves without them
	}
	isr := filter(p.ISR, d.isUp)
	leader, unclean := d.leader(p, isr, eligible, r)
	if len(isr) > 0 && !slices.ContainsFunc(isr, d.heard) {
		isr = filter(p.ISR, func(id kafka.BrokerID) bool { return d.isUp(id) || d.comesBack(id, r) })
	}
	switch {
	case unclean:
		isr, eligible = []kafka.BrokerID{leader}, nil
	default:
		if leader != kafka.NoBroker && !slices.Contains(isr, leader) {
			isr = append(isr, leader)
		}
		isr = d.excuse(p, isr, leader, minimum)
		if len(isr) == 0 {
			isr = d.last(p, eligible, r)
		}
		eligible = filter(command.NextELR(p.ISR, isr, p.ELR, minimum), func(id kafka.BrokerID) bool { return !d.tainted(id, r) })
	}
	switch {
	case len(isr) == 0: // nobody is known to have the data: see image.Partition.ISR
	case leader != p.Leader || !subset(isr, p.ISR):
		e = &command.Election{Partition: p.Partition, Leader: leader, ISR: isr, ELR: eligible, Unclean: unclean, Expected: p.PartitionEpoch}
	case !same(isr, p.ISR) || !same(eligible, p.ELR):
		c = &command.ISRChange{Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ISR: d.members(isr), ELR: eligible}
	}
	return e, c
}

// leader chooses; isr are those in sync whose brokers are up.
func (d *decider) leader(p *image.Partition, isr, eligible []kafka.BrokerID, r Rules) (leader kafka.BrokerID, unclean bool) {
	stays := slices.Contains(isr, p.Leader)
	if stays && d.isActive(p.Leader) {
		return p.Leader, false
	}
	suits := func(among []kafka.BrokerID) func(kafka.BrokerID) bool {
		return func(id kafka.BrokerID) bool { return d.isActive(id) && slices.Contains(among, id) }
	}
	for _, among := range [][]kafka.BrokerID{isr, eligible} {
		if next := first(p.Replicas, suits(among)); next != kafka.NoBroker {
			return next, false
		}
	}
	if stays {
		return p.Leader, false
	}
	if r.Unclean {
		if next := first(p.Replicas, d.isActive); next != kafka.NoBroker {
			return next, true
		}
	}
	return kafka.NoBroker, false
}

func (d *decider) heard(id kafka.BrokerID) bool { return d.Heard == nil || d.Heard(id) }

// comesBack tells whether a broker that is fenced is not known to be gone, and may be trusted with what it was in sync with.
func (d *decider) comesBack(id kafka.BrokerID, r Rules) bool {
	b := d.brokers[id]
	return b != nil && b.State == command.Fenced && (d.Dead == nil || !d.Dead(id, b.Epoch)) && !d.tainted(id, r)
}

// excuse lets stopping followers leave the ISR, so that the leader need not wait for them when they are gone. One whose
// leaving would stop writes stays while somebody is on the way to take its place.
func (d *decider) excuse(p *image.Partition, isr []kafka.BrokerID, leader kafka.BrokerID, minimum int) []kafka.BrokerID {
	onTheWay := first(p.Replicas, func(id kafka.BrokerID) bool { return d.isActive(id) && !slices.Contains(isr, id) }) != kafka.NoBroker
	for _, id := range slices.Clone(isr) {
		if id == leader || d.standing(id) != stopping || len(isr) == 1 {
			continue
		}
		if len(isr) > minimum || !onTheWay {
			isr = without(isr, id)
		}
	}
	return isr
}

// last is the ISR of a partition of which nobody is up: who was in sync, without those that may lack data by now; if that is
// nobody, who is eligible, without those; if that is nobody either, who was in sync.
func (d *decider) last(p *image.Partition, eligible []kafka.BrokerID, r Rules) []kafka.BrokerID {
	for _, among := range [][]kafka.BrokerID{p.ISR, eligible} {
		if kept := filter(among, func(id kafka.BrokerID) bool { return !d.tainted(id, r) }); len(kept) > 0 {
			return kept
		}
	}
	return p.ISR
}

// tainted tells whether a broker may lack what it had acknowledged of an async topic. It is over when the broker is active:
// then only what it has fetched anew counts.
func (d *decider) tainted(id kafka.BrokerID, r Rules) bool {
	b := d.brokers[id]
	return r.Async && b != nil && b.State == command.Fenced && b.Unclean
}

func (d *decider) members(ids []kafka.BrokerID) []command.ISRMember {
	members := make([]command.ISRMember, len(ids))
	for i, id := range ids {
		members[i].ID = id
		if b := d.brokers[id]; b != nil {
			members[i].Epoch = b.Epoch
		}
	}
	return members
}

func same(a, b []kafka.BrokerID) bool { return len(a) == len(b) && subset(a, b) }

// MayActivate tells whether a broker that is fenced may become active: whether the decisions that its registration calls
// for have been made. A broker that stopped uncleanly must first have left the ISR and the ELR of async topics.
func MayActivate(w World, id kafka.BrokerID) bool {
	d := newDecider(w)
	b := d.brokers[id]
	if b == nil {
		return false
	}
	if b.State != command.Fenced {
		return true
	}
	may := true
	d.Image.AllPartitions(func(p *image.Partition) bool {
		switch {
		case p.Leader == id:
			may = false
		case b.Unclean && (slices.Contains(p.ISR, id) || slices.Contains(p.ELR, id)):
			r := d.rulesOf(p.Topic)
			if !d.tainted(id, r) {
				break
			}
			e, c := d.settle(p, r)
			may = e == nil && c == nil
		}
		return may
	})
	return may
}

// Held counts what a broker that wants to stop still leads, or is in sync with, while another active replica could do
// without it. It can go without a gap when there is nothing left.
func Held(m *image.Image, id kafka.BrokerID) (n int) {
	m.AllPartitions(func(p *image.Partition) bool {
		if p.Leader != id && !slices.Contains(p.ISR, id) {
			return true
		}
		if slices.ContainsFunc(p.Replicas, func(other kafka.BrokerID) bool { return other != id && standingOf(m, other) == active }) {
			n++
		}
		return true
	})
	return n
}
