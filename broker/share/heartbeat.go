package share

import (
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// maxMemberID bounds a member's id, which its client draws: a UUID, as Kafka demands.
const maxMemberID = 36

// CheckMemberID refuses what Kafka does not take for an id.
func CheckMemberID(id string) error {
	if group.Blank(id) || len(id) > maxMemberID {
		return fmt.Errorf("%w: a member id of %d bytes", ErrInvalidRequest, len(id))
	}
	return nil
}

// Check refuses what contradicts itself, as Kafka does.
func (l *GroupLimits) Check(r *Heartbeat) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalidRequest}, args...)...)
	}
	if err := CheckMemberID(r.MemberID); err != nil {
		return err
	}
	switch {
	case r.Epoch < Leaving:
		return bad("member epoch %d", r.Epoch)
	case r.Rack != nil && group.Blank(*r.Rack):
		return bad("an empty rack id")
	case r.Epoch == Joining && len(r.Topics) == 0:
		return bad("who joins says what it subscribes to")
	}
	return nil
}

// Heartbeat takes a heartbeat: a member joins, goes on or leaves. The answer is returned, or, when it is not done, comes as an Answer to t in a
// later call's effects. One that changes nothing allocates nothing.
func (g *Group) Heartbeat(now time.Time, r *Heartbeat, w World, t Ticket, out *Effects) (reply Reply, done bool) {
	m, err := g.receive(now, r, w, out)
	switch {
	case err != nil:
		g.flush(out)
		return Reply{Err: err, MemberID: r.MemberID, Epoch: r.Epoch}, true
	case r.Epoch == Leaving:
		return g.tell(waiting{ticket: t, reply: Reply{MemberID: m.id, Epoch: Leaving, Interval: w.Heartbeat}}, out)
	}
	return g.tell(waiting{ticket: t, m: m, whole: r.Epoch == Joining, reply: Reply{MemberID: m.id, Interval: w.Heartbeat}}, out)
}

// receive checks a heartbeat and does what it says of the member itself.
func (g *Group) receive(now time.Time, r *Heartbeat, w World, out *Effects) (*member, error) {
	if err := g.limits.Check(r); err != nil {
		return nil, err
	}
	if g.dead {
		return nil, group.ErrNotAvailable
	}
	m := g.members[r.MemberID]
	switch {
	case r.Epoch == Joining && m == nil:
		if len(g.order) >= g.limits.MaxSize {
			return nil, group.ErrMaxSize
		}
		m = &member{id: r.MemberID, epoch: Joining, previous: Joining}
		return m, g.update(now, m, r, w, false)
	case m == nil:
		return nil, group.ErrUnknownMember
	case r.Epoch == Leaving:
		g.remove(m, group.MemberLeft, "", out)
		return m, nil
	}
	if err := g.checkEpoch(m, r.Epoch); err != nil {
		return nil, err
	}
	return m, g.update(now, m, r, w, true)
}

// checkEpoch: a member comes with the epoch that it was told, or with the one before, when the answer was lost; who begins anew, with none.
func (g *Group) checkEpoch(m *member, epoch int32) error {
	switch {
	case m.epoch < 0 && epoch <= g.epoch:
		m.epoch, m.previous = epoch, epoch
		return nil
	case epoch == Joining || epoch == m.epoch || epoch == m.previous:
		return nil
	}
	return fmt.Errorf("%w: it is %d, the member's is %d", ErrFencedEpoch, m.epoch, epoch)
}

// update makes a member what it says it is, and begins an epoch if that is a reason.
func (g *Group) update(now time.Time, m *member, r *Heartbeat, w World, known bool) error {
	n := *m
	if r.Rack != nil {
		n.rack = *r.Rack
	}
	n.client, n.host = r.ClientID, r.ClientHost
	subscribes := r.HasTopics && !sameNames(n.names, r.Topics)
	if subscribes {
		n.names = sortedNames(r.Topics)
	}
	if known && !subscribes && n.rack == m.rack && n.client == m.client && n.host == m.host {
		g.touch(m, now, w.Session)
		g.look(w.Topics)
		return nil
	}
	before := 0
	if known {
		before = m.bytes()
	}
	if g.bytes-before+n.bytes() > g.limits.MaxBytes {
		return group.ErrMaxSize
	}
	*m = n
	m.dirty, g.head = true, true
	if known {
		g.bytes += m.bytes() - before
	} else {
		g.insert(m)
	}
	g.touch(m, now, w.Session)
	if subscribes || !known {
		m.topics = g.resolve(m)
		g.stale = true
	}
	g.look(w.Topics)
	return nil
}

// sameNames tells whether a request's names, in any order, are those that are kept.
func sameNames(kept, said []string) bool {
	return len(kept) == len(said) && (slices.Equal(kept, said) || slices.Equal(kept, sortedNames(said)))
}

func sortedNames(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

// Keep makes a group that is only a name a durable one, so that it can have shares. done is false when the answer comes later.
func (g *Group) Keep(t Ticket, out *Effects) (done bool, err error) {
	if g.dead {
		return true, group.ErrNotAvailable
	}
	g.head = g.head || !g.kept
	_, done = g.tell(waiting{ticket: t}, out)
	return done, nil
}
