package group

import "time"

// swap is a static member's new id on its way to durability, and how to take it back.
type swap struct {
	m                  *member
	newID, oldID       string
	oldLeader          string
	oldProtocols       []Protocol
	session, rebalance time.Duration
	skipAssignment     bool
}

// replaceInstance gives a static member's place to its restarted process (KIP-345): under a new id, with the
// assignment of the old one, and without a rebalance if the group is stable and would elect the same protocol.
func (g *Group) replaceInstance(now time.Time, r *JoinRequest, m *member, t Ticket, out *Effects) {
	g.answerJoin(m, JoinResult{Err: ErrFencedInstance, MemberID: m.id}, out)
	g.answerSync(now, m, SyncResult{Err: ErrFencedInstance}, out)
	s := &swap{
		m: m, newID: r.NewMemberID, oldID: m.id, oldLeader: g.leader, oldProtocols: m.protocols,
		session: m.session, rebalance: m.rebalance, skipAssignment: r.SkipAssignment,
	}
	if g.leader == m.id {
		g.leader = r.NewMemberID
	}
	g.rename(m, r.NewMemberID)
	m.client, m.host, m.fresh = r.ClientID, r.ClientHost, false
	g.update(m, r, t, out)
	g.touch(m, now, m.session)
	g.event(InstanceReplaced, m.id, r.InstanceID, out)

	switch g.state {
	case Stable:
		if g.vote() != g.protocol {
			g.prepare(now, "static member "+m.instance+" changed the elected protocol"+because(r.Reason), out)
			return
		}
		if g.swaps == nil {
			g.swaps = map[uint64]*swap{}
		}
		g.swaps[g.persist(now, g.assignments(), out)] = s
	case CompletingRebalance:
		// The leader may be assigning to the old id at this moment; the new one would get nothing.
		g.prepare(now, "static member "+m.instance+" was replaced"+because(r.Reason), out)
	default:
		g.maybeCompleteJoin(now, out)
	}
}

func (g *Group) assignments() map[string][]byte {
	as := make(map[string][]byte, len(g.order))
	for _, m := range g.order {
		as[m.id] = m.assignment
	}
	return as
}

// swapped answers the replaced member when its id is durable. If the group began to rebalance meanwhile, its join
// stays parked and belongs to that join phase; if it was replaced once more, the later swap answers.
func (g *Group) swapped(now time.Time, s *swap, err error, out *Effects) {
	m := s.m
	if g.members[s.newID] != m || m.joining == nil || g.state != Stable {
		return
	}
	if err != nil { // the durable state still names the old id: take it back
		g.answerJoin(m, JoinResult{Err: err}, out)
		if g.leader == m.id {
			g.leader = s.oldID
		}
		g.rename(m, s.oldID)
		g.setProtocols(m, s.oldProtocols)
		m.session, m.rebalance = s.session, s.rebalance
		g.touch(m, now, m.session)
		return
	}
	leads := m.id == g.leader
	r := g.joined(m, s.skipAssignment && leads)
	if s.skipAssignment {
		r.SkipAssignment = leads // KIP-814: it leads, and must not assign
	} else {
		r.Leader = s.oldLeader // a client that cannot skip is not told that it leads
	}
	g.answerJoin(m, r, out)
	g.touch(m, now, m.session)
}
