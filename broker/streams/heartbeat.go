package streams

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire/cbor"
)

// Check refuses what contradicts itself, as Kafka does, or asks for what there is not.
func (l *Limits) Check(r *Heartbeat) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalidRequest}, args...)...)
	}
	o := &r.Owned
	switch {
	case r.InstanceID != nil:
		return bad("static members are not served")
	case r.HasOffsets:
		return bad("offsets of tasks are not served")
	case len(o.Warmup) > 0:
		return bad("warm-up tasks are not served")
	case group.Blank(r.MemberID):
		return bad("no member id")
	case len(r.MemberID) > maxMemberID:
		return bad("a member id of %d bytes", len(r.MemberID))
	case r.Rack != nil && group.Blank(*r.Rack):
		return bad("an empty rack id")
	case r.Epoch < Leaving:
		return bad("member epoch %d", r.Epoch)
	case (o.HasActive || o.HasStandby || o.HasWarmup) && !(o.HasActive && o.HasStandby && o.HasWarmup):
		return bad("who says its tasks says them of every kind")
	case r.Epoch != Joining:
		if r.Topology != nil {
			return bad("only who joins brings a topology")
		}
		return nil
	case r.RebalanceMs < 0:
		return bad("who joins says a rebalance timeout")
	case len(o.Active) > 0 || len(o.Standby) > 0:
		return bad("who joins has no tasks")
	case r.Topology == nil:
		return bad("who joins brings a topology")
	}
	return l.check(r.Topology)
}

// maxMemberID is far beyond any client's, which are 22 or 36 bytes: a member's id is in the key of every part of its state.
const maxMemberID = 1024

// Heartbeat takes a heartbeat: a member joins, goes on or leaves. The answer is returned, or, when it is not done, comes as an Answer to t in a
// later call's effects. A heartbeat that changes nothing allocates nothing.
func (g *Group) Heartbeat(now time.Time, r *Heartbeat, w *World, t Ticket, out *Effects) (reply Reply, done bool) {
	m, whole, err := g.receive(now, r, w, out)
	switch {
	case err != nil:
		g.flush(out) // what was found out about the topics meanwhile
		return Reply{Err: err, MemberID: r.MemberID, Epoch: r.Epoch}, true
	case r.Epoch == Leaving:
		return g.tell(waiting{ticket: t, reply: Reply{MemberID: m.id, Epoch: Leaving}, need: g.next}, out)
	}
	delayed := g.epoch > g.target && (!g.delay.IsZero() || !g.made.IsZero() && now.Before(g.made.Add(w.Interval)))
	if g.epoch > g.target && !delayed {
		g.retarget(now, out)
	}
	var changed bool
	if m.state != stable || m.epoch != g.target {
		changed = g.reconcile(now, m, g.owned(&r.Owned), r.Owned.HasActive)
		if changed && m.endpoint != nil {
			g.endpoints++
		}
	}
	reply = Reply{MemberID: m.id, Epoch: m.epoch, Interval: w.Heartbeat, Status: g.status(m, delayed), Create: g.conf.create, EndpointEpoch: g.endpoints}
	if whole || changed {
		reply.Assigned, reply.Assignment, reply.Topology = true, m.assigned, g.topology
	}
	if r.EndpointEpoch != g.endpoints {
		reply.Told, reply.Endpoints = true, g.byEndpoint()
	}
	return g.tell(waiting{ticket: t, m: m, reply: reply, need: m.saved}, out)
}

// receive checks a heartbeat and does what it says of the member itself. whole tells that the member must hear its tasks whether they change or not:
// it begins, its last answer was lost, or it says everything, as it does when it does not know whether it was heard.
func (g *Group) receive(now time.Time, r *Heartbeat, w *World, out *Effects) (m *member, whole bool, err error) {
	if err := g.limits.Check(r); err != nil {
		return nil, false, err
	}
	if g.dead {
		return nil, false, group.ErrNotAvailable
	}
	m = g.members[r.MemberID]
	switch {
	case r.Epoch == Joining:
		m, err = g.join(now, m, r, w)
		whole = true
	case m == nil:
		err = group.ErrUnknownMember
	case r.Epoch != Leaving:
		whole, err = g.goOn(now, m, r, w)
	}
	if err != nil {
		return nil, false, err
	}
	if r.Shutdown && g.shutdown == "" {
		g.shutdown = m.id
	}
	if r.Epoch == Leaving {
		g.remove(now, m, group.MemberLeft, "", out)
	}
	return m, whole, nil
}

func (g *Group) goOn(now time.Time, m *member, r *Heartbeat, w *World) (whole bool, err error) {
	g.look(w)
	if err := g.checkOwned(m, &r.Owned); err != nil {
		return false, err
	}
	if err := g.checkEpoch(m, r); err != nil {
		return false, err
	}
	whole = r.Epoch != m.epoch || r.RebalanceMs >= 0 && r.Owned.HasActive
	return whole, g.update(now, m, r, w, true)
}

// join takes in who joins, with its topology: the group's, or one before that.
func (g *Group) join(now time.Time, m *member, r *Heartbeat, w *World) (*member, error) {
	known := m != nil
	if !known {
		if len(g.order) >= g.limits.MaxSize {
			return nil, group.ErrMaxSize
		}
		m = &member{id: r.MemberID}
	}
	var topology *Topology
	if g.topology == nil || r.Topology.Epoch >= g.topology.Epoch {
		t, b, err := g.limits.normal(r.Topology)
		if err != nil {
			return nil, err
		}
		switch {
		case g.topology == nil:
			topology = t
		case !bytes.Equal(b, cbor.MustMarshal(g.topology)):
			return nil, fmt.Errorf("%w: the group has another topology, which can not be changed: delete the group when nobody is in it", ErrInvalidRequest)
		}
	}
	first := len(g.order) == 0
	if err := g.update(now, m, r, w, known); err != nil {
		return nil, err
	}
	if topology != nil {
		g.adopt(topology)
		g.head, g.plan = true, true
		g.bump()
	}
	if first && w.Delay > 0 {
		g.delay = now.Add(w.Delay)
		g.note(g.delay)
	}
	g.look(w)
	return m, nil
}

// checkOwned refuses tasks that there are not, and were not the member's.
func (g *Group) checkOwned(m *member, o *Owned) error {
	if !g.conf.ready() {
		return nil
	}
	for _, list := range [...][]TaskIDs{o.Active, o.Standby} {
		for _, ids := range list {
			sub, found := g.topology.find(ids.Subtopology)
			if !found {
				return fmt.Errorf("%w: there is no subtopology %.100q", ErrInvalidRequest, ids.Subtopology)
			}
			for _, p := range ids.Partitions {
				if t := (Task{sub, p}); !g.conf.has(t) && !m.owns().has(t) {
					return fmt.Errorf("%w: there is no task %d of subtopology %.100q, which has %d", ErrInvalidRequest, p, ids.Subtopology, g.conf.tasks[sub])
				}
			}
		}
	}
	return nil
}

// owned is what a member says that it has, of what there can be.
func (g *Group) owned(o *Owned) Assignment {
	tasks := func(list []TaskIDs) Tasks {
		if len(list) == 0 {
			return nil
		}
		var out []Task
		for _, ids := range list {
			if sub, found := g.topology.find(ids.Subtopology); found {
				for _, p := range ids.Partitions {
					out = append(out, Task{sub, p})
				}
			}
		}
		return setOf(out)
	}
	return Assignment{tasks(o.Active), tasks(o.Standby)}
}

// checkEpoch: a member comes with its epoch; or with the one before, when the answer that brought the new one was lost: then it has no tasks that
// are not its own.
func (g *Group) checkEpoch(m *member, r *Heartbeat) error {
	if r.Epoch == m.epoch || r.Epoch < m.epoch && r.Epoch == m.previous && r.Owned.HasActive && g.owned(&r.Owned).within(m.assigned) {
		return nil
	}
	return fmt.Errorf("%w: it is %d, the member's is %d", ErrFencedEpoch, m.epoch, r.Epoch)
}

// update makes a member what it says it is, and begins an epoch if that is anything new.
func (g *Group) update(now time.Time, m *member, r *Heartbeat, w *World, known bool) error {
	n, changed := m.as(r)
	if known && !changed {
		g.touch(m, now, w.Session)
		return nil
	}
	before := 0
	if known {
		before = m.bytes()
	}
	if g.bytes-before+n.bytes() > g.limits.MaxBytes {
		return group.ErrMaxSize
	}
	if known {
		if n.process != m.process { // its tasks are in another process now
			owns := m.owns()
			g.free(m, owns)
			m.process = n.process
			g.own(m, owns)
		}
		*m = n
		g.bytes += m.bytes() - before
	} else {
		*m = n
		g.insert(m)
		g.save(m, currentDirt)
	}
	if m.endpoint != nil {
		g.endpoints++
	}
	g.save(m, metaDirt)
	g.touch(m, now, w.Session)
	g.bump()
	return nil
}

// as is the member as it says it is, and whether that is anything new.
func (m *member) as(r *Heartbeat) (n member, changed bool) {
	n = *m
	set := func(at *string, to string) {
		if *at != to {
			*at, changed = to, true
		}
	}
	if r.Rack != nil {
		set(&n.rack, *r.Rack)
	}
	if r.Process != nil {
		set(&n.process, *r.Process)
	}
	set(&n.client, r.ClientID)
	set(&n.host, r.ClientHost)
	if d := time.Duration(r.RebalanceMs) * time.Millisecond; r.RebalanceMs >= 0 && n.rebalance != d {
		n.rebalance, changed = d, true
	}
	if t := r.Topology; t != nil && n.topologyEpoch != t.Epoch {
		n.topologyEpoch, changed = t.Epoch, true
	}
	if e := r.Endpoint; e != nil && (n.endpoint == nil || *n.endpoint != *e) {
		n.endpoint, changed = &Endpoint{e.Host, e.Port}, true
	}
	if r.HasTags && !slices.Equal(n.tags, r.Tags) {
		if tags := sortedPairs(r.Tags); !slices.Equal(n.tags, tags) {
			n.tags, changed = tags, true
		}
	}
	return n, changed
}

// status is what a member is told of its group beside its tasks; nil when all is well.
func (g *Group) status(m *member, delayed bool) []Status {
	var out []Status
	if m.topologyEpoch < g.topology.Epoch {
		out = append(out, Status{StaleTopology, fmt.Sprintf("the member's topology is of epoch %d, the group's of %d", m.topologyEpoch, g.topology.Epoch)})
	}
	if delayed {
		out = append(out, Status{AssignmentDelayed, "tasks are assigned a little later, with those of others that change meanwhile"})
	}
	if g.conf.problem != nil {
		out = append(out, *g.conf.problem)
	}
	if g.shutdown != "" {
		out = append(out, Status{ShutdownApplication, "member " + g.shutdown + " has asked for the end of the whole application"})
	}
	return out
}

// byEndpoint is which partitions each endpoint has the state of.
func (g *Group) byEndpoint() []EndpointPartitions {
	out := []EndpointPartitions{}
	for _, m := range g.order {
		if m.endpoint != nil && g.conf.ready() {
			out = append(out, EndpointPartitions{*m.endpoint, g.partitions(m.assigned.Active), g.partitions(m.assigned.Standby)})
		}
	}
	return out
}

// partitions are what tasks read: of each topic, those that it has.
func (g *Group) partitions(ts Tasks) []TopicPartitions {
	out := []TopicPartitions{}
	for len(ts) > 0 {
		sub := ts[0].Sub
		n := 1
		for n < len(ts) && ts[n].Sub == sub {
			n++
		}
		for _, name := range g.topology.Subtopologies[sub].inputs() {
			topic, ok := g.topics.ByName(name)
			if !ok {
				continue
			}
			tp := TopicPartitions{Topic: name}
			for _, t := range ts[:n] {
				if t.Index < topic.Partitions {
					tp.Partitions = append(tp.Partitions, t.Index)
				}
			}
			out = append(out, tp)
		}
		ts = ts[n:]
	}
	return out
}
