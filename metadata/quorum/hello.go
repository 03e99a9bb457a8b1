package quorum

import (
	"slices"

	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Hello: who are you, and are you part of a cluster. Asked by nodes that are not, and answered to anyone.

type helloQuestion struct{}

type helloAnswer struct {
	Cluster   string           `cbor:"1,keyasint"` // "": not formed
	Peers     []kafka.BrokerID `cbor:"2,keyasint"` // that the node is configured to form one with, sorted; while not formed
	Directory Directory        `cbor:"3,keyasint"`
	Leader    kafka.BrokerID   `cbor:"4,keyasint"` // kafka.NoBroker: none is known
	Members   []Founder        `cbor:"5,keyasint"` // of a cluster
	Wanted    string           `cbor:"6,keyasint"` // cluster.id, as configured; while not formed
}

func (q *Quorum) serveHello(body []byte) ([]byte, error) {
	if _, err := decodeMessage[helloQuestion](body); err != nil {
		return nil, err
	}
	a := helloAnswer{Cluster: q.clusterID, Directory: q.who.Directory, Leader: q.LeaderID()}
	for _, s := range q.servers() {
		p := placeOf(s)
		a.Members = append(a.Members, Founder{Node: p.node, Address: p.address, Directory: p.directory})
	}
	return cbor.MustMarshal(a), nil
}

// has tells whether a node's directory is among the members.
func (a *helloAnswer) has(node kafka.BrokerID, d Directory) bool {
	return slices.ContainsFunc(a.Members, func(m Founder) bool { return m.Node == node && m.Directory == d })
}
