package group

// Description is what DescribeGroups shows.
type Description struct {
	State    State
	Type     string
	Protocol string // when Stable
	Members  []MemberDescription
}

// MemberDescription is one member; metadata and assignment only while the group is Stable.
type MemberDescription struct {
	ID, InstanceID       string
	ClientID, ClientHost string
	Metadata, Assignment []byte
}

// Describe shows the group.
func (g *Group) Describe() Description {
	d := Description{State: g.state, Type: g.protocolType}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.order {
		md := MemberDescription{ID: m.id, InstanceID: m.instance, ClientID: m.client, ClientHost: m.host}
		if g.state == Stable {
			md.Metadata, md.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// ProtocolType is "consumer", "connect", …; "" for a group that only stores offsets.
func (g *Group) ProtocolType() string { return g.protocolType }
