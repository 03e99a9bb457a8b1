package group

import "time"

// postponed is the least time until a join phase that nobody has rejoined, or a state that could not be stored,
// is looked at again.
const postponed = time.Second

// prepareOrComplete reacts to a change of membership.
func (g *Group) prepareOrComplete(now time.Time, reason string, out *Effects) {
	if validFrom(PreparingRebalance, g.state) {
		g.prepare(now, reason, out)
	} else {
		g.maybeCompleteJoin(now, out)
	}
}

// prepare begins a join phase: every member must join again before the rebalance timeout.
func (g *Group) prepare(now time.Time, reason string, out *Effects) {
	if g.state == CompletingRebalance {
		g.failSyncs(now, ErrRebalanceInProgress, out)
	}
	g.stopSyncPhase()
	g.emptied, g.saveAt = 0, time.Time{}
	first := g.state == Empty
	g.enter(PreparingRebalance, now)
	g.event(RebalanceStarted, "", reason, out)
	if first {
		// KIP-134: wait a little, so that members that start together are assigned together.
		g.initial, g.newMemberSeen = true, false
		g.initialDelay = g.limits.InitialDelay
		g.initialLeft = max(g.rebalanceTimeout()-g.limits.InitialDelay, 0)
		g.joinAt = now.Add(g.initialDelay)
		return
	}
	if g.allJoined() {
		g.completeJoin(now, out)
		return
	}
	g.joinAt = now.Add(g.rebalanceTimeout())
}

func (g *Group) allJoined() bool { return g.parked == len(g.order) && len(g.pending) == 0 }

// maybeCompleteJoin ends the join phase when all are here; the initial delay is waited out nevertheless.
func (g *Group) maybeCompleteJoin(now time.Time, out *Effects) {
	if g.state == PreparingRebalance && !g.initial && g.allJoined() {
		g.completeJoin(now, out)
	}
}

// initialDue is the end of one round of the initial delay.
func (g *Group) initialDue(now time.Time, out *Effects) {
	if !g.newMemberSeen || g.initialLeft == 0 {
		g.completeJoin(now, out)
		return
	}
	g.newMemberSeen = false
	next := min(g.limits.InitialDelay, g.initialLeft)
	g.initialLeft = max(g.initialLeft-g.initialDelay, 0)
	g.initialDelay = next
	g.joinAt = now.Add(next)
}

// completeJoin ends the join phase: who has not come is out (static members stay until their session ends), the
// protocol is elected, and everybody learns the new generation.
func (g *Group) completeJoin(now time.Time, out *Effects) {
	g.joinAt, g.initial = time.Time{}, false
	for i := len(g.order) - 1; i >= 0; i-- {
		if m := g.order[i]; m.joining == nil && m.instance == "" {
			g.event(MemberFailed, m.id, "did not rejoin in time", out)
			g.drop(m)
		}
	}
	if len(g.order) > 0 && !g.electJoinedLeader() {
		// Only static members are left and none has come back: their sessions decide.
		g.joinAt = now.Add(max(g.rebalanceTimeout(), postponed))
		return
	}
	g.generation++
	g.unsyncAll()
	if len(g.order) == 0 {
		g.protocol = ""
		g.enter(Empty, now)
		g.readTopics()
		g.event(GroupEmptied, "", "", out)
		if g.durable {
			g.emptied = g.persist(now, nil, out)
		}
		return
	}
	g.protocol = g.vote()
	g.enter(CompletingRebalance, now)
	g.readTopics()
	g.event(GenerationStarted, "", g.protocol, out)
	for _, m := range g.order {
		g.answerJoin(m, g.joined(m, m.id == g.leader), out)
		g.touch(m, now, m.session)
		m.fresh = false
		g.setMustSync(m, true)
	}
	g.syncAt = now.Add(g.rebalanceTimeout())
}

// electJoinedLeader keeps the leader if it has rejoined, else takes the longest-standing member that has.
func (g *Group) electJoinedLeader() bool {
	if l := g.members[g.leader]; l != nil && l.joining != nil {
		return true
	}
	for _, m := range g.order {
		if m.joining != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

func (g *Group) unsyncAll() {
	for _, m := range g.order {
		g.setMustSync(m, false)
	}
}

func (g *Group) stopSyncPhase() {
	g.unsyncAll()
	g.syncAt = time.Time{}
	g.assigning = nil
}

// syncDue ends the sync phase: who has been given the generation and has not asked for its assignment is out.
func (g *Group) syncDue(now time.Time, out *Effects) {
	g.syncAt = time.Time{}
	if g.unsynced == 0 {
		return
	}
	for i := len(g.order) - 1; i >= 0; i-- {
		if m := g.order[i]; m.mustSync {
			g.event(MemberFailed, m.id, "did not sync in time", out)
			g.answerJoin(m, JoinResult{Err: ErrUnknownMember}, out)
			g.drop(m)
		}
	}
	g.prepare(now, "members did not sync in time", out)
}

// drop removes a member without requests parked; the leadership passes to the longest-standing one.
func (g *Group) drop(m *member) {
	g.take(m)
	if g.leader == m.id {
		g.leader = ""
		if len(g.order) > 0 {
			g.leader = g.order[0].id
		}
	}
}

// dismiss removes a member, answering what it has parked.
func (g *Group) dismiss(now time.Time, m *member, why error, out *Effects) {
	g.answerJoin(m, JoinResult{Err: why}, out)
	if m.syncing != nil {
		g.answerSync(now, m, SyncResult{Err: why}, out)
	}
	g.drop(m)
}

// removed reacts to the loss of a member by failure.
func (g *Group) removed(now time.Time, reason string, out *Effects) {
	switch {
	case g.state == Stable || g.state == CompletingRebalance:
		g.prepare(now, reason, out)
	case g.state == PreparingRebalance && g.allJoined():
		g.completeJoin(now, out)
	}
}
