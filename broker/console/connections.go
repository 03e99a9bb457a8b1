package console

import (
	"container/list"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/qanat-io/qanat/broker/hush"
)

// maxConnections bounds the port's connections. A dozen programs ask a broker, one connection or two each; whoever opens thousands must not take
// the files that clients, the log and replication need.
const maxConnections = 256

// connections bounds how many there are. Where one comes too many, the one goes that has waited for a request for longest, also one that has
// begun to send it: who holds connections open loses its own to those that ask something. Only where an answer is being made on all of them is
// the new one refused. Whoever takes an answer slowly has writeTimeout for that.
//
//	accepted ─▸ waiting ◂─▸ answering      at most `most` of both; the front of waiting goes first
type connections struct {
	most int
	said *hush.Log

	mu      sync.Mutex
	open    map[net.Conn]*connection
	waiting *list.List // of *connection, the one that has waited for longest first
}

type connection struct {
	socket    net.Conn
	answering int           // requests; HTTP/2 has several
	place     *list.Element // in waiting; nil: it does not wait
}

func newConnections(most int, said *hush.Log) *connections {
	return &connections{most: most, said: said, open: map[net.Conn]*connection{}, waiting: list.New()}
}

// came is http.Server.ConnContext, which is called for a new connection before any other is accepted, and before ConnState.
func (c *connections) came(ctx context.Context, socket net.Conn) context.Context {
	e := &connection{socket: socket}
	c.admit(e)
	return context.WithValue(ctx, connectionKey{}, e)
}

// went is http.Server.ConnState.
func (c *connections) went(socket net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.open[socket]; e != nil {
		c.forget(e)
	}
}

// admit has a place for a connection, or cuts it.
func (c *connections) admit(e *connection) {
	c.mu.Lock()
	out := e
	if len(c.open) >= c.most {
		if front := c.waiting.Front(); front != nil {
			out = front.Value.(*connection)
			c.forget(out)
		}
	}
	full := len(c.open) >= c.most
	if !full {
		c.open[e.socket] = e
		e.place = c.waiting.PushBack(e)
	}
	c.mu.Unlock()
	if out == e && !full {
		return
	}
	what := "admin port: too many connections, the one that waited longest was closed"
	if full {
		what = "admin port: too many connections, and all of them are being answered: a new one was refused"
	}
	c.said.Say(slog.LevelWarn, what, out.socket.RemoteAddr(), what, "connections", c.most)
	cut(out.socket)
}

// cut closes a connection without a word of TLS, which a peer that does not read would hold up.
func cut(socket net.Conn) {
	if t, ok := socket.(*tls.Conn); ok {
		socket = t.NetConn()
	}
	_ = socket.Close() // its own goroutine finds that out
}

// forget takes a connection out. mu is held.
func (c *connections) forget(e *connection) {
	delete(c.open, e.socket)
	if e.place != nil {
		c.waiting.Remove(e.place)
		e.place = nil
	}
}

type connectionKey struct{}

// answered has the bound know when a connection is being answered.
func (c *connections) answered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.answering(e, 1)
			defer c.answering(e, -1)
		}
		next.ServeHTTP(w, r)
	})
}

func (c *connections) answering(e *connection, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.answering += n
	switch {
	case c.open[e.socket] != e: // it has gone
	case e.answering == 0:
		e.place = c.waiting.PushBack(e)
	case e.place != nil:
		c.waiting.Remove(e.place)
		e.place = nil
	}
}
