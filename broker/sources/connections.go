package sources

import (
	"sync/atomic"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/broker/server"
	"github.com/qanat-io/qanat/broker/telemetry"
)

// Connections counts what the server tells it of connections (server.Observer) and passes requests on to the telemetry.
type Connections struct {
	telemetry *telemetry.Telemetry

	in, out, open, accepted, refused atomic.Int64
	shaken, unshaken                 atomic.Int64 // TLS handshakes
	throttled                        atomic.Int64
}

// NewConnections returns what counts for t.
func NewConnections(t *telemetry.Telemetry) *Connections { return &Connections{telemetry: t} }

var _ server.Observer = (*Connections)(nil)

// Opened implements server.Observer.
func (c *Connections) Opened(string) { c.open.Add(1); c.accepted.Add(1) }

// Closed implements server.Observer.
func (c *Connections) Closed(string) { c.open.Add(-1) }

// Refused implements server.Observer.
func (c *Connections) Refused(string) { c.refused.Add(1) }

// Handshake implements server.Observer.
func (c *Connections) Handshake(_ string, cause *secure.Cause) {
	if cause == nil {
		c.shaken.Add(1)
	} else {
		c.unshaken.Add(1)
	}
}

// Request implements server.Observer.
func (c *Connections) Request(r server.RequestStats) {
	c.in.Add(int64(r.Request))
	c.out.Add(int64(r.Response))
	if r.Throttled {
		c.throttled.Add(1)
	}
	c.telemetry.Request(r.Key, r.Total, r.Failed)
	c.telemetry.ClientRequest(r.ClientID, r.Key, r.Request, r.Response)
	if r.Trace != nil {
		c.telemetry.Traced(telemetry.RequestTrace{
			Key: r.Key, Version: r.Version, Client: r.Client, ClientID: r.ClientID, Request: r.Request, Response: r.Response,
			Took: r.Total, Closed: r.Failed, Trace: r.Trace,
		})
	}
}
