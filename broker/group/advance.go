package group

import (
	"slices"
	"time"
)

// Next is when Advance wants to be called, if nothing happens before; zero: never. It may be early, never late.
func (g *Group) Next() time.Time {
	var next time.Time
	for _, t := range [...]time.Time{g.joinAt, g.syncAt, g.saveAt, g.check} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Advance lets time pass: phases end, sessions expire. Each kind of deadline is looked at once.
func (g *Group) Advance(now time.Time, out *Effects) {
	if due(g.check, now) {
		g.expire(now, out)
	}
	if due(g.syncAt, now) {
		g.syncDue(now, out)
	}
	if due(g.saveAt, now) {
		g.saveAt = time.Time{}
		g.emptied = g.persist(now, nil, out)
	}
	if due(g.joinAt, now) {
		g.joinAt = time.Time{}
		if g.initial {
			g.initialDue(now, out)
		} else {
			g.completeJoin(now, out)
		}
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// expire removes members and pending ids whose session has ended, then finds the next deadline.
func (g *Group) expire(now time.Time, out *Effects) {
	g.check = time.Time{}
	lapsed := false
	for id, t := range g.pending {
		if due(t, now) {
			delete(g.pending, id)
			lapsed = true
		} else {
			g.noteDeadline(t)
		}
	}
	failed := false
	for _, m := range slices.Clone(g.order) {
		switch {
		case !m.mayExpire():
		case due(m.deadline, now):
			g.event(MemberFailed, m.id, "session expired", out)
			g.dismiss(now, m, ErrUnknownMember, out)
			failed = true
		default:
			g.noteDeadline(m.deadline)
		}
	}
	if failed {
		g.removed(now, "sessions expired", out)
	} else if lapsed && g.state == PreparingRebalance && g.allJoined() {
		g.completeJoin(now, out)
	}
}
