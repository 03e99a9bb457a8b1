package group

import (
	"fmt"
	"time"

	"github.com/qanat-io/qanat/wire/cbor"
)

// formatVersion is the version of the durable form. A newer one is refused, not guessed at.
const formatVersion = 1

// The durable form is CBOR (RFC 8949) with integer keys, in core deterministic encoding: one state has one
// encoding, so that a golden file can hold it. Keys are never reused. Text is what clients sent and need not be
// valid UTF-8.
type durableGroup struct {
	Version      uint            `cbor:"1,keyasint"`
	Generation   int32           `cbor:"2,keyasint"`
	ProtocolType string          `cbor:"3,keyasint,omitempty"`
	Protocol     string          `cbor:"4,keyasint,omitempty"`
	Leader       string          `cbor:"5,keyasint,omitempty"`
	SinceMs      int64           `cbor:"6,keyasint"`
	Members      []durableMember `cbor:"7,keyasint,omitempty"` // none: Empty; some: Stable
}

type durableMember struct {
	ID          string            `cbor:"1,keyasint"`
	Instance    string            `cbor:"2,keyasint,omitempty"`
	Client      string            `cbor:"3,keyasint,omitempty"`
	Host        string            `cbor:"4,keyasint,omitempty"`
	SessionMs   int64             `cbor:"5,keyasint"`
	RebalanceMs int64             `cbor:"6,keyasint"`
	Protocols   []durableProtocol `cbor:"7,keyasint"`
	Assignment  []byte            `cbor:"8,keyasint,omitempty"`
}

type durableProtocol struct {
	Name     string `cbor:"1,keyasint"`
	Metadata []byte `cbor:"2,keyasint,omitempty"`
}

var decoding = cbor.Limits{Depth: 8, Elements: 1 << 20, Pairs: 64, AnyText: true, Newer: true}.Decoding()

// persist hands out the state that the group has with these assignments (nil: the group is empty).
func (g *Group) persist(now time.Time, assignments map[string][]byte, out *Effects) (seq uint64) {
	d := durableGroup{
		Version: formatVersion, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: g.leader, SinceMs: now.UnixMilli(),
	}
	for _, m := range g.order {
		dm := durableMember{
			ID: m.id, Instance: m.instance, Client: m.client, Host: m.host,
			SessionMs: m.session.Milliseconds(), RebalanceMs: m.rebalance.Milliseconds(), Assignment: assignments[m.id],
		}
		for _, p := range m.protocols {
			dm.Protocols = append(dm.Protocols, durableProtocol(p))
		}
		d.Members = append(d.Members, dm)
	}
	g.seq++
	g.durable = true
	out.Persists = append(out.Persists, Persist{g.seq, cbor.MustMarshal(d)})
	return g.seq
}

func decodeState(state []byte) (d durableGroup, err error) {
	if err := decoding.Unmarshal(state, &d); err != nil {
		return d, fmt.Errorf("decode group state: %w", err)
	}
	if d.Version != formatVersion {
		return d, fmt.Errorf("group state has format version %d; this broker knows %d", d.Version, formatVersion)
	}
	return d, nil
}

// Load restores a group from its durable state: Empty, or Stable in the same generation with every session
// beginning now. A nil state is a group that only stores offsets.
func Load(limits *Limits, now time.Time, state []byte) (*Group, error) {
	g := New(limits, now)
	if state == nil {
		return g, nil
	}
	d, err := decodeState(state)
	if err != nil {
		return nil, err
	}
	g.durable = true
	g.generation, g.protocolType, g.protocol, g.leader = d.Generation, d.ProtocolType, d.Protocol, d.Leader
	g.since = time.UnixMilli(d.SinceMs)
	for i := range d.Members {
		if err := g.restore(now, &d.Members[i]); err != nil {
			return nil, err
		}
	}
	if len(g.order) > 0 {
		if g.members[g.leader] == nil || g.supported[g.protocol] != len(g.order) || g.protocol == "" {
			return nil, fmt.Errorf("group state: leader %q or protocol %q is not of its members", g.leader, g.protocol)
		}
		g.state = Stable
	} else if g.leader != "" {
		return nil, fmt.Errorf("group state: leader %q of an empty group", g.leader)
	}
	g.readTopics()
	return g, nil
}

func (g *Group) restore(now time.Time, d *durableMember) error {
	if d.ID == "" || g.members[d.ID] != nil {
		return fmt.Errorf("group state: member %q twice or without a name", d.ID)
	}
	if _, twice := g.static[d.Instance]; twice {
		return fmt.Errorf("group state: instance %q twice", d.Instance)
	}
	const maxMs = int64(1<<31 - 1)
	if d.SessionMs < 0 || d.SessionMs > maxMs || d.RebalanceMs < 0 || d.RebalanceMs > maxMs {
		return fmt.Errorf("group state: timeouts %d, %d ms of member %q", d.SessionMs, d.RebalanceMs, d.ID)
	}
	m := &member{
		id: d.ID, instance: d.Instance, client: d.Client, host: d.Host, assignment: d.Assignment,
		session: time.Duration(d.SessionMs) * time.Millisecond, rebalance: time.Duration(d.RebalanceMs) * time.Millisecond,
	}
	seen := map[string]bool{}
	for _, p := range d.Protocols {
		if seen[p.Name] || p.Name == "" {
			return fmt.Errorf("group state: protocol %q of member %q twice or without a name", p.Name, d.ID)
		}
		seen[p.Name] = true
		m.protocols = append(m.protocols, Protocol(p))
	}
	g.insert(m)
	g.touch(m, now, m.session)
	return nil
}
