package consumer

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

// Description is what ConsumerGroupDescribe shows.
type Description struct {
	State           State
	Epoch           int32
	AssignmentEpoch int32
	Assignor        string
	Members         []MemberDescription
}

// MemberDescription is one member.
type MemberDescription struct {
	ID, InstanceID, Rack string
	ClientID, ClientHost string
	Epoch                int32
	Topics               []string
	Regex                string
	Assigned, Target     assign.Set
	Classic              bool // it uses the classic protocol
}

// Describe shows the group.
func (g *Group) Describe() Description {
	d := Description{State: g.State(), Epoch: g.epoch, AssignmentEpoch: g.target, Assignor: g.assignor}
	if d.Assignor == "" {
		d.Assignor = g.limits.Assignors[0]
	}
	for _, m := range g.order {
		d.Members = append(d.Members, MemberDescription{
			ID: m.id, InstanceID: m.instance, Rack: m.rack, ClientID: m.client, ClientHost: m.host, Epoch: m.epoch,
			Topics: m.names, Regex: m.regex, Assigned: m.assigned, Target: m.target, Classic: m.classic != nil,
		})
	}
	return d
}

// Commit decides whether a member may commit offsets, and keeps its session if it uses the classic protocol, as that counts commits as signs
// of life. Without members, anybody may (an administrator does). One that says an epoch before its own may as well, for what has been its own since.
func (g *Group) Commit(_ time.Time, who group.Identity) error {
	if g.dead {
		return group.ErrNotAvailable
	}
	if who.Generation < 0 && len(g.order) == 0 {
		return nil
	}
	if m := g.members[who.MemberID]; m != nil && m.classic == nil {
		if who.Old {
			return ErrOldRequest
		}
		if m.epoch != who.Generation && m.mayCommit(who.Generation, who.Offsets) {
			return nil
		}
	}
	return g.checkMember(who.MemberID, who.Generation)
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
	case m.classic != nil:
		return group.ErrIllegalGeneration
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

// Subscribed tells whether the group consumes the topic.
func (g *Group) Subscribed(topic string) bool {
	for _, m := range g.order {
		for _, name := range m.names {
			if name == topic {
				return true
			}
		}
		if p := g.patterns[m.regex]; m.regex != "" && p != nil && p.re.MatchString(topic) {
			return true
		}
	}
	return false
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
func (g *Group) ProtocolType() string { return group.ConsumerType }
