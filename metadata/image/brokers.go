package image

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// registerBroker also starts a broker's new incarnation over: what the last
// one was allowed goes, what a person wished for it (Drain) stays. What the
// last one led or was in sync with, see succeed.
func (tx *Tx) registerBroker(index uint64, c command.RegisterBroker) (any, *Refusal) {
	if c.ID < 0 {
		return nil, refuse(ErrInvalid, "broker id %d", c.ID)
	}
	if release, supported := command.SplitLevel(c.Version); supported < tx.level {
		return nil, refuse(ErrLevel, "the cluster works at level %d, broker %d runs release %q, which supports up to %d: start a newer release", tx.level, c.ID, release, supported)
	}
	b := &Broker{RegisterBroker: c, Epoch: kafka.BrokerEpoch(index)}
	b.Endpoints = slices.Clone(c.Endpoints)
	if c.Fenced {
		b.State = command.Fenced
	}
	k := brokerKey(c.ID)
	if old, ok := tx.brokers.get(k[:]); ok {
		b.Drain = old.Drain
		if old.Incarnation == c.Incarnation {
			b.Epoch, b.State, b.Unclean = old.Epoch, old.State, old.Unclean
		} else {
			tx.succeed(old, b)
		}
	}
	tx.putBroker(k, b)
	return b.Epoch, nil
}

// succeed takes from a broker's partitions what its new incarnation has not
// inherited, in the same entry, so that nobody ever sees the one without the other:
//
//   - One that begins fenced leads nothing: what the last one led has no leader, under the next leader epoch, so that what
//     it wrote and what the new one will write never share an epoch (KAFKA-10527).
//   - What the last one may have lacked since an unclean stop, and has not caught up with, the new one lacks too.
//   - One with another data directory has none of the data: it leaves every ISR and ELR, and the lead. A partition of which
//     it held the only copy is left with an empty ISR: only an unclean election gives it a leader again.
func (tx *Tx) succeed(old, b *Broker) {
	var none [16]byte
	lost := old.Directory != none && b.Directory != none && old.Directory != b.Directory
	if !lost && old.Unclean && old.State == command.Fenced {
		b.Unclean = true // a clean stop brings nothing back
	}
	if !lost && b.State != command.Fenced {
		return
	}
	var changed []*Partition
	tx.partitions.root().Walk(func(_ []byte, old *Partition) bool {
		leads, counts := old.Leader == b.ID, slices.Contains(old.ISR, b.ID) || slices.Contains(old.ELR, b.ID)
		if !leads && !(lost && counts) {
			return false
		}
		p := *old
		if lost {
			self := []kafka.BrokerID{b.ID}
			p.ISR, p.ELR = without(p.ISR, self), without(p.ELR, self)
		}
		if leads {
			p.lead(kafka.NoBroker)
		}
		changed = append(changed, &p)
		return false
	})
	for _, p := range changed {
		tx.changePartition(p)
	}
}

func (tx *Tx) putBroker(k [4]byte, b *Broker) {
	tx.brokers.put(k[:], b)
	tx.changes.brokers.add(b.ID)
}

func (tx *Tx) setBrokerState(c command.SetBrokerState) *Refusal {
	if c.State > command.Stopping {
		return refuse(ErrInvalid, "broker state %d", c.State)
	}
	k := brokerKey(c.ID)
	old, ok := tx.brokers.get(k[:])
	switch {
	case !ok:
		return refuse(ErrUnknownBroker, "%d", c.ID)
	case old.Epoch != c.Epoch:
		return refuse(ErrFenced, "broker %d has epoch %d, its state was to change at %d", c.ID, old.Epoch, c.Epoch)
	case old.State == c.State:
		return nil
	}
	b := *old
	b.State = c.State
	if b.State == command.Active {
		b.Unclean = false // what it may have lacked does not count any more: see package controller
	}
	tx.putBroker(k, &b)
	return nil
}

func (tx *Tx) drainBroker(c command.DrainBroker) *Refusal {
	k := brokerKey(c.ID)
	old, ok := tx.brokers.get(k[:])
	switch {
	case !ok:
		return refuse(ErrUnknownBroker, "%d", c.ID)
	case old.Drain == c.Drain:
		return nil
	}
	b := *old
	b.Drain = c.Drain
	tx.putBroker(k, &b)
	return nil
}

func (tx *Tx) unregisterBroker(c command.UnregisterBroker) *Refusal {
	k := brokerKey(c.ID)
	b, ok := tx.brokers.get(k[:])
	switch {
	case !ok:
		return refuse(ErrUnknownBroker, "%d", c.ID)
	case b.State != command.Fenced:
		return refuse(ErrBrokerInUse, "broker %d is %s: stop it first", c.ID, b.State)
	}
	var holds *Partition
	tx.partitions.root().Walk(func(_ []byte, p *Partition) bool {
		if slices.Contains(p.Replicas, c.ID) {
			holds = p
		}
		return holds != nil
	})
	if holds != nil {
		return refuse(ErrBrokerInUse, "broker %d still has replicas, of partition %s for one: drain it first", c.ID, holds.Partition)
	}
	tx.brokers.delete(k[:])
	tx.sessions.delete(k[:])
	delete(tx.openSessions, c.ID)
	tx.changes.brokers.add(c.ID)
	return nil
}

// mayJoin tells whether a replica that was out of sync may come into an ISR
// under the broker epoch that it fetched with.
func (tx *Tx) mayJoin(m command.ISRMember) bool {
	k := brokerKey(m.ID)
	b, ok := tx.brokers.get(k[:])
	return ok && b.State == command.Active && b.Epoch == m.Epoch
}
