package partition

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What a leader knows of the partition's replicas, and how it changes who is in sync. ackMu guards all of it.
//
//	replica's fetch ─▸ durable end ─▸ caught up?  ──▸ ProposeISR ─▸ quorum ─▸ image ─▸ Lead (takeOver)
//	time passes ─────────────────────▸ fallen behind? ──┘    └ meanwhile old and new members count
//
// What must stay true: the high watermark is at most the durable end of every broker that is, or may be by now, in the
// ISR of the image. So a member counts from before its addition is proposed until the image shows that it is out.

// replica is one of the partition's replicas as the leader sees it.
type replica struct {
	id kafka.BrokerID
	// epoch is the registration under which it fetches; 0: it has not fetched in this leadership.
	epoch kafka.BrokerEpoch
	// durable is the end of what it has on disk. Only its fetches move it, but for what is known at the start.
	durable kafka.Offset
	inSync  bool // in the ISR, as far as this broker's image knows
	counted bool // inSync, or proposed to be

	fetched  time.Time    // when it fetched last
	endThen  kafka.Offset // the log's end at that time
	caughtUp time.Time    // when it last had all that there was
}

// reach is how far the high watermark may go by now. ackMu is held. Source: KIP-966 for the minimum ISR.
func (p *Partition) reach() kafka.Offset {
	if p.LeaderEpoch() < 0 {
		if p.followed.Load() == nil {
			return 0
		}
		return min(p.leaderHW, p.log.DurableEnd())
	}
	// An eligible leader replica has what was below the high watermark when it left the ISR: while there is one, it stays there.
	if len(p.elr) > 0 || int(p.isrSize.Load()) < p.MinISR() {
		return 0
	}
	reached := p.log.DurableEnd()
	for i := range p.replicas {
		if r := &p.replicas[i]; r.counted && r.id != p.env.Node && !bugAck {
			reached = min(reached, r.durable)
		}
	}
	return reached
}

// Replica says which broker a fetch is for, and under which registration it runs.
type Replica struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
}

// ReplicaFetched is told that a replica has everything up to a position on disk and asks for what follows. When its log is not
// the beginning of this one, that is answered, and nothing is counted. Errors: the epochs' (current must be known),
// ErrUnknownReplica, ErrOutOfRange. Source: KIP-595 for the divergence, KIP-903 for the broker's epoch.
func (p *Partition) ReplicaFetched(r Replica, current kafka.LeaderEpoch, at Position) (*EpochEnd, error) {
	if err := p.CheckEpoch(max(current, 0)); err != nil {
		return nil, err
	}
	if diverging, err := p.diverging(at.Last, at.From); err != nil || diverging != nil {
		return diverging, err
	}
	if at.From > p.log.End() || at.From < p.log.Start() {
		return nil, ErrOutOfRange
	}
	p.ackMu.Lock()
	if p.LeaderEpoch() != current {
		p.ackMu.Unlock()
		return nil, ErrNotLeader
	}
	i := slices.IndexFunc(p.replicas, func(known replica) bool { return known.id == r.ID })
	if i < 0 || r.ID == p.env.Node || r.Epoch < p.replicas[i].epoch {
		p.ackMu.Unlock()
		return nil, ErrUnknownReplica
	}
	known := &p.replicas[i]
	moved := known.durable != at.From
	known.epoch, known.durable = r.Epoch, at.From
	known.progress(p.env.Clock(), p.log.End())
	joins := p.mayJoin(known)
	counted := known.counted
	p.ackMu.Unlock()
	if counted && moved {
		p.advance()
	}
	if joins {
		p.tellISR()
	}
	return nil, nil
}

// progress notes a fetch. A replica has caught up when it has all that there was at its fetch before.
func (r *replica) progress(now time.Time, end kafka.Offset) {
	if r.durable >= end {
		r.caughtUp = now
	} else if r.durable >= r.endThen && r.fetched.After(r.caughtUp) {
		r.caughtUp = r.fetched
	}
	r.fetched, r.endThen = now, end
}

// mayJoin tells whether a replica has what a member of the ISR must have: all that may have been acknowledged, and all that
// was there when this leadership began, since an earlier one may have acknowledged that. ackMu is held.
func (p *Partition) mayJoin(r *replica) bool {
	return !r.counted && r.epoch > 0 && r.durable >= p.HighWatermark() && r.durable >= p.epochStart
}

// behind tells whether a member has fallen behind for longer than lag. ackMu is held.
func (p *Partition) behind(r *replica, now time.Time, lag time.Duration) bool {
	if r.durable >= p.log.End() {
		r.caughtUp = now // whoever has everything is in sync however long ago it asked: who is dead is fenced
		return false
	}
	return now.Sub(r.caughtUp) > lag
}

// tellISR has ProposeISR called soon. No lock is held.
func (p *Partition) tellISR() {
	if p.env.ISR != nil {
		p.env.ISR(p)
	}
}

// ProposeISR decides whether the in-sync replicas are to change, and begins that: whoever calls it proposes the change and tells
// SettleISR what became of it; until then there is no other. fit tells whether a broker of an epoch may be in sync at all.
func (p *Partition) ProposeISR(lag time.Duration, fit func(Replica) bool) (command.ISRChange, bool) {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	if p.LeaderEpoch() < 0 || p.proposed {
		p.lookAgain = p.proposed
		return command.ISRChange{}, false
	}
	now := p.env.Clock()
	var isr []command.ISRMember
	var was, next, joined []kafka.BrokerID
	left := false
	for i := range p.replicas {
		r := &p.replicas[i]
		if r.inSync {
			was = append(was, r.id)
		}
		switch {
		case r.id == p.env.Node || r.inSync && !p.behind(r, now, lag):
		case r.inSync:
			left = true
			continue
		case (r.counted && !p.behind(r, now, lag) || p.mayJoin(r)) && fit(Replica{r.id, r.epoch}):
			joined = append(joined, r.id)
		default:
			continue
		}
		next = append(next, r.id)
		isr = append(isr, command.ISRMember{ID: r.id, Epoch: r.epoch})
	}
	elr := command.NextELR(was, next, p.elr, p.MinISR())
	if !left && len(joined) == 0 && slices.Equal(elr, p.elr) && !p.unsettled {
		return command.ISRChange{}, false
	}
	for i := range p.replicas {
		if r := &p.replicas[i]; slices.Contains(joined, r.id) {
			r.counted = true
		}
	}
	p.proposed = true
	return command.ISRChange{Partition: p.id, LeaderEpoch: p.LeaderEpoch(), Expected: p.partitionEpoch, ISR: isr, ELR: elr}, true
}

// ISROutcome is what became of a proposed ISR change.
type ISROutcome int

// The outcomes.
const (
	ISRApplied   ISROutcome = iota // the image that Lead is told of shows it
	ISRRefused                     // it did not happen, and never will
	ISRUnsettled                   // nobody knows: it may yet happen
)

// SettleISR ends what ProposeISR began. A change that may have happened goes on counting until the image has moved on.
func (p *Partition) SettleISR(c command.ISRChange, o ISROutcome) {
	p.ackMu.Lock()
	if p.LeaderEpoch() != c.LeaderEpoch || p.partitionEpoch != c.Expected || !p.proposed {
		p.ackMu.Unlock()
		return // settled by the image already
	}
	switch o {
	case ISRApplied: // the image is on its way, and ends it
	case ISRUnsettled:
		p.proposed, p.unsettled = false, true
	case ISRRefused:
		p.proposed = false
		for i := range p.replicas {
			p.replicas[i].counted = p.replicas[i].inSync || p.unsettled && p.replicas[i].counted
		}
	}
	p.ackMu.Unlock()
	p.advance()
}

// Near finds an in-sync replica, this broker not among them, that has what lies at an offset and below the high watermark and that
// is wanted; the one that has most.
func (p *Partition) Near(from kafka.Offset, wanted func(kafka.BrokerID) bool) (id kafka.BrokerID, ok bool) {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	most := from
	for i := range p.replicas {
		if r := &p.replicas[i]; r.id != p.env.Node && r.inSync && r.epoch > 0 && r.durable >= most && wanted(r.id) {
			id, ok, most = r.id, true, r.durable+1
		}
	}
	return id, ok
}

// ReplicaState is what the leader knows of a replica.
type ReplicaState struct {
	ID       kafka.BrokerID
	Durable  kafka.Offset
	InSync   bool
	CaughtUp time.Time
}

// Replicas lists what is known of the replicas, while this broker leads.
func (p *Partition) Replicas() (list []ReplicaState) {
	p.ackMu.Lock()
	defer p.ackMu.Unlock()
	for i := range p.replicas {
		r := &p.replicas[i]
		s := ReplicaState{r.id, r.durable, r.inSync, r.caughtUp}
		if r.id == p.env.Node {
			s.Durable, s.CaughtUp = p.log.DurableEnd(), p.env.Clock()
		}
		list = append(list, s)
	}
	return list
}
