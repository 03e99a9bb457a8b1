package consumer

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

// Group is one consumer group. See the package comment for what must stay true.
type Group struct {
	limits *Limits
	dead   bool // being deleted: refuses everything

	epoch     int32  // group epoch
	target    int32  // the epoch whose target assignment the members have
	assignor  string // that made it
	topicHash uint64 // of the topics that are subscribed to, and their partitions, as the group epoch knows them
	since     time.Time

	members map[string]*member
	order   []*member         // by id
	static  map[string]string // instance id → member id
	owners  map[kafka.Partition]*member
	bytes   int // of all members' subscriptions

	topics   image.Topics // as they were looked at last; zero: not since the group was loaded
	patterns map[string]*pattern

	// check is a lower bound of every deadline, so that a heartbeat, which only moves one away, costs nothing: the true minimum is looked
	// for when check is due.
	check time.Time

	flight
}

// member of a group. Strings and sets in it are never written to.
type member struct {
	id, instance, rack string
	client, host       string
	rebalance          time.Duration
	names              []string // subscribed to, in order
	regex              string   // "": none
	assignor           string   // that it asks for; "": any
	classic            *classic // nil: it uses the consumer protocol

	epoch, previous int32 // epoch LeavingAWhile: its process is away
	state           memberState
	assigned        assign.Set // its own
	revoking        assign.Set // its own until it says that it has given them up; nothing of assigned
	target          assign.Set

	// grants are the newest of what it was given, oldest first; all else that it has it holds since the epoch held. Not durable: who loads the
	// group takes it that all was given just now, and is as strict as can be for a while.
	grants []grant
	held   int32

	topics   []kafka.TopicID // what names and regex come to, in order
	deadline time.Time       // its session's end
	limit    time.Time       // when it must have given up revoking; zero: it need not

	dirty dirt
	saved uint64 // the Change that holds its latest change
}

type memberState uint8

const (
	stable memberState = iota
	unrevoked
	unreleased
)

// New returns an empty group whose first epoch follows one that was before it.
func New(limits *Limits, now time.Time, epoch int32) *Group {
	return &Group{
		limits: limits, epoch: epoch, target: epoch, since: now,
		members: map[string]*member{}, static: map[string]string{}, owners: map[kafka.Partition]*member{}, flight: flight{next: 1},
	}
}

// State is the group's state.
func (g *Group) State() State {
	switch {
	case g.dead:
		return Dead
	case len(g.order) == 0:
		return Empty
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

// Size is the number of members.
func (g *Group) Size() int { return len(g.order) }

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
	if g.epoch == g.target {
		g.epoch++
		g.head = true
	}
}

// insert adds a member.
func (g *Group) insert(m *member) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Insert(g.order, i, m)
	g.members[m.id] = m
	if m.instance != "" {
		g.static[m.instance] = m.id
	}
	g.bytes += m.bytes()
}

func byID(m *member, id string) int { return strings.Compare(m.id, id) }

// take removes a member and frees what it owned. Its requests that wait are answered by release, later.
func (g *Group) take(m *member) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Delete(g.order, i, i+1)
	delete(g.members, m.id)
	if g.static[m.instance] == m.id {
		delete(g.static, m.instance)
	}
	g.free(m, m.assigned)
	g.free(m, m.revoking)
	g.bytes -= m.bytes()
	g.unsave(m)
}

// own and free keep owners in step with a member's partitions.
func (g *Group) own(m *member, ps assign.Set) {
	for _, p := range ps {
		if o := g.owners[p]; o != nil && o != m {
			panic(fmt.Sprintf("%v is given to %s while it is %s's", p, m.id, o.id))
		}
		g.owners[p] = m
	}
}

func (g *Group) hasOwner(p kafka.Partition) bool { return g.owners[p] != nil }

func (g *Group) free(m *member, ps assign.Set) {
	for _, p := range ps {
		if g.owners[p] == m {
			delete(g.owners, p)
		}
	}
}

// remove ends a membership: the others get what it had.
func (g *Group) remove(now time.Time, m *member, kind group.EventKind, reason string, out *Effects) {
	g.take(m)
	if g.bump(); len(g.order) == 0 {
		g.target, g.since = g.epoch, now // nothing to assign
	}
	g.event(kind, m.id, reason, out)
	if len(g.order) == 0 {
		g.event(group.GroupEmptied, "", "", out)
	}
}

// partBytes is more than a part of a member's state takes beside its key, the member's id, and what is counted of its value. Limits.MaxBytes is
// thereby a bound on what one Change carries: all members may come, or go, in one.
const partBytes = 48

func (m *member) bytes() int {
	n := 3*(partBytes+len(m.id)) + len(m.instance) + len(m.rack) + len(m.client) + len(m.host) + len(m.regex)
	for _, t := range m.names {
		n += len(t) + 4
	}
	return n + m.classic.bytes()
}

// touch restarts m's session.
func (g *Group) touch(m *member, now time.Time, session time.Duration) {
	m.deadline = now.Add(session)
	g.note(m.deadline)
}

func (g *Group) note(t time.Time) {
	if g.check.IsZero() || t.Before(g.check) {
		g.check = t
	}
}

func (g *Group) event(kind group.EventKind, member, reason string, out *Effects) {
	out.Events = append(out.Events, group.Event{Kind: kind, Member: member, Reason: reason, Generation: g.epoch, Members: len(g.order)})
}
