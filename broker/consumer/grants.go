package consumer

import (
	"slices"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// grant is what a member was given in an epoch.
type grant struct {
	epoch int32
	set   assign.Set
}

// mostGrants bounds what is remembered of a member: what it was given before counts as given with the oldest that is forgotten.
const mostGrants = 8

// granted notes what a member, of whose partitions it is some by now, is given in an epoch. What is noted is never written to: members are copied.
func (m *member) granted(epoch int32, set assign.Set) {
	switch len(set) {
	case 0:
		return
	case len(m.assigned):
		m.forget(epoch) // all that it has
		return
	}
	before := m.grants
	if len(before) == mostGrants {
		m.held, before = max(m.held, before[0].epoch), before[1:]
	}
	m.grants = append(slices.Clip(before), grant{epoch, set})
}

// forget has a member hold all that it has from an epoch on, and not before.
func (m *member) forget(epoch int32) { m.held, m.grants = epoch, nil }

// mayCommit tells whether a member that says an epoch before its own may commit these: whether all of them have been its own since then. A
// heartbeat moves a member's epoch while its commit is on the way, and changes nothing about what it has kept. Source: KIP-1251.
func (m *member) mayCommit(epoch int32, offsets []command.OffsetCommit) bool {
	if epoch < 1 || epoch > m.epoch || len(offsets) == 0 {
		return false
	}
	for i := range offsets {
		if !m.hadIn(epoch, offsets[i].Partition) {
			return false
		}
	}
	return true
}

func (m *member) hadIn(epoch int32, p kafka.Partition) bool {
	if !m.assigned.Has(p) && !m.revoking.Has(p) {
		return false
	}
	for _, g := range slices.Backward(m.grants) { // the newest counts: it may have been another's in between
		if g.set.Has(p) {
			return g.epoch <= epoch
		}
	}
	return m.held <= epoch
}
