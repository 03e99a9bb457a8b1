package telemetry

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// clients counts by client id, which is the clients' to choose: only where an operator asks for it, and for no more ids than
// allowed. Those that come first have a place of their own, the rest share one.
type clients struct {
	most int // 0: nothing is counted

	mu    sync.RWMutex
	known map[string]*clientCounts
}

// clientCounts is one client id's; since the start.
type clientCounts struct {
	in, out                atomic.Int64
	produce, fetch, others atomic.Int64 // requests
}

// otherClients share the counts of those for whom there was no place; unnamedClients of those that give no id.
const (
	otherClients   = "(other)"
	unnamedClients = "(none)"
)

// longestClient is how much of an id is kept.
const longestClient = 128

func (c *clients) of(id string) *clientCounts {
	if id == "" {
		id = unnamedClients // Prometheus would take it for no label
	}
	c.mu.RLock()
	n := c.known[id]
	c.mu.RUnlock()
	if n != nil {
		return n
	}
	id = strings.ToValidUTF8(id[:min(len(id), longestClient)], "?")
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= c.most {
		id = otherClients
	}
	if n = c.known[id]; n == nil {
		if c.known == nil {
			c.known = map[string]*clientCounts{}
		}
		n = &clientCounts{}
		c.known[strings.Clone(id)] = n
	}
	return n
}

// ClientRequest counts a request by its client id, if that is asked for.
func (t *Telemetry) ClientRequest(id string, api int16, in, out int) {
	if t.clients.most <= 0 {
		return
	}
	n := t.clients.of(id)
	n.in.Add(int64(in))
	n.out.Add(int64(out))
	switch kmsg.Key(api) {
	case kmsg.Produce:
		n.produce.Add(1)
	case kmsg.Fetch:
		n.fetch.Add(1)
	default:
		n.others.Add(1)
	}
}

func (c *clients) observe(w observer) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for id, n := range c.known {
		w.int("kafka.client.requests", n.produce.Load(), "client", id, "api", "Produce")
		w.int("kafka.client.requests", n.fetch.Load(), "client", id, "api", "Fetch")
		w.int("kafka.client.requests", n.others.Load(), "client", id, "api", "other")
		w.int("kafka.client.io", n.in.Load(), "client", id, "direction", "receive")
		w.int("kafka.client.io", n.out.Load(), "client", id, "direction", "transmit")
	}
}
