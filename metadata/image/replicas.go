package image

import (
	"fmt"
	"math"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The rules of a partition's replicas: who is in sync, who leads, who is to replicate it.

// electLeaders checks every election's shape first, so that a command that is
// wrong in itself changes nothing; then starts those whose partition is still
// as they expect.
func (tx *Tx) electLeaders(c command.ElectLeaders) (any, *Refusal) {
	for _, e := range c.Elections {
		if !isSet(e.ISR) || e.Leader != kafka.NoBroker && !slices.Contains(e.ISR, e.Leader) {
			return nil, refuse(ErrInvalid, "leader %d of %s with in-sync replicas %v", e.Leader, e.Partition, e.ISR)
		}
	}
	return each(c.Elections, tx.elect, func(e command.Election) kafka.Partition { return e.Partition }), nil
}

// elect starts one leadership, if the partition is still as e expects.
func (tx *Tx) elect(e command.Election) bool {
	old := tx.expected(e.Partition, e.Expected)
	if old == nil || !subset(e.ISR, old.Replicas) || !old.eligible(e.ISR, e.Unclean) || !old.leaves(e.ELR, e.ISR) {
		return false
	}
	p := *old
	p.ISR, p.ELR = slices.Clone(e.ISR), slices.Clone(e.ELR)
	p.lead(e.Leader)
	tx.changePartition(&p)
	return true
}

func (tx *Tx) alterISR(c command.AlterISR) (any, *Refusal) {
	for _, ch := range c.Changes {
		if !isSet(memberIDs(ch.ISR)) {
			return nil, refuse(ErrInvalid, "in-sync replicas %v of %s", ch.ISR, ch.Partition)
		}
	}
	return each(c.Changes, tx.changeISR, func(ch command.ISRChange) kafka.Partition { return ch.Partition }), nil
}

func (tx *Tx) changeISR(c command.ISRChange) bool {
	ids := memberIDs(c.ISR)
	old := tx.expected(c.Partition, c.Expected)
	if old == nil || old.LeaderEpoch != c.LeaderEpoch || !subset(ids, old.Replicas) || !old.leaves(c.ELR, ids) {
		return false
	}
	if old.Leader != kafka.NoBroker && !slices.Contains(ids, old.Leader) {
		return false
	}
	for _, m := range c.ISR {
		if !slices.Contains(old.ISR, m.ID) && !tx.mayJoin(m) {
			return false
		}
	}
	p := *old
	p.ISR, p.ELR = ids, slices.Clone(c.ELR)
	tx.changePartition(&p)
	return true
}

func (tx *Tx) assignReplicas(c command.AssignReplicas) (any, *Refusal) {
	for _, a := range c.Changes {
		if a.Target != nil && !isSet(a.Target) {
			return nil, refuse(ErrInvalid, "replicas %v of %s", a.Target, a.Partition)
		}
	}
	return each(c.Changes, tx.assign, func(a command.Assignment) kafka.Partition { return a.Partition }), nil
}

// assign begins a reassignment: the target's replicas come first, those that
// go stay until the target is in sync. Source: KIP-455.
func (tx *Tx) assign(a command.Assignment) bool {
	old := tx.expected(a.Partition, a.Expected)
	if old == nil {
		return false
	}
	target := a.Target
	settled := old.Settled()
	if target == nil {
		target = settled
	}
	p := *old
	p.Adding, p.Removing = without(target, settled), without(settled, target)
	p.Replicas = append(slices.Clone(target), p.Removing...)
	p.ISR, p.ELR = intersect(old.ISR, p.Replicas), intersect(old.ELR, p.Replicas)
	if len(p.ISR) == 0 {
		return false // what would be dropped holds the only copy
	}
	if old.Leader != kafka.NoBroker && !slices.Contains(p.ISR, old.Leader) {
		p.lead(p.ISR[0])
	}
	tx.changePartition(&p)
	return true
}

func (tx *Tx) finishAssignments(c command.FinishAssignments) (any, *Refusal) {
	return each(c.Changes, tx.finish, func(f command.Finish) kafka.Partition { return f.Partition }), nil
}

func (tx *Tx) finish(f command.Finish) bool {
	old := tx.expected(f.Partition, f.Expected)
	if old == nil || len(old.Adding)+len(old.Removing) == 0 {
		return false
	}
	target := without(old.Replicas, old.Removing)
	if !subset(target, old.ISR) || !slices.Contains(target, f.Leader) {
		return false
	}
	p := *old
	p.Replicas, p.Adding, p.Removing = target, nil, nil
	p.ISR, p.ELR = intersect(old.ISR, target), nil
	if f.Leader != old.Leader {
		p.lead(f.Leader)
	}
	tx.changePartition(&p)
	return true
}

// expected finds a partition that has not moved on; nil otherwise.
func (tx *Tx) expected(id kafka.Partition, epoch kafka.PartitionEpoch) *Partition {
	p, refusal := tx.partition(id)
	if refusal != nil || p.PartitionEpoch != epoch {
		return nil
	}
	return p
}

// changePartition stores a partition under its next partition epoch.
func (tx *Tx) changePartition(p *Partition) {
	if p.PartitionEpoch == math.MaxInt32 {
		panic(fmt.Sprintf("image: epochs of partition %s are used up", p.Partition))
	}
	p.PartitionEpoch++
	tx.putPartition(p)
	tx.changes.partitions.add(p.Partition)
}

// lead starts a leadership.
func (p *Partition) lead(leader kafka.BrokerID) {
	if p.LeaderEpoch == math.MaxInt32 {
		panic(fmt.Sprintf("image: epochs of partition %s are used up", p.Partition))
	}
	p.Leader = leader
	p.LeaderEpoch++
}

// eligible tells whether ids are known to have everything below the high watermark.
func (p *Partition) eligible(ids []kafka.BrokerID, unclean bool) bool {
	if unclean {
		return true
	}
	for _, id := range ids {
		if !slices.Contains(p.ISR, id) && !slices.Contains(p.ELR, id) {
			return false
		}
	}
	return true
}

// leaves tells whether elr can be the eligible leader replicas beside the in-sync replicas isr.
func (p *Partition) leaves(elr, isr []kafka.BrokerID) bool {
	return p.eligible(elr, false) && subset(elr, p.Replicas) && len(intersect(elr, isr)) == 0 && (len(elr) == 0 || isSet(elr))
}

// Settled are the replicas without a reassignment: what it returns to when it is cancelled.
func (p *Partition) Settled() []kafka.BrokerID { return without(p.Replicas, p.Adding) }

// each applies one change after the other and returns what was left out, as a command's result.
func each[C any](changes []C, do func(C) bool, of func(C) kafka.Partition) any {
	var left []kafka.Partition
	for _, c := range changes {
		if !do(c) {
			left = append(left, of(c))
		}
	}
	return leftOut(left)
}

func memberIDs(members []command.ISRMember) []kafka.BrokerID {
	ids := make([]kafka.BrokerID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return ids
}

// without is a without the members of b, in order; nil when that is nothing.
func without(a, b []kafka.BrokerID) (rest []kafka.BrokerID) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			rest = append(rest, id)
		}
	}
	return rest
}

// intersect is what a and b share, in a's order.
func intersect(a, b []kafka.BrokerID) (both []kafka.BrokerID) {
	for _, id := range a {
		if slices.Contains(b, id) {
			both = append(both, id)
		}
	}
	return both
}

func subset(a, b []kafka.BrokerID) bool { return len(without(a, b)) == 0 }
