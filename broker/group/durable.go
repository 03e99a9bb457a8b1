package group

import "time"

// DurableState is what the durable form holds, for who shows it to others.
type DurableState struct {
	Generation     int32
	Type, Protocol string
	Leader         string
	Since          time.Time
	Members        []DurableMember
}

// DurableMember is one member, with what it told the leader in the group's protocol.
type DurableMember struct {
	MemberDescription
	Session, Rebalance time.Duration
}

// Durable reads a durable form, not nil.
func Durable(state []byte) (DurableState, error) {
	d, err := decodeState(state)
	if err != nil {
		return DurableState{}, err
	}
	s := DurableState{Generation: d.Generation, Type: d.ProtocolType, Protocol: d.Protocol, Leader: d.Leader, Since: time.UnixMilli(d.SinceMs)}
	for i := range d.Members {
		dm := &d.Members[i]
		m := DurableMember{
			MemberDescription: MemberDescription{ID: dm.ID, InstanceID: dm.Instance, ClientID: dm.Client, ClientHost: dm.Host, Assignment: dm.Assignment},
			Session:           time.Duration(dm.SessionMs) * time.Millisecond, Rebalance: time.Duration(dm.RebalanceMs) * time.Millisecond,
		}
		for _, p := range dm.Protocols {
			if p.Name == d.Protocol {
				m.Metadata = p.Metadata
			}
		}
		s.Members = append(s.Members, m)
	}
	return s, nil
}
