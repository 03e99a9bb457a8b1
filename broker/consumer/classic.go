package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/image"
)

// Members that use the classic protocol in a group of this one, while it is migrated (KIP-848): a generation is the member's
// epoch; there is no leader, the broker assigns; a heartbeat that is answered with REBALANCE_IN_PROGRESS brings the member to the next step.

// classic is what a member has that uses the classic protocol.
type classic struct {
	session   time.Duration
	protocols []group.Protocol // never empty
}

// speaks is the version of the embedded protocol that the member speaks.
func (c *classic) speaks() int16 {
	s, err := readSubscription(c.protocols[0].Metadata)
	if err != nil {
		return 0
	}
	return s.version
}

// Join takes a JoinGroup. The answer comes as a JoinReply to t, in out or in a later call's effects.
func (g *Group) Join(now time.Time, r *group.JoinRequest, w World, t group.Ticket, out *Effects) {
	x, err := g.receiveJoin(now, r, w, out)
	if err != nil {
		id := r.MemberID
		if err == group.ErrMemberIDRequired {
			id = r.NewMemberID
		}
		out.Joins = append(out.Joins, group.JoinReply{Ticket: t, JoinResult: group.JoinResult{Err: err, MemberID: id, Generation: -1}})
		g.flush(out)
		return
	}
	x.ticket, x.join = t, true
	if g.epoch > g.target && g.flying != 0 {
		g.late = append(g.late, x)
		return
	}
	if reply, done := g.serve(now, x, out); done {
		x.reply = reply
		g.answer(x, nil, out)
	}
}

// receiveJoin checks a join and does what it says of the member itself.
func (g *Group) receiveJoin(now time.Time, r *group.JoinRequest, w World, out *Effects) (x waiting, err error) {
	id := r.MemberID
	if id == "" {
		id = r.NewMemberID
	}
	known := g.members[id]
	switch {
	case g.dead:
		return x, group.ErrNotAvailable
	case known == nil && len(g.order) >= g.limits.MaxSize:
		return x, group.ErrMaxSize
	case r.Type != group.ConsumerType || len(r.Protocols) == 0 || slices.ContainsFunc(r.Protocols, unnamed) || !g.shares(r.Protocols, known):
		return x, group.ErrInconsistentProtocol
	case r.MemberID == "" && r.InstanceID == "" && r.RequireKnownID:
		return x, group.ErrMemberIDRequired
	}
	s, err := readSubscription(r.Protocols[0].Metadata)
	if err != nil {
		return x, fmt.Errorf("%w: %w", group.ErrInconsistentProtocol, err)
	}
	m, err := g.findClassic(id, r, out)
	if err != nil {
		return x, err
	}
	known = g.members[m.id]
	n := *m
	n.client, n.host, n.rebalance, n.rack = r.ClientID, r.ClientHost, max(r.Rebalance, 0), s.rack
	n.names, n.regex, n.assignor = sortedNames(s.topics), "", ""
	n.classic = &classic{session: r.Session, protocols: copyProtocols(r.Protocols)}
	w.Session = r.Session
	if err := g.adopt(now, m, n, known == m, w); err != nil {
		return x, err
	}
	m.limit = now.Add(m.rebalance) // until it syncs
	g.note(m.limit)
	return waiting{m: m, owned: setOfNames(w.Topics, s.owned), told: true, reply: Reply{MemberID: m.id}}, nil
}

// findClassic is the member that a join is of; a new one, not in the group yet, for who is not known.
func (g *Group) findClassic(id string, r *group.JoinRequest, out *Effects) (*member, error) {
	m := g.members[id]
	if r.InstanceID == "" {
		switch {
		case m == nil:
			return &member{id: id}, nil
		case m.classic == nil || m.instance != "":
			return nil, group.ErrUnknownMember
		}
		return m, nil
	}
	current, ok := g.static[r.InstanceID]
	switch {
	case r.MemberID != "" && !ok:
		return nil, group.ErrUnknownMember
	case r.MemberID != "" && current != r.MemberID:
		return nil, group.ErrFencedInstance
	case !ok:
		return &member{id: id, instance: r.InstanceID}, nil
	case current == id:
		return m, nil
	}
	// Its process was started again, perhaps with another protocol than before.
	m = g.replace(g.members[current], id)
	g.event(group.InstanceReplaced, id, r.InstanceID, out)
	g.free(m, m.revoking) // the process that had them is gone
	m.epoch, m.previous, m.state, m.revoking = Joining, Joining, stable, nil
	return m, nil
}

// shares tells whether some protocol of ps is supported by every member of the classic protocol but one.
func (g *Group) shares(ps []group.Protocol, but *member) bool {
	return slices.ContainsFunc(ps, func(p group.Protocol) bool {
		return !slices.ContainsFunc(g.order, func(m *member) bool { return m.classic != nil && m != but && !m.classic.supports(p.Name) })
	})
}

func (c *classic) supports(name string) bool {
	return slices.ContainsFunc(c.protocols, func(p group.Protocol) bool { return p.Name == name })
}

// unnamed: a classic group has no such protocol, and this group may become one again.
func unnamed(p group.Protocol) bool { return p.Name == "" }

// copyProtocols takes the protocols out of the request's buffer, the first of each name.
func copyProtocols(ps []group.Protocol) []group.Protocol {
	out := make([]group.Protocol, 0, len(ps))
	seen := make(map[string]bool, len(ps))
	for _, p := range ps {
		if !seen[p.Name] {
			seen[p.Name] = true
			out = append(out, group.Protocol{Name: p.Name, Metadata: slices.Clone(p.Metadata)})
		}
	}
	return out
}

// joined is what a member that joins is told.
func (m *member) joined(r Reply) group.JoinResult {
	return group.JoinResult{MemberID: m.id, Generation: r.Epoch, Type: group.ConsumerType, Protocol: m.classic.protocols[0].Name}
}

// validate is what every other request of a member of the classic protocol passes first.
func (g *Group) validate(id, instance string, generation int32) (*member, error) {
	if g.dead {
		return nil, group.ErrNotAvailable
	}
	if instance != "" {
		switch current, ok := g.static[instance]; {
		case !ok:
			return nil, group.ErrUnknownMember
		case current != id:
			return nil, group.ErrFencedInstance
		}
	}
	m := g.members[id]
	switch {
	case m == nil || m.classic == nil:
		return nil, group.ErrUnknownMember
	case m.epoch != generation:
		return nil, group.ErrIllegalGeneration
	}
	return m, nil
}

// hurry gives a member its rebalance timeout to join again, from when it is first told to.
func (g *Group) hurry(now time.Time, m *member) {
	if m.limit.IsZero() {
		m.limit = now.Add(m.rebalance)
		g.note(m.limit)
	}
}

// Sync takes a SyncGroup: the member's own partitions are the answer, or that it must join again.
func (g *Group) Sync(now time.Time, r *group.SyncRequest) group.SyncResult {
	m, err := g.validate(r.MemberID, r.InstanceID, r.Generation)
	switch {
	case err != nil:
		return group.SyncResult{Err: err}
	case r.Type != nil && *r.Type != group.ConsumerType, r.Protocol != nil && *r.Protocol != m.classic.protocols[0].Name:
		return group.SyncResult{Err: group.ErrInconsistentProtocol}
	}
	g.touch(m, now, m.classic.session)
	if g.epoch > m.epoch && m.state != unrevoked || m.saved > g.durable { // else it has joined, and gives something up next
		g.hurry(now, m)
		return group.SyncResult{Err: group.ErrRebalanceInProgress}
	}
	m.limit = time.Time{}
	return group.SyncResult{
		Type: group.ConsumerType, Protocol: m.classic.protocols[0].Name, Assignment: writeAssignment(m.classic.speaks(), g.topics, m.assigned),
	}
}

// ClassicHeartbeat takes a Heartbeat: it tells the member to join again when there is something for it to give up, to get or to learn.
func (g *Group) ClassicHeartbeat(now time.Time, who group.Identity, w World, out *Effects) error {
	m, err := g.validate(who.MemberID, who.InstanceID, who.Generation)
	if err != nil {
		return err
	}
	g.touch(m, now, m.classic.session)
	g.look(w.Topics)
	g.flush(out)
	if m.epoch < g.epoch || m.state == unrevoked || m.state == unreleased && len(g.unowned(m.target.Minus(m.assigned))) > 0 {
		g.hurry(now, m)
		return group.ErrRebalanceInProgress
	}
	return nil
}

// Leave takes a LeaveGroup: one error or nil for each.
func (g *Group) Leave(now time.Time, who []group.Leaver, out *Effects) []error {
	errs := make([]error, len(who))
	for i, l := range who {
		id := l.MemberID
		if l.InstanceID != "" {
			current, ok := g.static[l.InstanceID]
			if !ok {
				errs[i] = group.ErrUnknownMember
				continue
			}
			if id != "" && id != current {
				errs[i] = group.ErrFencedInstance
				continue
			}
			id = current
		}
		if m := g.members[id]; m == nil || m.classic == nil {
			errs[i] = group.ErrUnknownMember
		} else {
			g.remove(now, m, group.MemberLeft, l.Reason, out)
		}
	}
	g.flush(out)
	return errs
}

// Take returns a group of members that come from the classic protocol's, each with what it may have, in the epoch that was their generation. nil
// when their metadata cannot be read, two of them have the same partition, or they are too many: then they must stay what they are.
func Take(limits *Limits, now time.Time, generation int32, from []group.Migrant, topics image.Topics) *Group {
	g := New(limits, now, max(generation, 0))
	g.topics, g.head = topics, true
	for _, x := range from {
		metadata := x.Protocols[0].Metadata
		for _, p := range x.Protocols {
			if p.Name == x.Chosen {
				metadata = p.Metadata
			}
		}
		s, err := readSubscription(metadata)
		if err != nil {
			return nil
		}
		has, err := readAssignment(x.Assignment)
		if err != nil {
			return nil
		}
		m := &member{
			id: x.ID, instance: x.InstanceID, client: x.ClientID, host: x.ClientHost, rack: s.rack, rebalance: x.Rebalance,
			names: sortedNames(s.topics), epoch: g.epoch, previous: g.epoch,
			classic: &classic{session: x.Session, protocols: x.Protocols},
		}
		m.forget(g.epoch)
		m.assigned = setOfNames(topics, has)
		m.target = m.assigned
		if slices.ContainsFunc(m.assigned, g.hasOwner) {
			return nil
		}
		m.topics = g.resolve(m)
		g.insert(m)
		g.own(m, m.assigned)
		g.touch(m, now, m.classic.session)
		g.save(m, metaDirt|currentDirt|targetDirt)
	}
	if g.bytes > limits.MaxBytes {
		return nil
	}
	g.topicHash = g.hash()
	return g
}

// Classic tells whether there are members, and all of them use the classic protocol.
func (g *Group) Classic() bool {
	return len(g.order) > 0 && !slices.ContainsFunc(g.order, func(m *member) bool { return m.classic == nil })
}

// Give ends the machine: its members go to a group of the classic protocol. What waits is answered.
func (g *Group) Give(topics image.Topics, out *Effects) (members []group.Migrant, generation int32) {
	for _, list := range [][]waiting{g.parked, g.late} {
		for _, x := range list {
			switch {
			case x.join:
				g.answer(x, group.ErrRebalanceInProgress, out)
			case x.m == nil: // it has left
				g.answer(x, nil, out)
			default:
				g.answer(x, group.ErrUnknownMember, out)
			}
		}
	}
	g.parked, g.late, out.Change = nil, nil, nil
	for _, m := range g.order {
		members = append(members, group.Migrant{
			ID: m.id, InstanceID: m.instance, ClientID: m.client, ClientHost: m.host, Session: m.classic.session, Rebalance: m.rebalance,
			Protocols: m.classic.protocols, Assignment: writeAssignment(m.classic.speaks(), topics, assign.Set.Or(m.assigned, m.revoking)),
		})
	}
	return members, g.target
}

func (c *classic) bytes() (n int) {
	if c != nil {
		for _, p := range c.protocols {
			n += len(p.Name) + len(p.Metadata)
		}
	}
	return n
}

func (c *classic) durable() *durableClassic {
	if c == nil {
		return nil
	}
	d := &durableClassic{SessionMs: c.session.Milliseconds()}
	for _, p := range c.protocols {
		d.Protocols = append(d.Protocols, durableProtocol(p))
	}
	return d
}

func (d *durableClassic) classic() (*classic, error) {
	if d == nil {
		return nil, nil
	}
	session, err := duration(d.SessionMs)
	if err != nil || len(d.Protocols) == 0 {
		return nil, fmt.Errorf("classic member with %d protocols: %w", len(d.Protocols), err)
	}
	c := &classic{session: session}
	for _, p := range d.Protocols {
		c.protocols = append(c.protocols, group.Protocol(p))
	}
	return c, nil
}
