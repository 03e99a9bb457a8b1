package group

import "time"

// Migrant is a member that goes from a group of one protocol to one of the same name and another protocol.
type Migrant struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	Session, Rebalance   time.Duration
	Protocols            []Protocol // never empty
	Chosen               string     // the one that the group has chosen; "": none yet
	Assignment           []byte     // the newest that it may have
}

// After returns an empty group whose generations follow those of the group that had the name before: what was committed in an older generation
// must never come after what is committed in a newer one.
func After(limits *Limits, now time.Time, generation int32) *Group {
	g := New(limits, now)
	g.generation = generation
	return g
}

// Migrants are all members, the longest-standing first.
func (g *Group) Migrants() []Migrant {
	out := make([]Migrant, len(g.order))
	for i, m := range g.order {
		out[i] = Migrant{
			ID: m.id, InstanceID: m.instance, ClientID: m.client, ClientHost: m.host,
			Session: m.session, Rebalance: m.rebalance, Protocols: m.protocols, Chosen: g.protocol, Assignment: m.assignment,
		}
	}
	return out
}

// Take returns a group of members that come from another protocol's, and have a protocol in common. They go on in the generation and rebalance.
func Take(limits *Limits, now time.Time, generation int32, from []Migrant, out *Effects) *Group {
	g := After(limits, now, generation)
	g.protocolType = ConsumerType
	for _, x := range from {
		m := &member{
			id: x.ID, instance: x.InstanceID, client: x.ClientID, host: x.ClientHost,
			session: x.Session, rebalance: x.Rebalance, protocols: x.Protocols, assignment: x.Assignment,
		}
		g.insert(m)
		g.touch(m, now, m.session)
	}
	g.leader, g.protocol = g.order[0].id, g.vote()
	g.state, g.durable = Stable, true // what the group was before is kept under its name
	g.readTopics()
	g.prepare(now, "the last member of the consumer protocol is gone", out)
	return g
}
