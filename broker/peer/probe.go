package peer

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// State is what a probe has found.
type State uint8

const (
	// Silent: nothing answers in time. The host is down or cut off, or the process hangs.
	Silent State = iota
	// Dead: the port refuses. The host lives and nobody listens there: the process is dead, or not up yet.
	Dead
	// Alive: the broker that was meant answers.
	Alive
	// Other: another broker answers, or one with another directory, or something that is no broker.
	Other
)

func (s State) String() string {
	return [...]string{"silent", "dead", "alive", "another"}[s]
}

// Verdict is a probe's result.
type Verdict struct {
	State State
	// Peer is who has answered; zero unless the handshake came so far.
	Peer wire.Peer
	Err  error // what was seen, unless Alive
}

// probeTimeout bounds a probe whose caller has set no earlier deadline.
const probeTimeout = time.Second

// Probe dials a node's cluster listener and looks who answers. It is Dead when it is so at every address. A verdict of Dead is
// certain at its moment for a process on that host; Silent is not: it may be slow.
func (h *Hub) Probe(ctx context.Context, node kafka.BrokerID) Verdict {
	v := Verdict{State: Silent, Err: fmt.Errorf("broker %d: its address is not known", node)}
	for _, address := range h.cfg.Address(node) {
		if v = h.ProbeAt(ctx, node, address); v.State != Dead {
			return v
		}
	}
	return v
}

// ProbeAt is Probe at an address.
func (h *Hub) ProbeAt(ctx context.Context, node kafka.BrokerID, address string) Verdict {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	v := h.probe(ctx, node, address)
	if v.State == Other && v.Peer == (wire.Peer{}) {
		return h.probe(ctx, node, address) // it hung up, perhaps because it was just dying
	}
	return v
}

func (h *Hub) probe(ctx context.Context, node kafka.BrokerID, address string) Verdict {
	c, err := h.dial(ctx, kindProbe, node, address)
	v := Verdict{Err: err}
	if c != nil {
		_ = c.Close() // it has said who it is
		v.Peer = c.remote
	}
	switch code := CodeOf(err); {
	case err == nil, code == CodeNotReady, code == CodeStale, code == CodeFailed:
		v.State = Alive
	case code != 0, errors.Is(err, errNotQanat):
		v.State = Other
	case errors.Is(err, syscall.ECONNREFUSED):
		v.State = Dead
	default:
		v.State = Silent
	}
	return v
}
