package streams

import (
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
)

func setOf(ts []Task) Tasks { return assign.SetOf(ts) }

// AssignorName is Kafka's for what sticky does.
const AssignorName = "sticky"

// retarget computes the target assignment of the group epoch. While a topic is missing nobody has anything.
func (g *Group) retarget(now time.Time, out *Effects) {
	targets := make([]Assignment, len(g.order))
	if g.conf.ready() {
		workers := make([]worker, len(g.order))
		for i, m := range g.order {
			workers[i] = worker{m.process, m.target}
		}
		stateful := make([]bool, len(g.topology.Subtopologies))
		for i := range stateful {
			stateful[i] = len(g.topology.Subtopologies[i].Changelogs) > 0
		}
		targets = sticky(workers, g.conf.tasks, stateful, g.standbys)
	}
	for i, m := range g.order {
		if !m.target.equal(targets[i]) {
			m.target = targets[i]
			g.save(m, targetDirt)
		}
	}
	if g.target, g.head = g.epoch, true; g.conf.ready() { // else there was nothing to hold back
		g.made = now
	}
	g.event(group.GenerationStarted, "", AssignorName, out)
}

// reconcile brings a member as near to its target as it can come now. owned is what it says it has, told whether it said so. It tells whether the
// member's own tasks have changed.
func (g *Group) reconcile(now time.Time, m *member, owned Assignment, told bool) (changed bool) {
	epoch := m.epoch
	if m.state == unrevoked {
		if !told || owned.meets(m.revoking) {
			return false
		}
		g.free(m, m.revoking)
		m.gaveUp(m.revoking.Active)
		m.revoking = Assignment{}
		epoch++ // it has done something: its next heartbeat brings a newer epoch than the last
	}
	keep := m.assigned.and(m.target)
	revoke := m.assigned.minus(keep)
	was, wasState := m.assigned, m.state
	if !revoke.empty() && (!told || owned.meets(revoke)) {
		m.assigned, m.revoking, m.state = keep, revoke, unrevoked
		m.limit = now.Add(m.rebalance)
		g.note(m.limit)
		g.step(m, epoch)
		return true
	}
	g.free(m, revoke)
	m.gaveUp(revoke.Active)
	add := m.target.minus(keep)
	free := Assignment{Active: g.unheld(m, add.Active, true)}
	g.own(m, free)
	m.granted(g.target, free.Active)
	free.Standby = g.unheld(m, add.Standby, false)
	g.own(m, Assignment{Standby: free.Standby})
	m.assigned, m.state, m.limit = keep.or(free), stable, time.Time{}
	if len(free.Active) < len(add.Active) || len(free.Standby) < len(add.Standby) {
		m.state = unreleased
	}
	if m.assigned.equal(m.target) {
		m.assigned = m.target // one in memory, as it is for as long as nothing happens
	}
	changed = !m.assigned.equal(was)
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

// unheld is what of tasks the member may have: what its process has in no role, and what is active nowhere, if it is to be active here.
func (g *Group) unheld(m *member, ts Tasks, active bool) Tasks {
	out := make(Tasks, 0, len(ts))
	for _, t := range ts {
		if (!active || g.active[t] == nil || bugTask) && g.held[place{m.process, t}] == 0 {
			out = append(out, t)
		}
	}
	return out
}
