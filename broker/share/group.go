package share

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

// Group is the membership of one share group. Not safe for concurrent use: its owner holds a lock.
//
// What changes begins a new epoch, of which the target assignment is computed when no Change is on its way: what many members that come together
// cost is a few assignments, not one each. Between the two, members are where the durable epoch has them.
type Group struct {
	limits *GroupLimits
	dead   bool // being deleted: refuses everything

	epoch     int32 // of the target assignment that the members have
	stale     bool  // something has changed that is not in the target yet
	topicHash uint64

	members map[string]*member
	order   []*member // by id
	bytes   int       // of all members' subscriptions
	topics  image.Topics

	// check is a lower bound of every deadline; see consumer.Group.
	check time.Time

	next    uint64 // the number of the Change that is gathered
	flying  uint64 // the one under way; 0: none
	kept    bool   // some state of this group is, or is about to be, in the image
	head    bool   // the group's own part is to be written
	gone    map[string]struct{}
	parked  []waiting
	durable uint64
}

// member of a group. Sets in it are never written to.
type member struct {
	id, rack, client, host string
	names                  []string // subscribed to, in order
	topics                 []kafka.TopicID
	target                 assign.Set
	deadline               time.Time
	dirty                  bool

	// What it was told last. epoch is -1 when this coordinator has told it nothing yet: whatever the member brings, up to the group's, is right.
	epoch, previous int32
	told            assign.Set
}

// waiting is a heartbeat on its way to its answer.
type waiting struct {
	ticket Ticket
	m      *member // nil: it has left
	whole  bool    // the member is told its assignment whether it changes or not
	reply  Reply
	need   uint64 // the Change that must be durable first
}

// NewGroup returns an empty group whose first epoch follows one that was before it.
func NewGroup(limits *GroupLimits, epoch int32) *Group {
	return &Group{limits: limits, epoch: epoch, members: map[string]*member{}, next: 1}
}

// State is the group's state.
func (g *Group) State() State {
	switch {
	case g.dead:
		return Dead
	case len(g.order) == 0:
		return Empty
	}
	return Stable
}

// Epoch is the group's epoch.
func (g *Group) Epoch() int32 { return g.epoch }

// Exists tells whether the group is more than a name.
func (g *Group) Exists() bool { return g.kept || len(g.order) > 0 || g.flying != 0 }

// Idle tells whether the machine holds nothing that its durable state does not: it may be dropped and loaded again.
func (g *Group) Idle() bool { return !g.dead && len(g.order) == 0 && !g.busy() }

func (g *Group) busy() bool {
	return g.flying != 0 || g.stale || g.head || len(g.gone) > 0 || len(g.parked) > 0
}

// Empty tells whether the group has no members, so that it may be deleted, and its offsets altered.
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

// Next is when Advance wants to be called, if nothing happens before; zero: never. It may be early, never late.
func (g *Group) Next() time.Time { return g.check }

// Advance lets time pass: sessions end.
func (g *Group) Advance(now time.Time, out *Effects) {
	if g.check.IsZero() || now.Before(g.check) {
		return
	}
	g.check = time.Time{}
	for _, m := range slices.Clone(g.order) {
		if !now.Before(m.deadline) {
			g.remove(m, group.MemberFailed, "session expired", out)
		} else {
			g.note(m.deadline)
		}
	}
	g.flush(out)
}

func (g *Group) note(t time.Time) {
	if g.check.IsZero() || t.Before(g.check) {
		g.check = t
	}
}

func (g *Group) touch(m *member, now time.Time, session time.Duration) {
	m.deadline = now.Add(session)
	g.note(m.deadline)
}

func (g *Group) insert(m *member) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Insert(g.order, i, m)
	g.members[m.id] = m
	g.bytes += m.bytes()
	delete(g.gone, m.id)
}

func byID(m *member, id string) int { return strings.Compare(m.id, id) }

func (m *member) bytes() int {
	n := len(m.id) + len(m.rack) + len(m.client) + len(m.host)
	for _, t := range m.names {
		n += len(t) + 4
	}
	return n
}

// remove ends a membership. Its requests that wait are answered later.
func (g *Group) remove(m *member, kind group.EventKind, reason string, out *Effects) {
	i, _ := slices.BinarySearchFunc(g.order, m.id, byID)
	g.order = slices.Delete(g.order, i, i+1)
	delete(g.members, m.id)
	g.bytes -= m.bytes()
	if g.gone == nil {
		g.gone = map[string]struct{}{}
	}
	g.gone[m.id] = struct{}{}
	g.stale = true
	g.event(kind, m.id, reason, out)
	if len(g.order) == 0 {
		g.event(group.GroupEmptied, "", "", out)
	}
}

func (g *Group) event(kind group.EventKind, member, reason string, out *Effects) {
	out.Events = append(out.Events, group.Event{Kind: kind, Member: member, Reason: reason, Generation: g.epoch, Members: len(g.order)})
}

// look takes in the topics that there are. While they are the same it costs a comparison.
func (g *Group) look(topics image.Topics) {
	if topics == g.topics && !g.stale {
		return
	}
	if topics != g.topics {
		g.topics = topics
		for _, m := range g.order {
			m.topics = g.resolve(m)
		}
	}
	if h := g.hash(); h != g.topicHash {
		g.topicHash, g.stale = h, true
	}
}

// resolve is what a member's subscription comes to.
func (g *Group) resolve(m *member) []kafka.TopicID {
	if g.topics == (image.Topics{}) {
		return nil // look does it
	}
	var ids []kafka.TopicID
	for _, name := range m.names {
		if t, ok := g.topics.ByName(name); ok {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

func (g *Group) partitions(id kafka.TopicID) int32 {
	if t, ok := g.topics.ByID(id); ok {
		return t.Partitions
	}
	return 0
}

// hash is of the topics that are subscribed to, and how many partitions each has.
func (g *Group) hash() uint64 {
	var ids []kafka.TopicID
	for i, m := range g.order {
		if i == 0 || !slices.Equal(m.topics, g.order[i-1].topics) {
			ids = append(ids, m.topics...)
		}
	}
	return assign.Hash(ids, g.partitions)
}

// flush computes the target of what has changed and hands out the next Change, unless one is under way.
func (g *Group) flush(out *Effects) {
	if g.flying != 0 || !g.stale && !g.head && len(g.gone) == 0 {
		return
	}
	if g.stale {
		g.epoch, g.stale, g.head = g.epoch+1, false, true
		for i, target := range simple(g.order, g.partitions) {
			if m := g.order[i]; !m.target.Equal(target) {
				m.target, m.dirty = target, true
			}
		}
		g.event(group.GenerationStarted, "", AssignorName, out)
	}
	out.Change = g.encode()
	g.flying, g.kept = g.next, true
	g.next++
	g.head, g.gone = false, nil
}

// tell answers at once when what the answer tells is durable, and parks it otherwise.
func (g *Group) tell(x waiting, out *Effects) (Reply, bool) {
	g.flush(out)
	x.need = g.flying
	if g.stale || g.head || len(g.gone) > 0 { // what it waits for goes with the Change after that
		x.need = g.next
	}
	if x.need == 0 || x.m != nil && !x.whole && x.m.epoch == g.epoch && !g.stale {
		return g.answered(x), true
	}
	g.parked = append(g.parked, x)
	return Reply{}, false
}

// answered is the answer to a member that is in the group: what is durable.
func (g *Group) answered(x waiting) Reply {
	if m := x.m; m != nil {
		if m.epoch != g.epoch {
			m.previous, m.epoch = m.epoch, g.epoch
		}
		if x.whole || !m.told.Equal(m.target) {
			x.reply.Assigned, x.reply.Assignment = true, m.target
		}
		m.told = m.target
		x.reply.Epoch = m.epoch
	}
	return x.reply
}

// Persisted tells that a Change has become durable. One that has not is the end of the machine: see Abort.
func (g *Group) Persisted(seq uint64, out *Effects) {
	if seq != g.flying {
		return
	}
	g.flying, g.durable = 0, seq
	var left []waiting
	for _, x := range g.parked {
		switch {
		case x.need > seq:
			left = append(left, x)
		case x.m != nil && g.members[x.m.id] != x.m: // thrown out since
			out.Replies = append(out.Replies, Answer{x.ticket, Reply{Err: group.ErrUnknownMember, MemberID: x.m.id}})
		default:
			out.Replies = append(out.Replies, Answer{x.ticket, g.answered(x)})
		}
	}
	g.parked = left
	g.flush(out)
}

// Abort answers everything that waits; the machine is not to be used after.
func (g *Group) Abort(why error, out *Effects) {
	for _, x := range g.parked {
		out.Replies = append(out.Replies, Answer{x.ticket, Reply{Err: why, MemberID: x.reply.MemberID, Epoch: x.reply.Epoch}})
	}
	g.parked = nil
}
