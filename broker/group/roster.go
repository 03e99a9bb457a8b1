package group

import (
	"bytes"
	"slices"
)

// roster is the set of members, in the order in which they joined, with the counts that decisions need.
//
// Invariants: order and members hold the same members; static maps each static member's instance to its id;
// parked counts members with joining != nil; unsynced those with mustSync; supported counts members per protocol.
type roster struct {
	members   map[string]*member
	order     []*member
	static    map[string]string
	supported map[string]int
	parked    int
	unsynced  int
	bytes     int
}

func newRoster() roster {
	return roster{members: map[string]*member{}, static: map[string]string{}, supported: map[string]int{}}
}

func (r *roster) count(m *member, by int) {
	for _, p := range m.protocols {
		if r.supported[p.Name] += by; r.supported[p.Name] == 0 {
			delete(r.supported, p.Name)
		}
	}
	r.bytes += by * m.bytes()
}

func (r *roster) insert(m *member) {
	r.members[m.id] = m
	r.order = append(r.order, m)
	if m.instance != "" {
		r.static[m.instance] = m.id
	}
	r.count(m, 1)
}

// take removes m, whose parked requests have been answered.
func (r *roster) take(m *member) {
	if m.joining != nil || m.syncing != nil {
		panic("member removed with a request parked")
	}
	delete(r.members, m.id)
	i := slices.Index(r.order, m)
	r.order = slices.Delete(r.order, i, i+1)
	if m.instance != "" {
		delete(r.static, m.instance)
	}
	r.setMustSync(m, false)
	r.count(m, -1)
}

// rename gives m another id: the static member's process was replaced.
func (r *roster) rename(m *member, id string) {
	r.bytes += len(id) - len(m.id)
	delete(r.members, m.id)
	m.id = id
	r.members[id] = m
	r.static[m.instance] = id
}

func (r *roster) setMustSync(m *member, must bool) {
	if m.mustSync != must {
		m.mustSync = must
		if must {
			r.unsynced++
		} else {
			r.unsynced--
		}
	}
}

func (r *roster) setAssignment(m *member, a []byte) {
	r.bytes += len(a) - len(m.assignment)
	m.assignment = a
}

func (r *roster) setProtocols(m *member, ps []Protocol) {
	r.count(m, -1)
	m.protocols = ps
	r.count(m, 1)
}

// shares tells whether some protocol of ps is supported by all members.
func (r *roster) shares(ps []Protocol) bool {
	return slices.ContainsFunc(ps, func(p Protocol) bool { return r.supported[p.Name] == len(r.order) })
}

// vote elects the protocol: among those that all support, each member votes for its first; ties go to the one
// that the longest-standing member prefers.
func (r *roster) vote() string {
	votes := map[string]int{}
	best := "" // no protocol has this name: Join refuses it
	for _, m := range r.order {
		for _, p := range m.protocols {
			if r.supported[p.Name] == len(r.order) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, m := range r.order {
		for _, p := range m.protocols {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	if best == "" {
		panic("members without a common protocol")
	}
	return best
}

// copyProtocols takes the protocols out of the request's buffer, the first of each name.
func copyProtocols(ps []Protocol) []Protocol {
	out := make([]Protocol, 0, len(ps))
	seen := make(map[string]bool, len(ps))
	for _, p := range ps {
		if !seen[p.Name] {
			seen[p.Name] = true
			out = append(out, Protocol{p.Name, bytes.Clone(p.Metadata)})
		}
	}
	return out
}
