package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/cbor"
)

// An answer of the private API begins with one of these; behind statusRefused is a refusal as in the handshake.
const (
	statusOK      = 0
	statusRefused = 1
)

// Handler serves one private key. ctx ends when the connection does. The error is answered as it is when it is a *Refusal,
// and as CodeFailed otherwise. A handler that is slow delays the caller's other requests only by their place in the queue of
// answers: those leave in the order of requests.
type Handler func(ctx context.Context, from wire.Peer, version int16, body []byte) ([]byte, error)

// Mux answers private requests with the handlers registered for their keys, and passes all others on. It implements
// wire.Handler. Keys may be registered at any time; until then they are answered with CodeNotReady.
type Mux struct {
	self    func() wire.Peer
	log     *slog.Logger
	workers workers

	mu       sync.RWMutex
	handlers map[int16]Handler
	kafka    wire.Handler
}

// NewMux returns a mux of the broker that self describes.
func NewMux(self func() wire.Peer, log *slog.Logger) *Mux {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Mux{self: self, log: log, workers: newWorkers(), handlers: map[int16]Handler{}}
}

// Register says what serves a key. Twice for one key is a mistake.
func (m *Mux) Register(key int16, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := private[key]; !known || m.handlers[key] != nil {
		panic(fmt.Sprintf("peer: private key %d is unknown, or registered already", key))
	}
	m.handlers[key] = h
}

// ServeKafka says what serves Fetch and OffsetForLeaderEpoch of members of the cluster. Until then, and for all other keys,
// connections are closed.
func (m *Mux) ServeKafka(h wire.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kafka = h
}

// Keys of Kafka's API that are served between brokers.
const (
	fetchKey      = 1
	epochEndKey   = 23
	maxRefusalLen = 4 << 10
)

var errNotServed = errors.New("not served between brokers")

// Handle implements wire.Handler.
func (m *Mux) Handle(x *wire.Exchange) {
	from := x.Client.Peer
	p, ok := x.Request.(*wire.Private)
	switch {
	case from == nil:
		x.Reply(wire.Reply{Close: errNotServed}) // a listener for clients was given this handler
	case !ok:
		m.handleKafka(x, from)
	default:
		h, r := m.find(from, p)
		if r != nil {
			replyPrivate(x, p, nil, r)
			return
		}
		m.workers.run(x.Client.Gone.Done(), func() { m.serve(x, *from, p, h) })
	}
}

func (m *Mux) handleKafka(x *wire.Exchange, from *wire.Peer) {
	m.mu.RLock()
	h := m.kafka
	m.mu.RUnlock()
	if h == nil || x.Key != fetchKey && x.Key != epochEndKey || !m.member(from) {
		x.Reply(wire.Reply{Close: errNotServed})
		return
	}
	h.Handle(x)
}

// member tells whether a broker is of this broker's cluster.
func (m *Mux) member(from *wire.Peer) bool {
	self := m.self()
	return self.Cluster != "" && from.Cluster == self.Cluster
}

func (m *Mux) find(from *wire.Peer, p *wire.Private) (Handler, *Refusal) {
	a, known := private[p.APIKey]
	self := m.self()
	switch {
	case !known || p.Version < 0 || p.Version > a.max:
		return nil, Refuse(CodeUnsupported, "broker %d (release %s) does not know version %d of the private request %d: upgrade it",
			self.Node, self.Release, p.Version, p.APIKey)
	case !a.open && !m.member(from):
		return nil, Refuse(CodeNotMember, "%s is for members of cluster %q, broker %d is none", a.name, self.Cluster, from.Node)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.handlers[p.APIKey]
	if h == nil {
		return nil, Refuse(CodeNotReady, "broker %d does not serve %s yet", self.Node, a.name)
	}
	return h, nil
}

// serve runs a handler. A panic in it ends the caller's connection only.
func (m *Mux) serve(x *wire.Exchange, from wire.Peer, p *wire.Private, h Handler) {
	defer func() {
		if fault := recover(); fault != nil {
			m.log.Error("panic in a request between brokers", "key", Name(p.APIKey), "from", from.Node, "panic", fault, "stack", string(debug.Stack()))
			x.Reply(wire.Reply{Close: fmt.Errorf("panic in %s: %v", Name(p.APIKey), fault)})
		}
	}()
	body, err := h(x.Client.Gone, from, p.Version, p.Body)
	if err == nil {
		replyPrivate(x, p, body, nil)
		return
	}
	r := (*Refusal)(nil)
	if !errors.As(err, &r) {
		r = Refuse(CodeFailed, "%v", err)
	}
	replyPrivate(x, p, nil, r)
}

func replyPrivate(x *wire.Exchange, p *wire.Private, body []byte, r *Refusal) {
	answer := &wire.Private{APIKey: p.APIKey, Version: p.Version}
	if r == nil {
		answer.Body = append(append(make([]byte, 0, 1+len(body)), statusOK), body...)
		x.Reply(wire.Reply{Message: answer})
		return
	}
	b, err := cbor.Marshal(refusal{r.Code, r.Text[:min(len(r.Text), maxRefusalLen)]})
	if err != nil {
		x.Reply(wire.Reply{Close: err})
		return
	}
	answer.Body = append([]byte{statusRefused}, b...)
	x.Reply(wire.Reply{Message: answer})
}
