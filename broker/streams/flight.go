package streams

import (
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// flight is what waits for durability. There is one Change under way at most; what is decided meanwhile gathers for the next.
type flight struct {
	next    uint64 // the number of the Change that is gathered
	flying  uint64 // the one under way; 0: none
	durable uint64 // the newest that is
	kept    bool   // some state of this group is, or is about to be, in the image

	head    bool // the group's own part is to be written
	plan    bool // its topology is
	unsaved []*member
	gone    map[string]struct{} // ids whose parts are to be deleted

	parked []waiting
}

// dirt is which parts of a member are to be written.
type dirt uint8

const (
	metaDirt dirt = 1 << iota
	currentDirt
	targetDirt
)

// waiting is a heartbeat whose answer waits for a Change.
type waiting struct {
	ticket Ticket
	m      *member // nil: it has left
	reply  Reply
	need   uint64 // the Change that must be durable first
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

func (g *Group) dirty() bool { return g.head || g.plan || len(g.unsaved) > 0 || len(g.gone) > 0 }

func (g *Group) busy() bool { return g.flying != 0 || g.dirty() || len(g.parked) > 0 }

// tell answers at once when nothing that the answer tells is still to be made durable, and hands out the next Change.
func (g *Group) tell(x waiting, out *Effects) (Reply, bool) {
	g.flush(out)
	if x.need <= g.durable {
		return x.reply, true
	}
	g.parked = append(g.parked, x)
	return Reply{}, false
}

// flush hands out what has gathered, unless a Change is under way.
func (g *Group) flush(out *Effects) {
	if g.flying != 0 || !g.dirty() {
		return
	}
	out.Change = g.encode()
	g.flying, g.kept = g.next, true
	g.next++
	g.head, g.plan, g.unsaved, g.gone = false, false, nil, nil
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
		case x.m != nil && g.members[x.m.id] != x.m: // thrown out since: what it was to be told is not so any more
			out.Replies = append(out.Replies, Answer{x.ticket, Reply{Err: group.ErrUnknownMember, MemberID: x.m.id, Epoch: x.reply.Epoch}})
		case x.need <= seq:
			out.Replies = append(out.Replies, Answer{x.ticket, x.reply})
		default:
			left = append(left, x)
		}
	}
	g.parked = left
	g.flush(out)
}

// Abort answers everything that waits; the machine is not to be used after.
func (g *Group) Abort(_ time.Time, why error, out *Effects) {
	for _, x := range g.parked {
		out.Replies = append(out.Replies, Answer{x.ticket, Reply{Err: why, MemberID: x.reply.MemberID, Epoch: x.reply.Epoch}})
	}
	g.parked = nil
}
