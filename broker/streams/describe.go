package streams

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// Description is what StreamsGroupDescribe shows.
type Description struct {
	State           State
	Epoch           int32
	AssignmentEpoch int32
	Topology        *Topology // with the partitions of internal topics, where they are known; nil: nobody has brought it
	Members         []MemberDescription
}

// MemberDescription is one member.
type MemberDescription struct {
	ID, Rack, Process    string
	ClientID, ClientHost string
	Epoch, TopologyEpoch int32
	Endpoint             *Endpoint
	Tags                 []Pair
	Assigned, Target     Assignment
}

// Describe shows the group, with the topics that there are.
func (g *Group) Describe(w *World) Description {
	d := Description{State: g.State(), Epoch: g.epoch, AssignmentEpoch: g.target, Topology: g.topology}
	if g.topology != nil {
		if c := g.limits.configure(g.topology, w.Topics); c.ready() {
			d.Topology = g.topology.with(c.counts)
		}
	}
	for _, m := range g.order {
		d.Members = append(d.Members, MemberDescription{
			ID: m.id, Rack: m.rack, Process: m.process, ClientID: m.client, ClientHost: m.host, Epoch: m.epoch, TopologyEpoch: m.topologyEpoch,
			Endpoint: m.endpoint, Tags: m.tags, Assigned: m.assigned, Target: m.target,
		})
	}
	return d
}

// with is the topology with the partitions that its internal topics have.
func (t *Topology) with(counts map[string]int32) *Topology {
	n := &Topology{Epoch: t.Epoch, Subtopologies: slices.Clone(t.Subtopologies)}
	for i := range n.Subtopologies {
		s := &n.Subtopologies[i]
		for _, list := range []*[]InternalTopic{&s.Repartition, &s.Changelogs} {
			*list = slices.Clone(*list)
			for j := range *list {
				(*list)[j].Partitions = counts[(*list)[j].Name]
			}
		}
	}
	return n
}

// Commit decides whether a member may commit offsets. Without members, anybody may (an administrator does). One that says an epoch before its own
// may as well, for tasks that have been its own since.
func (g *Group) Commit(_ time.Time, who group.Identity) error {
	switch {
	case g.dead:
		return group.ErrNotAvailable
	case who.Generation < 0 && len(g.order) == 0:
		return nil
	case who.Old && g.members[who.MemberID] != nil:
		return ErrOldRequest
	}
	if m := g.members[who.MemberID]; m != nil && m.epoch != who.Generation && g.mayCommit(m, who.Generation, who.Offsets) {
		return nil
	}
	return g.checkMember(who.MemberID, who.Generation)
}

// CommitWithin is Commit for offsets within a transaction (KIP-447): a producer that names no member may, and one whose member has moved on is
// told in the classic protocol's words, which are all that this request knows.
func (g *Group) CommitWithin(now time.Time, who group.Identity) error {
	if who.Generation < 0 && who.MemberID == "" && who.InstanceID == "" && !g.dead {
		return nil
	}
	who.Old = false
	err := g.Commit(now, who)
	if errors.Is(err, ErrStaleEpoch) {
		return fmt.Errorf("%w: %w", group.ErrIllegalGeneration, err)
	}
	return err
}

// CheckFetch decides whether a member may fetch offsets; who names no member may.
func (g *Group) CheckFetch(member string, epoch int32) error {
	if member == "" && epoch < 0 {
		return nil
	}
	return g.checkMember(member, epoch)
}

func (g *Group) checkMember(id string, epoch int32) error {
	m := g.members[id]
	switch {
	case m == nil:
		return group.ErrUnknownMember
	case epoch == m.epoch:
		return nil
	}
	return fmt.Errorf("%w: it is %d, the member's is %d", ErrStaleEpoch, m.epoch, epoch)
}

// CheckDelete tells whether the group may be deleted.
func (g *Group) CheckDelete() error {
	switch {
	case g.dead:
		return group.ErrNotFound
	case len(g.order) > 0:
		return group.ErrNonEmpty
	}
	return nil
}

// CheckOffsetDelete tells whether offsets may be deleted, of topics that are not subscribed to.
func (g *Group) CheckOffsetDelete() error {
	if g.dead {
		return group.ErrNotFound
	}
	return nil
}

// Subscribed tells whether the group reads the topic; without members it reads nothing.
func (g *Group) Subscribed(topic string) bool {
	return len(g.order) > 0 && g.topology != nil && g.topology.reads(topic)
}

// OffsetExpiry says from when the retention of a committed offset counts: see group.Group.OffsetExpiry.
func (g *Group) OffsetExpiry() (group.Expiry, time.Time) {
	switch {
	case g.dead:
		return group.KeepOffsets, time.Time{}
	case len(g.order) == 0:
		return group.SinceEmpty, g.since
	}
	return group.Unsubscribed, time.Time{}
}

// ProtocolType is Kafka's for groups of this protocol.
func (g *Group) ProtocolType() string { return GroupType }
