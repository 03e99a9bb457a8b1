package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

// Heartbeat takes a heartbeat of a member that uses the consumer protocol: it joins, goes on or leaves. The answer is returned, or, when it is
// not done, comes as an Answer to t in a later call's effects. A heartbeat that changes nothing allocates nothing.
func (g *Group) Heartbeat(now time.Time, r *Heartbeat, w World, t Ticket, out *Effects) (reply Reply, done bool) {
	m, err := g.receive(now, r, w, out)
	switch {
	case err != nil:
		g.flush(out) // what was found out about the topics meanwhile
		return Reply{Err: err, MemberID: r.MemberID, Epoch: r.Epoch}, true
	case r.Epoch < 0:
		return g.tell(waiting{ticket: t, reply: Reply{MemberID: m.id, Epoch: r.Epoch, Interval: w.Heartbeat}, need: g.next}, out)
	}
	x := waiting{
		ticket: t, m: m, owned: r.Owned, told: r.HasOwned,
		whole: r.Epoch == Joining || r.RebalanceMs >= 0 && (r.HasTopics || r.Regex != nil) && r.HasOwned,
		reply: Reply{MemberID: m.id, Interval: w.Heartbeat},
	}
	if g.epoch > g.target && g.flying != 0 {
		g.late = append(g.late, x)
		return Reply{}, false
	}
	return g.serve(now, x, out)
}

// serve brings the member nearer to the target and answers it.
func (g *Group) serve(now time.Time, x waiting, out *Effects) (Reply, bool) {
	if g.epoch > g.target {
		g.retarget(out)
	}
	m := x.m
	changed := g.reconcile(now, m, x.owned, x.told)
	x.reply.Epoch, x.need = m.epoch, m.saved
	if x.whole || changed {
		x.reply.Assigned, x.reply.Assignment = true, m.assigned
	}
	return g.tell(x, out)
}

// receive checks a heartbeat and does what it says of the member itself.
func (g *Group) receive(now time.Time, r *Heartbeat, w World, out *Effects) (*member, error) {
	if err := g.limits.Check(r); err != nil {
		return nil, err
	}
	if g.dead {
		return nil, group.ErrNotAvailable
	}
	if r.Epoch < 0 {
		return g.leave(now, r, out)
	}
	m, err := g.find(r, out)
	if err != nil {
		return nil, err
	}
	n := *m // what it says, before it is believed
	changed, err := g.update(&n, r)
	if err != nil {
		return nil, err
	}
	known := g.members[m.id] == m
	if known && !changed {
		g.touch(m, now, w.Session)
		g.look(w.Topics)
		return m, nil
	}
	return m, g.adopt(now, m, n, known, w)
}

// adopt makes a member what it says it is, and begins an epoch if that is a reason.
func (g *Group) adopt(now time.Time, m *member, n member, known bool, w World) error {
	before := 0
	if known {
		before = m.bytes()
	}
	if g.bytes-before+n.bytes() > g.limits.MaxBytes {
		return group.ErrMaxSize
	}
	if err := g.learn(n.regex); err != nil {
		return err
	}
	subscribes := !known || !slices.Equal(m.names, n.names) || m.regex != n.regex || m.assignor != n.assignor
	*m = n
	if known {
		g.bytes += m.bytes() - before
	} else {
		g.insert(m)
		g.save(m, currentDirt)
	}
	g.save(m, metaDirt)
	g.touch(m, now, w.Session)
	if subscribes {
		m.topics = g.resolve(m)
		g.bump()
	}
	g.look(w.Topics)
	return nil
}

// Check refuses what contradicts itself, as Kafka does, or asks for what there is not.
func (l *Limits) Check(r *Heartbeat) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalidRequest}, args...)...)
	}
	switch {
	case group.Blank(r.MemberID) && (r.NeedMemberID || r.Epoch != Joining):
		return bad("no member id")
	case r.InstanceID != nil && group.Blank(*r.InstanceID):
		return bad("an empty instance id")
	case r.Rack != nil && group.Blank(*r.Rack):
		return bad("an empty rack id")
	case r.Epoch < LeavingAWhile:
		return bad("member epoch %d", r.Epoch)
	case r.Epoch == LeavingAWhile && r.InstanceID == nil:
		return bad("a member without an instance id leaves for a while")
	}
	if r.Epoch == Joining {
		switch {
		case r.RebalanceMs < 0:
			return bad("who joins says a rebalance timeout")
		case !r.HasOwned || len(r.Owned) > 0:
			return bad("who joins owns no partitions, and says so")
		case !r.HasTopics && r.Regex == nil:
			return bad("who joins says what it subscribes to")
		}
	}
	if a := r.Assignor; a != nil && !slices.Contains(l.Assignors, *a) {
		return fmt.Errorf("%w: %.100q; there are %q", ErrUnsupportedAssignor, *a, l.Assignors)
	}
	return nil
}

// find is the member that a heartbeat is of; a new one, not in the group yet, for who joins.
func (g *Group) find(r *Heartbeat, out *Effects) (*member, error) {
	id := r.MemberID
	if id == "" {
		id = r.NewMemberID
	}
	m := g.members[id]
	if r.Epoch == Joining {
		if m == nil && len(g.order) >= g.limits.MaxSize {
			return nil, group.ErrMaxSize
		}
		if r.InstanceID != nil {
			return g.findInstance(id, *r.InstanceID, out)
		}
		if m == nil {
			return &member{id: id}, nil
		}
		return m, m.checkEpoch(r)
	}
	if r.InstanceID != nil {
		current, ok := g.static[*r.InstanceID]
		switch {
		case !ok:
			return nil, group.ErrUnknownMember
		case current != id:
			return nil, group.ErrFencedInstance
		}
	}
	if m == nil || m.classic != nil {
		return nil, group.ErrUnknownMember
	}
	return m, m.checkEpoch(r)
}

// findInstance gives a static member that joins the place of the process that had the instance id before and said that it goes.
func (g *Group) findInstance(id, instance string, out *Effects) (*member, error) {
	current, ok := g.static[instance]
	if !ok {
		if m := g.members[id]; m != nil {
			return nil, fmt.Errorf("%w: the member has another instance id", ErrInvalidRequest)
		}
		return &member{id: id, instance: instance}, nil
	}
	m := g.members[current]
	if m.epoch != LeavingAWhile && m.classic == nil {
		if current == id && m.previous == Joining { // its first answer was lost
			return m, nil
		}
		return nil, ErrUnreleasedInstance
	}
	if current != id {
		if g.members[id] != nil {
			return nil, fmt.Errorf("%w: the member has another instance id", ErrInvalidRequest)
		}
		m = g.replace(m, id)
		g.event(group.InstanceReplaced, id, instance, out)
	}
	g.bytes -= m.classic.bytes()
	m.epoch, m.previous, m.classic = Joining, Joining, nil
	m.forget(g.epoch)
	g.save(m, currentDirt|metaDirt)
	return m, nil
}

// replace gives a member's place, and all that it has, to another id.
func (g *Group) replace(old *member, id string) *member {
	g.take(old)
	m := *old
	m.id, m.dirty = id, 0
	g.insert(&m)
	g.own(&m, m.assigned)
	g.own(&m, m.revoking)
	g.save(&m, metaDirt|currentDirt|targetDirt)
	return &m
}

// checkEpoch: a member comes with its epoch; or with the one before, when the answer that brought the new one was lost: then it owns nothing that
// is not its own.
func (m *member) checkEpoch(r *Heartbeat) error {
	if r.Epoch == m.epoch || r.Epoch < m.epoch && r.Epoch == m.previous && r.HasOwned && r.Owned.Within(m.assigned) {
		return nil
	}
	return fmt.Errorf("%w: it is %d, the member's is %d", ErrFencedEpoch, m.epoch, r.Epoch)
}

// update puts what a heartbeat says of its member into n, and tells whether that is anything new.
func (g *Group) update(n *member, r *Heartbeat) (changed bool, err error) {
	set := func(at *string, to string) {
		if *at != to {
			*at, changed = to, true
		}
	}
	if r.Rack != nil {
		set(&n.rack, *r.Rack)
	}
	if r.Assignor != nil {
		set(&n.assignor, *r.Assignor)
	}
	if r.Regex != nil {
		if g.patterns[*r.Regex] == nil {
			if err := g.limits.CheckRegex(*r.Regex); err != nil {
				return false, err
			}
		}
		set(&n.regex, *r.Regex)
	}
	set(&n.client, r.ClientID)
	set(&n.host, r.ClientHost)
	if d := time.Duration(r.RebalanceMs) * time.Millisecond; r.RebalanceMs >= 0 && n.rebalance != d {
		n.rebalance, changed = d, true
	}
	if r.HasTopics && !sameNames(n.names, r.Topics) {
		n.names, changed = sortedNames(r.Topics), true
	}
	return changed, nil
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

// leave ends a membership, or keeps a static member's place for a while.
func (g *Group) leave(now time.Time, r *Heartbeat, out *Effects) (*member, error) {
	m := g.members[r.MemberID]
	if r.InstanceID != nil {
		id, ok := g.static[*r.InstanceID]
		if !ok {
			return nil, group.ErrUnknownMember
		}
		if id != r.MemberID {
			return nil, group.ErrFencedInstance
		}
	}
	if m == nil || m.classic != nil {
		return nil, group.ErrUnknownMember
	}
	if r.Epoch == LeavingAWhile {
		g.free(m, m.revoking)
		m.epoch, m.state, m.revoking, m.limit = LeavingAWhile, stable, nil, time.Time{}
		g.save(m, currentDirt)
		g.event(group.MemberLeft, m.id, "it will be back", out)
		return m, nil
	}
	g.remove(now, m, group.MemberLeft, "", out)
	return m, nil
}

// owns is everything of a member, given up or not.
func (m *member) owns() assign.Set { return m.assigned.Or(m.revoking) }
