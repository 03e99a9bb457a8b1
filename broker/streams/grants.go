package streams

import (
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// granted notes active tasks that a member is given in an epoch.
func (m *member) granted(epoch int32, ts Tasks) {
	if len(ts) == 0 {
		return
	}
	if m.grants == nil {
		m.grants = make(map[Task]int32, len(ts))
	}
	for _, t := range ts {
		m.grants[t] = epoch
	}
}

// gaveUp forgets active tasks that are a member's no more.
func (m *member) gaveUp(ts Tasks) {
	for _, t := range ts {
		delete(m.grants, t)
	}
}

// mayCommit tells whether a member that says an epoch before its own may commit these: whether all of them are read by active tasks that have been
// its own since then, given up or not. A heartbeat moves a member's epoch while its commit is on the way, and changes nothing about what it has
// kept. Source: KAFKA-19779, what KIP-1251 is for consumer groups.
func (g *Group) mayCommit(m *member, epoch int32, offsets []command.OffsetCommit) bool {
	if epoch < 1 || epoch > m.epoch || len(offsets) == 0 || g.topics == (image.Topics{}) {
		return false // without topics: nobody has spoken since the group was loaded
	}
	subs := map[kafka.TopicID]int32{}
	for i := range g.topology.Subtopologies {
		for _, name := range g.topology.Subtopologies[i].inputs() {
			if t, ok := g.topics.ByName(name); ok {
				subs[t.ID] = int32(i)
			}
		}
	}
	for i := range offsets {
		p := &offsets[i].Partition
		sub, read := subs[p.Topic]
		if !read || !m.hadIn(epoch, Task{sub, p.Index}) {
			return false
		}
	}
	return true
}

func (m *member) hadIn(epoch int32, t Task) bool {
	if !m.assigned.Active.Has(t) && !m.revoking.Active.Has(t) {
		return false
	}
	since, known := m.grants[t]
	if !known {
		since = m.held
	}
	return since <= epoch
}
