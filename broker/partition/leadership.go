package partition

import (
	"slices"

	"github.com/qanat-io/qanat/wire/kafka"
)

// A partition leads, follows, or neither; the quorum decides which, and under which epoch.
//
//	          Lead(e)                     Follow(leader, e)
//	   ┌────────────────▸ leads ◂────────────────────┐
//	neither ◂── Resign ──┘   └── Resign ──▸ neither   follows: AppendFetched, Truncate, Rebase
//	   └─────────────────────── Follow ─────────────────▴
//
// Each change is made between two appends: what an earlier role still tries is refused by its epoch.

// Leadership is what the quorum has decided of a partition that this broker leads.
type Leadership struct {
	Epoch          kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	Replicas       []kafka.BrokerID // this broker among them, as in ISR
	ISR            []kafka.BrokerID
	ELR            []kafka.BrokerID // KIP-966
}

// Lead starts a leadership, or takes over what has changed in the present one. The high watermark stays where it was
// known to be: every in-sync replica has what lies below it.
func (p *Partition) Lead(l Leadership) {
	p.appendMu.Lock()
	p.ackMu.Lock()
	if p.LeaderEpoch() != l.Epoch {
		p.followed.Store(nil)
		p.log.SetEpoch(l.Epoch)
		p.epochStart = p.log.End()
		p.replicas = nil
		p.partitionEpoch = -1
	}
	again := p.takeOver(l)
	p.leaderEpoch.Store(int32(l.Epoch))
	short := p.shortOfReplicas()
	p.ackMu.Unlock()
	p.appendMu.Unlock()
	fail(short, ErrNotEnoughReplicasAfterAppend)
	p.advance()
	p.listeners.notify(p)
	p.appended.notify(p)
	if again {
		p.tellISR()
	}
}

// takeOver brings the replicas in line with a newer decision of the quorum. What is known of those that stay is kept; ISR
// changes that were proposed for an older one can no longer happen: again tells that they kept another from being made. ackMu is held.
func (p *Partition) takeOver(l Leadership) (again bool) {
	if p.partitionEpoch >= l.PartitionEpoch {
		return false
	}
	p.partitionEpoch = l.PartitionEpoch
	again = p.lookAgain
	p.proposed, p.unsettled, p.lookAgain = false, false, false
	p.elr = slices.Clone(l.ELR)
	old := p.replicas
	p.replicas = make([]replica, 0, len(l.Replicas))
	for _, id := range l.Replicas {
		r := replica{id: id, caughtUp: p.env.Clock()}
		if slices.Contains(l.ISR, id) {
			r.durable = p.HighWatermark() // which it is known to have, before it has fetched
		}
		if i := slices.IndexFunc(old, func(r replica) bool { return r.id == id }); i >= 0 {
			r = old[i]
		}
		r.inSync = slices.Contains(l.ISR, id)
		r.counted = r.inSync
		p.replicas = append(p.replicas, r)
	}
	p.isrSize.Store(int32(len(l.ISR)))
	p.assigned.Store(int32(len(l.Replicas)))
	return again
}

// Resign ends whatever role the partition has: every waiter is answered with ErrNotLeader and listeners look again.
func (p *Partition) Resign() { p.standBack(nil) }

// Follow makes the partition a follower under an epoch; see the methods in follow.go.
func (p *Partition) Follow(leader kafka.BrokerID, epoch kafka.LeaderEpoch) {
	if f := p.followed.Load(); f != nil && f.epoch == epoch {
		return
	}
	p.standBack(&following{leader: leader, epoch: epoch})
	p.bugTruncate()
}

func (p *Partition) standBack(f *following) {
	p.appendMu.Lock()
	p.ackMu.Lock()
	p.leaderEpoch.Store(int32(kafka.NoEpoch))
	p.log.SetEpoch(kafka.NoEpoch)
	p.followed.Store(f)
	p.tenure++
	p.replicas, p.elr, p.leaderHW = nil, nil, 0
	p.proposed, p.unsettled, p.lookAgain = false, false, false
	p.isrSize.Store(0)
	waiting := p.waiters.take()
	p.ackMu.Unlock()
	p.appendMu.Unlock()
	fail(waiting, ErrNotLeader)
	p.listeners.notify(p)
	p.appended.notify(p)
}

// shortOfReplicas takes the waiters, when too few replicas are in sync for them ever to be answered well. ackMu is held.
func (p *Partition) shortOfReplicas() []waiter {
	if int(p.isrSize.Load()) >= p.MinISR() {
		return nil
	}
	return p.waiters.take()
}

// fail answers waiters that were taken out of the queue.
func fail(waiting []waiter, err error) {
	for _, w := range waiting {
		if err == ErrNotLeader {
			w.r = nowhere
		}
		w.r.Err = err
		w.to.Produced(w.slot, w.r)
	}
}

// nowhere is the outcome of what was not appended, or is no longer known to stay.
var nowhere = Produced{Base: -1, LogAppendTime: -1, LogStart: -1}

// MinISR is how many replicas have to be in sync for records to be acknowledged: min.insync.replicas, but never more than there are, as
// in Kafka.
func (p *Partition) MinISR() int {
	want := p.settings.Load().MinISR
	if n := int(p.assigned.Load()); n > 0 {
		want = min(want, n)
	}
	return want
}
