package consumer

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire/kafka"
)

// retarget computes the target assignment of the group epoch.
func (g *Group) retarget(out *Effects) {
	members := make([]assign.Member, len(g.order))
	for i, m := range g.order {
		members[i] = assign.Member{ID: m.id, Instance: m.instance, Topics: m.topics, Had: m.target}
	}
	g.assignor = g.elect()
	assignor, ok := assign.ByName(g.assignor)
	if !ok {
		panic("assignor " + g.assignor + " was admitted and is not there")
	}
	for i, target := range assignor(members, g.partitions) {
		if m := g.order[i]; !m.target.Equal(target) {
			m.target = target
			g.save(m, targetDirt)
		}
	}
	g.target, g.head = g.epoch, true
	g.event(group.GenerationStarted, "", g.assignor, out)
}

// elect is the assignor that most members ask for, the first in the broker's order when it is even or nobody asks.
func (g *Group) elect() string {
	votes := map[string]int{}
	for _, m := range g.order {
		if m.assignor != "" {
			votes[m.assignor]++
		}
	}
	best := g.limits.Assignors[0]
	for _, name := range g.limits.Assignors {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

func (g *Group) partitions(id kafka.TopicID) int32 {
	if t, ok := g.topics.ByID(id); ok {
		return t.Partitions
	}
	return 0
}

// reconcile brings a member as near to its target as it can come now. owned is what it says it owns, told whether it said so. It tells whether
// the member's own partitions have changed.
func (g *Group) reconcile(now time.Time, m *member, owned assign.Set, told bool) (changed bool) {
	epoch := m.epoch
	switch m.state {
	case stable:
		if epoch == g.target {
			return false
		}
	case unrevoked:
		if !told || owned.Meets(m.revoking) {
			return false
		}
		g.free(m, m.revoking)
		m.revoking = nil
		epoch++ // it has done something: its next heartbeat brings a newer epoch than the last
	}
	keep := m.assigned.And(m.target)
	revoke := m.assigned.Minus(keep)
	was, wasState := m.assigned, m.state
	if len(revoke) > 0 && (!told || owned.Meets(revoke)) {
		m.assigned, m.revoking, m.state = keep, revoke, unrevoked
		m.limit = now.Add(m.rebalance)
		g.note(m.limit)
		g.step(m, epoch)
		return true
	}
	g.free(m, revoke)
	add := m.target.Minus(keep)
	free := g.unowned(add)
	g.own(m, free)
	m.assigned, m.state = keep.Or(free), stable
	m.granted(g.target, free)
	if m.classic == nil { // else it is to sync
		m.limit = time.Time{}
	}
	if len(free) < len(add) {
		m.state = unreleased
	}
	if m.assigned.Equal(m.target) {
		m.assigned = m.target // one in memory, as it is for as long as nothing happens
	}
	changed = !m.assigned.Equal(was)
	if changed || m.state != wasState || m.epoch != g.target {
		g.step(m, g.target)
	}
	return changed
}

// step moves a member's epoch, and has its state kept.
func (g *Group) step(m *member, epoch int32) {
	if m.epoch != epoch {
		m.previous, m.epoch = m.epoch, epoch
	}
	g.save(m, currentDirt)
}

// unowned is what of a set nobody owns.
func (g *Group) unowned(s assign.Set) assign.Set {
	if len(g.owners) == 0 {
		return s
	}
	out := make(assign.Set, 0, len(s))
	for _, p := range s {
		if g.owners[p] == nil {
			out = append(out, p)
		}
	}
	return out
}
