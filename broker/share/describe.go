package share

import (
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

// Description is what ShareGroupDescribe shows.
type Description struct {
	State   State
	Epoch   int32
	Members []MemberDescription
}

// MemberDescription is one member.
type MemberDescription struct {
	ID, Rack             string
	ClientID, ClientHost string
	Epoch                int32
	Topics               []string
	Assigned             assign.Set
}

// Describe shows the group.
func (g *Group) Describe() Description {
	d := Description{State: g.State(), Epoch: g.epoch}
	for _, m := range g.order {
		epoch := m.epoch
		if epoch < 0 { // it has not spoken to this coordinator yet
			epoch = g.epoch
		}
		d.Members = append(d.Members, MemberDescription{
			ID: m.id, Rack: m.rack, ClientID: m.client, ClientHost: m.host, Epoch: epoch, Topics: m.names, Assigned: m.target,
		})
	}
	return d
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

// Commit refuses: a share group has no committed offsets.
func (g *Group) Commit(time.Time, group.Identity) error { return group.ErrNotFound }

// CommitWithin is Commit within a transaction.
func (g *Group) CommitWithin(time.Time, group.Identity) error { return group.ErrNotFound }

// CheckOffsetDelete refuses, as Commit does.
func (g *Group) CheckOffsetDelete() error { return group.ErrNotFound }

// Subscribed tells whether the group consumes the topic.
func (g *Group) Subscribed(topic string) bool {
	return slices.ContainsFunc(g.order, func(m *member) bool { return slices.Contains(m.names, topic) })
}

// OffsetExpiry says that the group is kept until somebody deletes it.
func (g *Group) OffsetExpiry() (group.Expiry, time.Time) { return group.KeepOffsets, time.Time{} }

// ProtocolType is Kafka's for groups of this protocol.
func (g *Group) ProtocolType() string { return GroupType }
