package streams

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Group is one streams group. See the package comment for what must stay true.
type Group struct {
	limits *Limits
	dead   bool // being deleted: refuses everything

	epoch    int32 // group epoch
	target   int32 // the epoch whose target assignment the members have
	ready    bool  // the group epoch knows a topology whose topics are all there
	standbys int   // of each task, as the group epoch knows them
	since    time.Time
	made     time.Time // when a target was made last that assigned tasks; zero: never by this coordinator
	delay    time.Time // until then no target is made; zero: it is

	topology  *Topology // nil: nobody has brought it
	names     []string  // topics that it is made of, in order
	conf      *configured
	topics    image.Topics // as they were looked at last; zero: not since the group was loaded
	topicHash uint64       // of the topology's topics, and their partitions, as the group epoch knows them

	members map[string]*member
	order   []*member // by id
	active  map[Task]*member
	held    map[place]int // members of a process that have a task, in whatever role; more than one only when a member changes its process
	bytes   int           // of what all members say of themselves

	endpoints int32  // grows when tasks of a member with an endpoint change; not durable
	shutdown  string // who asked for the application's end; not durable

	// check is a lower bound of every deadline; see consumer.Group.
	check time.Time

	flight
}

// place is a task in a process.
type place struct {
	process string
	task    Task
}

// member of a group. Strings and sets in it are never written to.
type member struct {
	id, rack, client, host string
	process                string
	rebalance              time.Duration
	topologyEpoch          int32
	endpoint               *Endpoint
	tags                   []Pair

	epoch, previous int32
	state           memberState
	assigned        Assignment // its own
	revoking        Assignment // its own until it says that it has given them up; nothing of assigned
	target          Assignment

	// grants are the epochs in which it was given its active tasks; those that are not in it it has had since the epoch held. Not durable: who loads
	// the group holds all that a member has to be given in the epoch that it is in.
	grants map[Task]int32
	held   int32

	deadline time.Time // its session's end
	limit    time.Time // when it must have given up revoking; zero: it need not

	dirty dirt
	saved uint64 // the Change that holds its latest change
}

type memberState uint8

const (
	stable memberState = iota
	unrevoked
	unreleased
)

// New returns an empty group whose first epoch follows one that was before it. A member is in an epoch before its group has assigned anything;
// it is not 0, which is that of who joins.
func New(limits *Limits, now time.Time, epoch int32) *Group {
	epoch = max(epoch, 1)
	return &Group{
		limits: limits, epoch: epoch, target: epoch, since: now,
		members: map[string]*member{}, active: map[Task]*member{}, held: map[place]int{}, flight: flight{next: 1},
	}
}

// State is the group's state.
func (g *Group) State() State {
	switch {
	case g.dead:
		return Dead
	case len(g.order) == 0:
		return Empty
	case !g.ready:
		return NotReady
	case g.epoch > g.target:
		return Assigning
	}
	for _, m := range g.order {
		if m.state != stable || m.epoch != g.target {
			return Reconciling
		}
	}
	return Stable
}

// Epoch is the group's epoch.
func (g *Group) Epoch() int32 { return g.epoch }

// Exists tells whether the group is more than a name.
func (g *Group) Exists() bool { return g.kept || len(g.order) > 0 || g.flying != 0 }

// Idle tells whether the machine holds nothing that its durable state does not: it may be dropped and loaded again.
func (g *Group) Idle() bool { return !g.dead && len(g.order) == 0 && !g.busy() }

// Empty tells whether the group has no members, so that it may be deleted.
func (g *Group) Empty() bool { return !g.dead && len(g.order) == 0 }

// Kill marks an empty group as being deleted; it refuses everything from then on. Revive undoes it.
func (g *Group) Kill(time.Time) {
	if len(g.order) > 0 {
		panic(fmt.Sprintf("delete a group with %d members", len(g.order)))
	}
	g.dead = true
}

// Revive takes back Kill, when the deletion was refused.
func (g *Group) Revive() { g.dead = false }

// bump begins the next group epoch, if the target has caught up with this one: what has not been assigned yet takes more in.
func (g *Group) bump() {
	if g.head = true; g.epoch == g.target {
		g.epoch++
	}
}

// insert adds a member.
func (g *Group) insert(m *member) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Insert(g.order, i, m)
	g.members[m.id] = m
	g.bytes += m.bytes()
}

func byID(m *member, id string) int { return strings.Compare(m.id, id) }

// own and free keep active and held in step with a member's tasks.
func (g *Group) own(m *member, a Assignment) {
	for _, t := range a.Active {
		if o := g.active[t]; o != nil && o != m && !bugTask {
			panic(fmt.Sprintf("task %v is given to %s while it is %s's", t, m.id, o.id))
		}
		g.active[t] = m
	}
	for _, list := range []Tasks{a.Active, a.Standby} {
		for _, t := range list {
			g.held[place{m.process, t}]++
		}
	}
}

func (g *Group) free(m *member, a Assignment) {
	for _, t := range a.Active {
		delete(g.active, t)
	}
	for _, list := range []Tasks{a.Active, a.Standby} {
		for _, t := range list {
			p := place{m.process, t}
			if g.held[p]--; g.held[p] == 0 {
				delete(g.held, p)
			}
		}
	}
}

// remove ends a membership and frees what it had. Its requests that wait are answered when they would have been.
func (g *Group) remove(now time.Time, m *member, kind group.EventKind, reason string, out *Effects) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Delete(g.order, i, i+1)
	delete(g.members, m.id)
	g.free(m, m.assigned)
	g.free(m, m.revoking)
	g.bytes -= m.bytes()
	g.unsave(m)
	if m.endpoint != nil && !m.assigned.empty() {
		g.endpoints++
	}
	g.bump()
	g.event(kind, m.id, reason, out)
	if len(g.order) == 0 { // nothing to assign, or to wait for
		g.target, g.since, g.delay, g.shutdown = g.epoch, now, time.Time{}, ""
		g.event(group.GroupEmptied, "", "", out)
	}
}

// partBytes is more than a part of a member's state takes beside its key, the member's id, and what is counted of its value. Limits.MaxBytes is
// thereby a bound on what one Change carries: all members may come, or go, in one.
const partBytes = 48

func (m *member) bytes() int {
	n := 3*(partBytes+len(m.id)) + len(m.rack) + len(m.client) + len(m.host) + len(m.process)
	if m.endpoint != nil {
		n += len(m.endpoint.Host) + 8
	}
	for _, t := range m.tags {
		n += len(t.Key) + len(t.Value) + 8
	}
	return n
}

// owns is everything of a member, given up or not.
func (m *member) owns() Assignment { return m.assigned.or(m.revoking) }

// Next is when Advance wants to be called, if nothing happens before; zero: never. It may be early, never late.
func (g *Group) Next() time.Time { return g.check }

// Advance lets time pass: sessions end, the time to give up tasks, and that to wait for more members.
func (g *Group) Advance(now time.Time, out *Effects) {
	if g.check.IsZero() || now.Before(g.check) {
		return
	}
	g.check = time.Time{}
	for _, m := range slices.Clone(g.order) {
		switch {
		case !now.Before(m.deadline):
			g.remove(now, m, group.MemberFailed, "session expired", out)
		case !m.limit.IsZero() && !now.Before(m.limit):
			g.remove(now, m, group.MemberFailed, "it did not give up its tasks within its rebalance timeout", out)
		default:
			g.note(m.deadline)
			g.note(m.limit)
		}
	}
	if !g.delay.IsZero() && !now.Before(g.delay) {
		g.delay = time.Time{}
		if g.epoch > g.target {
			g.retarget(now, out)
		}
	}
	g.note(g.delay)
	g.flush(out)
}

// note takes a deadline in; zero is none.
func (g *Group) note(t time.Time) {
	if !t.IsZero() && (g.check.IsZero() || t.Before(g.check)) {
		g.check = t
	}
}

// touch restarts m's session.
func (g *Group) touch(m *member, now time.Time, session time.Duration) {
	m.deadline = now.Add(session)
	g.note(m.deadline)
}

// look takes in what there is outside of the group, and begins an epoch when that changes what is to be assigned. While it is the same it costs a
// comparison.
func (g *Group) look(w *World) {
	if g.topology == nil {
		return
	}
	if w.Topics != g.topics || g.conf == nil {
		g.topics = w.Topics
		if h := g.hash(); h != g.topicHash || g.conf == nil {
			if h != g.topicHash {
				g.topicHash = h
				g.bump()
			}
			g.conf = g.limits.configure(g.topology, w.Topics)
			g.endpoints++
		}
	}
	if g.ready != g.conf.ready() || g.standbys != w.Standbys {
		g.ready, g.standbys = g.conf.ready(), w.Standbys
		g.bump()
	}
}

// hash is of the topology's topics that there are.
func (g *Group) hash() uint64 {
	var ids []kafka.TopicID
	counts := map[kafka.TopicID]int32{}
	for _, name := range g.names {
		if t, ok := g.topics.ByName(name); ok {
			ids = append(ids, t.ID)
			counts[t.ID] = t.Partitions
		}
	}
	return assign.Hash(ids, func(id kafka.TopicID) int32 { return counts[id] })
}

// adopt makes a topology the group's.
func (g *Group) adopt(t *Topology) {
	g.topology, g.conf = t, nil
	g.names = sortedNames(slices.Collect(t.Names()))
}

func (g *Group) event(kind group.EventKind, member, reason string, out *Effects) {
	out.Events = append(out.Events, group.Event{Kind: kind, Member: member, Reason: reason, Generation: g.epoch, Members: len(g.order)})
}
