package group

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Group is one classic group. See the package comment for what must stay true.
type Group struct {
	limits *Limits

	state    State
	previous State
	since    time.Time // when state was entered; what offsets' expiry counts from once Empty

	// generation only grows. 0: no join phase has completed.
	generation   int32
	protocolType string // "" before the first member: a group that only stores offsets
	protocol     string // chosen for this generation
	leader       string // member id; "" only while there are no members

	roster
	topics *topicSet // what a consumer group subscribes to; nil: unknown

	pending map[string]time.Time // ids handed out by MEMBER_ID_REQUIRED → when they lapse

	clocks
	flight
}

// clocks are the deadlines; zero means unset.
type clocks struct {
	joinAt time.Time // the join phase ends, or its initial delay is looked at again
	syncAt time.Time // members that have not synced are thrown out
	saveAt time.Time // the news of an empty group is proposed again

	// check is a lower bound of every session deadline, so that a heartbeat, which only moves a deadline
	// away, costs nothing: the true minimum is looked for when check is due.
	check time.Time

	initial       bool          // joinAt is the initial delay's
	initialDelay  time.Duration // the current round of it
	initialLeft   time.Duration // how much it may still be extended
	newMemberSeen bool          // somebody joined during this round
}

// flight is what waits for durability.
type flight struct {
	seq       uint64
	assigning *assigning
	swaps     map[uint64]*swap
	emptied   uint64 // the Persist of the empty group that is not durable yet; 0: none

	// durable: some state of this group has been handed out to be kept. A group that never was needs no
	// trace when its last member goes.
	durable bool
}

// New returns an empty group.
func New(limits *Limits, now time.Time) *Group {
	return &Group{limits: limits, since: now, roster: newRoster()}
}

// State is the group's state.
func (g *Group) State() State { return g.state }

// Generation is the group's generation.
func (g *Group) Generation() int32 { return g.generation }

// Size is the number of members.
func (g *Group) Size() int { return len(g.order) }

// Exists tells whether the group is more than a name: it has, had or expects members.
func (g *Group) Exists() bool {
	return g.durable || len(g.order) > 0 || len(g.pending) > 0 || g.state != Empty
}

// Idle tells whether the machine holds nothing that its durable state does not: it may be dropped and loaded again.
func (g *Group) Idle() bool {
	return g.state == Empty && len(g.order) == 0 && len(g.pending) == 0 && g.emptied == 0
}

// Kill marks an empty group as being deleted; it refuses everything from then on. Revive undoes it.
//
// Invariant: only a group without members is deleted.
func (g *Group) Kill(now time.Time) {
	if g.state != Empty {
		panic(fmt.Sprintf("delete a group in state %s", g.state))
	}
	g.state = Dead
}

// Revive takes back Kill, when the deletion was refused.
func (g *Group) Revive() {
	if g.state == Dead {
		g.state = Empty
	}
}

func (g *Group) enter(s State, now time.Time) {
	if !validFrom(s, g.state) {
		panic(fmt.Sprintf("group goes from %s to %s", g.state, s))
	}
	g.previous, g.state, g.since = g.state, s, now
}

// validFrom is Kafka's table of transitions.
func validFrom(to, from State) bool {
	switch to {
	case Empty, CompletingRebalance:
		return from == PreparingRebalance
	case PreparingRebalance:
		return from == Empty || from == CompletingRebalance || from == Stable
	case Stable:
		return from == CompletingRebalance
	}
	return false
}

// member of a group. Owned by the group; slices in it are never written to, so replies may share them.
type member struct {
	id, instance     string
	client, host     string
	session          time.Duration
	rebalance        time.Duration
	protocols        []Protocol
	assignment       []byte
	joining, syncing Ticket // parked requests; nil: none
	deadline         time.Time
	fresh            bool // its first join has not been answered: it may expire while parked
	mustSync         bool // has been given this generation and has not synced
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) matches(ps []Protocol) bool {
	return slices.EqualFunc(m.protocols, ps, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (m *member) bytes() int {
	n := len(m.assignment) + len(m.id) + len(m.client) + len(m.instance)
	for _, p := range m.protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

// mayExpire: a member whose request is parked is alive by definition, unless it is new.
func (m *member) mayExpire() bool { return m.fresh || m.joining == nil && m.syncing == nil }

// touch restarts m's session.
func (g *Group) touch(m *member, now time.Time, d time.Duration) {
	m.deadline = now.Add(d)
	g.noteDeadline(m.deadline)
}

func (g *Group) noteDeadline(t time.Time) {
	if g.check.IsZero() || t.Before(g.check) {
		g.check = t
	}
}

// validate is what every request of a member passes first (KIP-345: an instance id belongs to its newest member).
func (g *Group) validate(id, instance string) error {
	if instance != "" {
		switch current, ok := g.static[instance]; {
		case !ok:
			return ErrUnknownMember
		case current != id:
			return ErrFencedInstance
		}
	}
	if g.members[id] == nil {
		return ErrUnknownMember
	}
	return nil
}

func (g *Group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.order {
		d = max(d, m.rebalance)
	}
	return d
}

// Empty tells whether the group has no members, so that it may be deleted.
func (g *Group) Empty() bool { return g.state == Empty }
