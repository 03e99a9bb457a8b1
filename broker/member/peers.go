package member

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/qanat-io/qanat/broker/peer"
	"github.com/qanat-io/qanat/metadata/quorum"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// keys are the private keys of the quorum's calls.
var keys = map[quorum.Call]int16{
	quorum.CallHello:   peer.KeyHello,
	quorum.CallForm:    peer.KeyForm,
	quorum.CallJoin:    peer.KeyJoin,
	quorum.CallPropose: peer.KeyPropose,
	quorum.CallReach:   peer.KeyReach,
	quorum.CallLost:    peer.KeyLost,
	quorum.CallAdmin:   peer.KeyAdmin,
}

// codes pair the quorum's decisions with the codes that carry them. The first that fits counts.
var codes = []struct {
	err  error
	code peer.Code
}{
	{quorum.ErrNotLeader, peer.CodeNotLeader},
	{quorum.ErrNotReady, peer.CodeNotReady},
	{quorum.ErrStale, peer.CodeStale},
	{quorum.ErrRefused, peer.CodeRefused},
}

// handshakes are refusals of the handshake that no later attempt changes.
var handshakes = map[peer.Code]error{peer.CodeDuplicate: quorum.ErrRefused, peer.CodeCluster: quorum.ErrRefused}

// refusal makes an error of the quorum's one that another broker can read.
func refusal(err error) error {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return peer.Refuse(c.code, "%v", err)
		}
	}
	return err
}

// remote is another broker's refusal, with this side's decision for it.
type remote struct {
	error
	is error
}

func (r remote) Unwrap() []error { return []error{r.error, r.is} }

// decided undoes refusal.
func decided(err error) error {
	code := peer.CodeOf(err)
	for _, c := range codes {
		if err != nil && code == c.code {
			return remote{err, c.err}
		}
	}
	if is := handshakes[code]; err != nil && is != nil {
		return remote{err, is}
	}
	return err
}

// peers implements quorum.Peers.
type peers struct{ *Member }

func (p peers) Do(ctx context.Context, node kafka.BrokerID, c quorum.Call, body []byte) ([]byte, error) {
	b, err := p.Client.Do(ctx, node, keys[c], 0, body)
	return b, decided(err)
}

func (p peers) At(ctx context.Context, node kafka.BrokerID, address string, c quorum.Call, body []byte) ([]byte, wire.Peer, error) {
	b, from, err := p.Hub.AskAt(ctx, node, address, keys[c], 0, body)
	return b, from, decided(err)
}

func (p peers) Probe(ctx context.Context, node kafka.BrokerID, address string) (quorum.Liveness, wire.Peer) {
	var v peer.Verdict
	if address == "" {
		v = p.Hub.Probe(ctx, node)
	} else {
		v = p.Hub.ProbeAt(ctx, node, address)
	}
	return map[peer.State]quorum.Liveness{
		peer.Silent: quorum.Silent, peer.Dead: quorum.Dead, peer.Alive: quorum.Alive, peer.Other: quorum.Other,
	}[v.State], v.Peer
}

func (p peers) Connect(ctx context.Context, node kafka.BrokerID) error {
	return p.Client.Connect(ctx, node)
}

func (p peers) OnClose(f func(kafka.BrokerID)) { p.Hub.OnClose(f) }

func (p peers) Raft() net.Listener { return p.Hub.Raft() }

// DialRaft tries Raft's own word for the address first.
func (p peers) DialRaft(node kafka.BrokerID, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	nc, err := p.Hub.DialAt(ctx, peer.KindRaft, node, address)
	for _, other := range p.addresses(node) {
		if err == nil || other == address || peer.CodeOf(err) != 0 {
			break
		}
		nc, err = p.Hub.DialAt(ctx, peer.KindRaft, node, other)
	}
	if err != nil {
		return nil, err // not nc, which would be a net.Conn that is not nil
	}
	return nc, nil
}
