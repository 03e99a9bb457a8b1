package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

const (
	// requestTimeout bounds a request whose caller has set no deadline.
	requestTimeout = 30 * time.Second

	// After a failed attempt to connect the next one waits, twice as long each time. An attempt that fails fails all requests
	// that wait for it; those that come during the wait wait for the next.
	firstBackOff = 20 * time.Millisecond
	lastBackOff  = time.Second
)

// Client sends requests to other brokers: one connection to each, opened at need, requests pipelined. Safe for concurrent use.
type Client struct {
	hub *Hub
	id  string
	ctx context.Context // ends with the client
	end context.CancelFunc

	mu    sync.Mutex
	lines map[kafka.BrokerID]*line
}

// line is the way to one broker.
type line struct {
	mu       sync.Mutex
	link     *link
	attempt  *attempt // to connect, when one is under way
	failures int
	notUntil time.Time // when the next attempt may begin
}

// attempt is one try to connect, which all who need the connection share.
type attempt struct {
	done chan struct{}
	link *link
	err  error
}

// NewClient returns a client whose connections are its own. It ends with the hub.
func (h *Hub) NewClient() *Client {
	ctx, end := context.WithCancel(context.Background())
	c := &Client{hub: h, id: fmt.Sprintf("qanat-%d", h.cfg.Self().Node), ctx: ctx, end: end, lines: map[kafka.BrokerID]*line{}}
	h.mu.Lock()
	h.clients = append(h.clients, c)
	closed := h.closed
	h.mu.Unlock()
	if closed {
		c.close()
	}
	return c
}

// Do sends a private request and returns the answer's body. The error is a *Refusal when the other broker has answered that;
// otherwise the request may have been carried out, unless the connection could not be made.
func (c *Client) Do(ctx context.Context, node kafka.BrokerID, key, version int16, body []byte) ([]byte, error) {
	answered, err := c.roundTrip(ctx, node, &wire.Private{APIKey: key, Version: version, Body: body})
	var answer []byte
	if err == nil {
		answered.frame.Leave()
		answer, err = answerTo(key, answered.body)
	}
	if err != nil {
		return nil, fmt.Errorf("%s to broker %d: %w", Name(key), node, err)
	}
	return answer, nil
}

// Request sends a Kafka request that is served between brokers. The answer's bytes are valid until release, which must be
// called once when there is no error.
func (c *Client) Request(ctx context.Context, node kafka.BrokerID, req kmsg.Request) (resp kmsg.Response, release func(), err error) {
	answer, err := c.roundTrip(ctx, node, req)
	if err == nil {
		resp = req.ResponseKind()
		resp.SetVersion(req.GetVersion())
		if err = resp.ReadFrom(answer.body); err != nil {
			answer.frame.Release()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s to broker %d: %w", kmsg.NameForKey(req.Key()), node, err)
	}
	return resp, answer.frame.Release, nil
}

// Connect makes sure of a connection, so that its end is heard of.
func (c *Client) Connect(ctx context.Context, node kafka.BrokerID) error {
	_, err := c.connected(ctx, node)
	return err
}

// AskAt sends one private request to whoever is at an address, on a connection of its own. For those who are no member yet.
// from is who has answered, also beside an error when the handshake came so far.
func (h *Hub) AskAt(ctx context.Context, node kafka.BrokerID, address string, key, version int16, body []byte) (answer []byte, from wire.Peer, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nc, err := h.dial(ctx, KindPeer, node, address)
	if nc != nil {
		from = nc.remote
	}
	if err != nil {
		return nil, from, fmt.Errorf("%s to the broker at %s: %w", Name(key), address, err)
	}
	l := newLink(nc, fmt.Sprintf("qanat-%d", h.cfg.Self().Node))
	go l.run(func() {})
	defer func() {
		l.end(net.ErrClosed)
		<-l.finished
	}()
	answered, err := l.roundTrip(ctx, &wire.Private{APIKey: key, Version: version, Body: body})
	if err == nil {
		answered.frame.Leave()
		answer, err = answerTo(key, answered.body)
	}
	if err != nil {
		return nil, from, fmt.Errorf("%s to the broker at %s: %w", Name(key), address, err)
	}
	return answer, from, nil
}

func (c *Client) roundTrip(ctx context.Context, node kafka.BrokerID, req kmsg.Request) (*call, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	l, err := c.connected(ctx, node)
	if err != nil {
		return nil, err
	}
	return l.roundTrip(ctx, req)
}

func (c *Client) line(node kafka.BrokerID) *line {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[node]
	if l == nil {
		l = &line{}
		c.lines[node] = l
	}
	return l
}

// connected returns the connection to a node, or waits for the attempt to make one.
func (c *Client) connected(ctx context.Context, node kafka.BrokerID) (*link, error) {
	l := c.line(node)
	l.mu.Lock()
	if l.link != nil && l.link.alive() {
		defer l.mu.Unlock()
		return l.link, nil
	}
	if c.ctx.Err() != nil {
		defer l.mu.Unlock()
		return nil, net.ErrClosed
	}
	a := l.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		l.attempt = a
		if !c.hub.spawn(func() { c.connect(node, l, a) }) {
			l.attempt = nil
			l.mu.Unlock()
			return nil, net.ErrClosed
		}
	}
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.link, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// spawn runs f in a goroutine that Close waits for; it returns false when the hub is closed.
func (h *Hub) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.running.Go(f)
	return true
}

// connect carries out an attempt, when it may begin.
func (c *Client) connect(node kafka.BrokerID, l *line, a *attempt) {
	l.mu.Lock()
	wait := time.NewTimer(time.Until(l.notUntil))
	l.mu.Unlock()
	defer wait.Stop()
	var nc *Conn
	var err error
	select {
	case <-wait.C:
		nc, err = c.hub.Dial(c.ctx, KindPeer, node)
	case <-c.ctx.Done():
		err = net.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(a.done)
	l.attempt = nil
	if err != nil {
		a.err = err
		l.notUntil = time.Now().Add(min(firstBackOff<<min(l.failures, 10), lastBackOff))
		l.failures++
		return
	}
	a.link = newLink(nc, c.id)
	l.link, l.failures = a.link, 0
	began := time.Now()
	if !c.hub.spawn(func() {
		a.link.run(func() {
			if time.Since(began) < firstBackOff { // a broker that hangs up at once is not to be called in a circle
				l.mu.Lock()
				l.notUntil = time.Now().Add(firstBackOff)
				l.mu.Unlock()
			}
			c.hub.tellClosed(node)
		})
	}) {
		a.link.end(net.ErrClosed)
		close(a.link.finished)
		a.err = net.ErrClosed
	}
}

// close ends the client's connections and fails what waits for them.
func (c *Client) close() {
	c.end()
	c.mu.Lock()
	lines := make([]*line, 0, len(c.lines))
	for _, l := range c.lines {
		lines = append(lines, l)
	}
	c.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		link := l.link
		l.mu.Unlock()
		if link != nil {
			link.end(net.ErrClosed)
		}
	}
}
