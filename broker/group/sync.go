package group

import (
	"bytes"
	"fmt"
	"time"
)

// assigning is the leader's assignment on its way to durability.
type assigning struct {
	seq  uint64
	data map[string][]byte
}

// Sync takes a SyncGroup. The answer comes as a SyncReply to t, in out or in a later call's effects.
func (g *Group) Sync(now time.Time, r SyncRequest, t Ticket, out *Effects) {
	if err := g.checkSync(&r); err != nil {
		if err == ErrInconsistentProtocol {
			g.event(MemberUnfit, r.MemberID, fmt.Sprintf("it syncs with type %.100q and protocol %.100q; the group has %.100q and %.100q, state %v",
				deref(r.Type), deref(r.Protocol), g.protocolType, g.protocol, g.state), out)
		}
		out.sync(t, SyncResult{Err: err})
		return
	}
	m := g.members[r.MemberID]
	g.setMustSync(m, false)
	if g.unsynced == 0 {
		g.syncAt = time.Time{}
	}
	if g.state == Stable {
		out.sync(t, g.synced(m))
		return
	}
	if m.syncing != nil { // superseded by its sender
		out.sync(m.syncing, SyncResult{Err: ErrRebalanceInProgress})
	}
	m.syncing = t
	if m.id == g.leader {
		g.assign(now, r.Assignments, out)
	}
}

func (g *Group) checkSync(r *SyncRequest) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	if err := g.validate(r.MemberID, r.InstanceID); err != nil {
		return err
	}
	switch {
	case r.Generation != g.generation:
		return ErrIllegalGeneration
	case r.Type != nil && *r.Type != g.protocolType, r.Protocol != nil && *r.Protocol != g.protocol:
		return ErrInconsistentProtocol
	case g.state == PreparingRebalance:
		return ErrRebalanceInProgress
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// assign makes the leader's assignment durable; members learn it from Persisted.
func (g *Group) assign(now time.Time, as []Assignment, out *Effects) {
	data := make(map[string][]byte, len(g.order))
	size := g.bytes
	for _, a := range as {
		if g.members[a.MemberID] != nil { // who has left meanwhile is passed over
			data[a.MemberID] = bytes.Clone(a.Data)
			size += len(a.Data)
		}
	}
	if size > g.limits.MaxBytes {
		g.failSyncs(now, ErrTooLarge, out)
		g.prepare(now, "assignment is too large", out)
		return
	}
	seq := g.persist(now, data, out)
	g.assigning = &assigning{seq, data}
}

func (g *Group) synced(m *member) SyncResult {
	return SyncResult{Type: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// answerSync answers m's parked sync, if there is one, and restarts its session, which stood still meanwhile.
func (g *Group) answerSync(now time.Time, m *member, r SyncResult, out *Effects) {
	if m.syncing != nil {
		out.sync(m.syncing, r)
		m.syncing = nil
		g.touch(m, now, m.session)
	}
}

// failSyncs answers all parked syncs with err and forgets assignments.
func (g *Group) failSyncs(now time.Time, err error, out *Effects) {
	for _, m := range g.order {
		g.setAssignment(m, nil)
		g.answerSync(now, m, SyncResult{Err: err}, out)
	}
	g.assigning = nil
}

// Persisted tells the outcome of a Persist. A caller tells every one exactly once, in the order of their Seq.
func (g *Group) Persisted(now time.Time, seq uint64, err error, out *Effects) {
	if s := g.swaps[seq]; s != nil {
		delete(g.swaps, seq)
		g.swapped(now, s, err, out)
		return
	}
	if g.emptied == seq {
		if err == nil {
			g.emptied = 0
		} else { // members that are gone must not stay in the durable state
			g.saveAt = now.Add(postponed)
		}
		return
	}
	a := g.assigning
	if a == nil || a.seq != seq {
		return // the group has moved on
	}
	g.assigning = nil
	if err != nil {
		g.failSyncs(now, err, out)
		g.prepare(now, "assignment could not be stored: "+err.Error(), out)
		return
	}
	g.enter(Stable, now)
	g.event(GroupStable, "", "", out)
	for _, m := range g.order {
		g.setAssignment(m, a.data[m.id])
		g.answerSync(now, m, g.synced(m), out)
	}
}
