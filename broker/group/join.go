package group

import (
	"fmt"
	"slices"
	"time"
)

// Join takes a JoinGroup. The answer comes as a JoinReply to t, in out or in a later call's effects.
func (g *Group) Join(now time.Time, r JoinRequest, t Ticket, out *Effects) {
	if err := g.admit(&r); err != nil {
		id := r.MemberID
		if err == ErrMaxSize {
			g.expel(now, id, out)
			id = ""
		}
		if err == ErrInconsistentProtocol {
			g.event(MemberUnfit, id, g.unfit(&r), out)
		}
		out.join(t, JoinResult{Err: err, MemberID: id})
		return
	}
	r.Protocols = copyProtocols(r.Protocols)
	r.Rebalance = max(r.Rebalance, 0)
	if _, expected := g.pending[r.MemberID]; expected {
		if r.InstanceID != "" { // ids are only handed out to dynamic members
			out.join(t, JoinResult{Err: ErrUnknownMember, MemberID: r.MemberID})
			return
		}
		g.addMember(now, &r, r.MemberID, t, out)
		return
	}
	if r.MemberID == "" {
		g.joinNew(now, &r, t, out)
		return
	}
	g.rejoin(now, &r, t, out)
}

// admit decides whether the request may be looked at at all.
func (g *Group) admit(r *JoinRequest) error {
	if err := g.limits.Check(r); err != nil {
		return err
	}
	switch {
	case g.state == Dead:
		return ErrNotAvailable
	case !g.hasRoom(r.MemberID):
		return ErrMaxSize
	case r.Type == "" || len(r.Protocols) == 0 || slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return p.Name == "" }):
		return ErrInconsistentProtocol
	case len(g.order) > 0 && (r.Type != g.protocolType || !g.shares(r.Protocols)):
		return ErrInconsistentProtocol
	case len(g.order) == 0 && g.state != Empty && r.Type != g.protocolType:
		return ErrInconsistentProtocol
	case !g.hasBytes(r):
		return ErrTooLarge
	}
	return nil
}

// unfit says why a join's protocols are not the group's.
func (g *Group) unfit(r *JoinRequest) string {
	const most = 8 // of any number, with names as long as clients want
	var offered, shared []string
	for _, p := range r.Protocols[:min(len(r.Protocols), most)] {
		offered = append(offered, p.Name)
	}
	for name, n := range g.supported {
		if n == len(g.order) {
			shared = append(shared, name)
		}
	}
	slices.Sort(shared)
	return fmt.Sprintf("it is of type %.100q and offers %.100q; the group's members are of type %.100q and share %.100q, state %v",
		r.Type, offered, g.protocolType, shared[:min(len(shared), most)], g.state)
}

// hasRoom is group.max.size. During a join phase those who have rejoined count, so that the last to rejoin are
// turned away when the limit was lowered.
func (g *Group) hasRoom(id string) bool {
	m := g.members[id]
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.joining != nil || g.parked < g.limits.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.order) < g.limits.MaxSize
	}
	return true
}

func (g *Group) hasBytes(r *JoinRequest) bool {
	n := g.bytes
	for _, p := range r.Protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	if m := g.members[r.MemberID]; m != nil {
		n -= m.bytes()
	}
	return n <= g.limits.MaxBytes
}

// expel removes whoever was turned away for lack of room.
func (g *Group) expel(now time.Time, id string, out *Effects) {
	delete(g.pending, id)
	if m := g.members[id]; m != nil {
		g.dismiss(now, m, ErrUnknownMember, out)
	}
	g.maybeCompleteJoin(now, out)
}

// joinNew is a first join: no member id yet.
func (g *Group) joinNew(now time.Time, r *JoinRequest, t Ticket, out *Effects) {
	switch old, known := g.static[r.InstanceID]; {
	case r.InstanceID != "" && known:
		g.replaceInstance(now, r, g.members[old], t, out)
	case r.InstanceID == "" && r.RequireKnownID:
		if len(g.pending) >= g.limits.MaxPending {
			out.join(t, JoinResult{Err: ErrMaxSize})
			return
		}
		// KIP-394: the client comes back with this id, so that a join that is retried does not leave a ghost.
		if g.pending == nil {
			g.pending = map[string]time.Time{}
		}
		g.pending[r.NewMemberID] = now.Add(r.Session)
		g.noteDeadline(now.Add(r.Session))
		out.join(t, JoinResult{Err: ErrMemberIDRequired, MemberID: r.NewMemberID})
	default:
		g.addMember(now, r, r.NewMemberID, t, out)
	}
}

// rejoin is the join of a member that has an id.
func (g *Group) rejoin(now time.Time, r *JoinRequest, t Ticket, out *Effects) {
	if err := g.validate(r.MemberID, r.InstanceID); err != nil {
		out.join(t, JoinResult{Err: err, MemberID: r.MemberID})
		return
	}
	m := g.members[r.MemberID]
	switch g.state {
	case PreparingRebalance:
		g.update(m, r, t, out)
		g.maybeCompleteJoin(now, out)
	case CompletingRebalance:
		if m.matches(r.Protocols) { // it lost the answer to its join
			out.join(t, g.joined(m, m.id == g.leader))
			return
		}
		g.update(m, r, t, out)
		g.prepare(now, "member "+m.id+" changed its metadata"+because(r.Reason), out)
	case Stable:
		// The leader rejoins to make a rebalance of what it has seen change (topics); others when they
		// have changed themselves: that is also how cooperative members give partitions up (KIP-429).
		if m.id != g.leader && m.matches(r.Protocols) {
			out.join(t, g.joined(m, false))
			return
		}
		g.update(m, r, t, out)
		g.prepare(now, "member "+m.id+" rejoined"+because(r.Reason), out)
	default:
		panic("a member in state " + g.state.String())
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason[:min(len(reason), 255)]
}

// joined is the answer to a member of the current generation.
func (g *Group) joined(m *member, withMembers bool) JoinResult {
	r := JoinResult{MemberID: m.id, Generation: g.generation, Type: g.protocolType, Protocol: g.protocol, Leader: g.leader}
	if withMembers {
		r.Members = make([]JoinedMember, len(g.order))
		for i, m := range g.order {
			r.Members[i] = JoinedMember{m.id, m.instance, m.metadata(g.protocol)}
		}
	}
	return r
}

// addMember makes a member and parks its join.
func (g *Group) addMember(now time.Time, r *JoinRequest, id string, t Ticket, out *Effects) {
	delete(g.pending, id)
	if len(g.order) == 0 {
		g.protocolType = r.Type
	}
	m := &member{
		id: id, instance: r.InstanceID, client: r.ClientID, host: r.ClientHost,
		session: r.Session, rebalance: r.Rebalance, protocols: r.Protocols, fresh: true,
	}
	g.insert(m)
	if g.leader == "" {
		g.leader = id
	}
	g.park(m, t, out)
	if g.state == PreparingRebalance && g.previous == Empty {
		g.newMemberSeen = true
	}
	// It cannot heartbeat before it is answered, and its connection's end is not seen while its request is
	// parked: without this bound, clients that retry would fill the group with ghosts.
	g.touch(m, now, g.limits.NewMemberJoin)
	g.prepareOrComplete(now, "member "+id+" joined"+because(r.Reason), out)
}

// update takes over what a rejoining member says, and parks its join.
func (g *Group) update(m *member, r *JoinRequest, t Ticket, out *Effects) {
	g.setProtocols(m, r.Protocols)
	m.session, m.rebalance = r.Session, r.Rebalance
	g.park(m, t, out)
}

// park keeps a join. One that was parked before is superseded: its sender has given it up, or it would not ask again.
func (g *Group) park(m *member, t Ticket, out *Effects) {
	if m.joining != nil {
		out.join(m.joining, JoinResult{Err: ErrRebalanceInProgress, MemberID: m.id})
	} else {
		g.parked++
	}
	m.joining = t
}

// answerJoin answers m's parked join, if there is one.
func (g *Group) answerJoin(m *member, r JoinResult, out *Effects) {
	if m.joining != nil {
		out.join(m.joining, r)
		m.joining = nil
		g.parked--
	}
}

func (o *Effects) join(t Ticket, r JoinResult) {
	if r.Err != nil {
		r.Generation = -1
	}
	o.Joins = append(o.Joins, JoinReply{t, r})
}

func (o *Effects) sync(t Ticket, r SyncResult) { o.Syncs = append(o.Syncs, SyncReply{t, r}) }

func (g *Group) event(k EventKind, member, reason string, out *Effects) {
	out.Events = append(out.Events, Event{k, member, reason, g.generation, len(g.order)})
}
