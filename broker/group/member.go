package group

import "time"

// Heartbeat keeps a member's session. ErrRebalanceInProgress tells the member to join again; its session is kept all the same.
func (g *Group) Heartbeat(now time.Time, who Identity) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	if err := g.validate(who.MemberID, who.InstanceID); err != nil {
		return err
	}
	if who.Generation != g.generation {
		return ErrIllegalGeneration
	}
	m := g.members[who.MemberID]
	if !m.fresh { // a parked first join keeps its own bound
		g.touch(m, now, m.session)
	}
	if g.state == PreparingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}

// Commit decides whether an offset commit is accepted, and keeps the member's session.
//
// A negative generation is a client without membership: it may commit while the group has no members.
func (g *Group) Commit(now time.Time, who Identity) error {
	switch {
	case g.state == Dead:
		return ErrNotAvailable
	case who.Generation < 0 && g.state == Empty:
		return nil
	case who.Generation < 0 && who.MemberID == "" && who.InstanceID == "":
		return ErrUnknownMember
	}
	if err := g.validate(who.MemberID, who.InstanceID); err != nil {
		return err
	}
	if who.Generation != g.generation {
		return ErrIllegalGeneration
	}
	if g.state == CompletingRebalance {
		return ErrRebalanceInProgress
	}
	if m := g.members[who.MemberID]; !m.fresh {
		g.touch(m, now, m.session)
	}
	return nil
}

// Leave removes members; the result has one error or nil for each.
func (g *Group) Leave(now time.Time, who []Leaver, out *Effects) []error {
	errs := make([]error, len(who))
	left := 0
	for i, l := range who {
		if errs[i] = g.leave(now, l, out); errs[i] == nil {
			left++
		}
	}
	if left > 0 {
		switch g.state {
		case Stable, CompletingRebalance:
			g.prepare(now, "members left", out)
		case PreparingRebalance:
			g.maybeCompleteJoin(now, out)
		}
	}
	return errs
}

func (g *Group) leave(now time.Time, l Leaver, out *Effects) error {
	if g.state == Dead {
		return ErrNotAvailable
	}
	id := l.MemberID
	if id == "" { // an administrator removes an instance
		if id = g.static[l.InstanceID]; l.InstanceID == "" || id == "" {
			return ErrUnknownMember
		}
	} else if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		return nil
	} else if err := g.validate(id, l.InstanceID); err != nil {
		return err
	}
	m := g.members[id]
	g.event(MemberLeft, m.id, l.Reason[:min(len(l.Reason), 255)], out)
	g.dismiss(now, m, ErrUnknownMember, out)
	return nil
}

// CheckDelete says whether the group may be deleted.
func (g *Group) CheckDelete() error {
	switch g.state {
	case Empty:
		return nil
	case Dead:
		return ErrNotFound
	}
	return ErrNonEmpty
}

// CheckOffsetDelete says whether offsets may be deleted at all; see Subscribed for single topics.
func (g *Group) CheckOffsetDelete() error {
	switch {
	case g.state == Dead:
		return ErrNotFound
	case g.state == Empty || g.protocolType == ConsumerType:
		return nil
	}
	return ErrNonEmpty
}

// Abort answers everything that is parked with err: the broker stops.
func (g *Group) Abort(now time.Time, err error, out *Effects) {
	for _, m := range g.order {
		g.answerJoin(m, JoinResult{Err: err, MemberID: m.id}, out)
		g.answerSync(now, m, SyncResult{Err: err}, out)
	}
}
