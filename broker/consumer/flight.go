package consumer

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

// flight is what waits for durability. There is one Change under way at most; what is decided meanwhile gathers for the next.
type flight struct {
	next    uint64 // the number of the Change that is gathered
	flying  uint64 // the one under way; 0: none
	durable uint64 // the newest that is
	kept    bool   // some state of this group is, or is about to be, in the image

	head    bool // the group's own part is to be written
	unsaved []*member
	gone    map[string]struct{} // ids whose parts are to be deleted

	parked []waiting // whose answer is made: they wait for a Change
	late   []waiting // who need a target that is not made while a Change is under way
}

// dirt is which parts of a member are to be written.
type dirt uint8

const (
	metaDirt dirt = 1 << iota
	currentDirt
	targetDirt
)

// waiting is a heartbeat on its way to its answer.
type waiting struct {
	ticket Ticket
	join   bool    // it is a JoinGroup
	m      *member // nil: it has left
	owned  assign.Set
	told   bool
	whole  bool // the member is told its assignment whether it changes or not

	reply Reply
	need  uint64 // the Change that must be durable first
}

// save notes what of a member is to be written with the next Change: everything, when parts of an earlier member of its id would stay otherwise.
func (g *Group) save(m *member, d dirt) {
	if _, again := g.gone[m.id]; again {
		d = metaDirt | currentDirt | targetDirt
		delete(g.gone, m.id)
	}
	if m.dirty == 0 {
		g.unsaved = append(g.unsaved, m)
	}
	m.dirty |= d
	m.saved = g.next
}

// unsave notes that a member's parts are to be deleted.
func (g *Group) unsave(m *member) {
	m.dirty = 0
	if g.gone == nil {
		g.gone = map[string]struct{}{}
	}
	g.gone[m.id] = struct{}{}
}

func (g *Group) dirty() bool { return g.head || len(g.unsaved) > 0 || len(g.gone) > 0 }

func (g *Group) busy() bool {
	return g.flying != 0 || g.dirty() || len(g.parked) > 0 || len(g.late) > 0
}

// tell answers at once when nothing that the answer tells is still to be made durable, and hands out the next Change.
func (g *Group) tell(x waiting, out *Effects) (Reply, bool) {
	g.flush(out)
	if x.need <= g.durable {
		return x.reply, true
	}
	g.parked = append(g.parked, x)
	return Reply{}, false
}

// answer answers a request that waits.
func (g *Group) answer(x waiting, err error, out *Effects) {
	if x.join {
		r := group.JoinResult{Err: err, MemberID: x.reply.MemberID, Generation: -1}
		switch {
		case err != nil:
		case x.m.classic == nil: // it speaks the consumer protocol by now
			r.Err = group.ErrUnknownMember
		default:
			r = x.m.joined(x.reply)
		}
		out.Joins = append(out.Joins, group.JoinReply{Ticket: x.ticket, JoinResult: r})
		return
	}
	if err != nil {
		x.reply = Reply{Err: err, MemberID: x.reply.MemberID, Epoch: x.reply.Epoch}
	}
	out.Replies = append(out.Replies, Answer{x.ticket, x.reply})
}

// flush hands out what has gathered, unless a Change is under way.
func (g *Group) flush(out *Effects) {
	if g.flying != 0 || !g.dirty() {
		return
	}
	out.Change = g.encode()
	g.flying, g.kept = g.next, true
	g.next++
	g.head, g.unsaved, g.gone = false, nil, nil
}

// Persisted tells that a Change has become durable. One that has not is the end of the machine: see Abort.
func (g *Group) Persisted(now time.Time, seq uint64, out *Effects) {
	if seq != g.flying {
		return
	}
	g.flying, g.durable = 0, seq
	var left []waiting
	for _, x := range g.parked {
		switch {
		case x.m != nil && g.members[x.m.id] != x.m: // thrown out since: what it was to be told is not so any more
			g.answer(x, group.ErrUnknownMember, out)
		case x.need <= seq:
			g.answer(x, nil, out)
		default:
			left = append(left, x)
		}
	}
	g.parked = left
	late := g.late
	g.late = nil
	for _, x := range late {
		if g.members[x.m.id] != x.m || x.m.epoch < 0 {
			g.answer(x, group.ErrUnknownMember, out)
			continue
		}
		// Nothing flies, but serve must not begin a Change for the first of many.
		g.flying = seq
		if reply, done := g.serve(now, x, out); done {
			x.reply = reply
			g.answer(x, nil, out)
		}
		g.flying = 0
	}
	g.flush(out)
}

// Abort answers everything that waits; the machine is not to be used after.
func (g *Group) Abort(_ time.Time, why error, out *Effects) {
	for _, list := range [][]waiting{g.parked, g.late} {
		for _, x := range list {
			g.answer(x, why, out)
		}
	}
	g.parked, g.late = nil, nil
}
