package quorum

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Call is a request between members of the quorum. Each has a file of its own.
type Call uint8

const (
	CallHello   Call = iota // hello.go
	CallForm                // form.go
	CallJoin                // join.go
	CallPropose             // propose.go
	CallReach               // reach.go
	CallLost                // lost.go
	CallAdmin               // admin.go
)

// Liveness is what a look at another node has found.
type Liveness uint8

const (
	Silent Liveness = iota // nothing answers in time
	Dead                   // its port refuses: the process is dead
	Alive                  // it answers
	Other                  // somebody else answers
)

// Peers is the way to the other nodes; package broker has it from broker/peer. Errors of calls wrap what the other node's
// handler returned of this package's ErrNotLeader, ErrNotReady and ErrStale.
type Peers interface {
	// Do asks a node whose address is known.
	Do(ctx context.Context, node kafka.BrokerID, c Call, body []byte) ([]byte, error)
	// At asks a node at an address, and tells who has answered.
	At(ctx context.Context, node kafka.BrokerID, address string, c Call, body []byte) ([]byte, wire.Peer, error)
	// Probe looks whether a node lives, at an address or, with "", wherever it is known to be.
	Probe(ctx context.Context, node kafka.BrokerID, address string) (Liveness, wire.Peer)
	// Connect keeps a connection open, so that OnClose tells of its end.
	Connect(ctx context.Context, node kafka.BrokerID) error
	OnClose(f func(kafka.BrokerID))

	// Raft and DialRaft are Raft's own connections. An address may be out of date: the node is what is meant.
	Raft() net.Listener
	DialRaft(node kafka.BrokerID, address string, timeout time.Duration) (net.Conn, error)
}

// ErrNotLeader says that only the leader answers that. It is an ErrNotReady too.
var ErrNotLeader = fmt.Errorf("%w here", ErrNotReady)

// ErrStale says that a node's directory has been replaced by another, or its membership has ended.
var ErrStale = errors.New("metadata directory is out of date")

// ErrRefused says that a change of the membership is not made; the error says why.
var ErrRefused = errors.New("membership is not changed")

// Messages of calls are CBOR maps with integer keys, deterministic and read strictly, as commands are.
const maxMessageBytes = 1 << 20

var messageDecoding = cbor.Limits{Depth: 6, Elements: 4096, Pairs: 64}.Decoding()

var errMalformed = errors.New("request between brokers is malformed")

func decodeMessage[T any](b []byte) (v T, err error) {
	if len(b) > maxMessageBytes {
		return v, fmt.Errorf("%w: %d bytes", errMalformed, len(b))
	}
	if err := messageDecoding.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return v, nil
}

// ask is Do with messages of the given types.
func ask[A any](ctx context.Context, p Peers, node kafka.BrokerID, c Call, question any) (answer A, err error) {
	b, err := p.Do(ctx, node, c, cbor.MustMarshal(question))
	if err != nil {
		return answer, err
	}
	return decodeMessage[A](b)
}

// askAt is At likewise.
func askAt[A any](ctx context.Context, p Peers, node kafka.BrokerID, address string, c Call, question any) (answer A, from wire.Peer, err error) {
	b, from, err := p.At(ctx, node, address, c, cbor.MustMarshal(question))
	if err != nil {
		return answer, from, err
	}
	answer, err = decodeMessage[A](b)
	return answer, from, err
}

// Handle answers another node's call.
func (q *Quorum) Handle(ctx context.Context, c Call, from wire.Peer, body []byte) ([]byte, error) {
	switch c {
	case CallHello:
		return q.serveHello(body)
	case CallForm:
		return q.serveForm(body)
	case CallJoin:
		return q.serveJoin(ctx, from, body)
	case CallPropose:
		return q.servePropose(ctx, from, body)
	case CallReach:
		return q.serveReach(ctx)
	case CallLost:
		return q.serveLost(ctx, body)
	case CallAdmin:
		return q.serveAdmin(ctx, body)
	}
	return nil, fmt.Errorf("%w: call %d", errMalformed, c)
}
