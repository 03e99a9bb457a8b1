package server

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/wire"
)

// Listener is a listening socket and the name that clients' metadata knows it by.
type Listener struct {
	Name string
	net.Listener
	TLS *secure.Identity // nil: plain
}

// PeerConn is a connection between brokers, on which private requests are known. A listener that accepts such
// connections is one between brokers: broker/peer has it.
type PeerConn interface {
	net.Conn
	// Peer is who has dialed.
	Peer() *wire.Peer
	// Plain is the connection below, for system calls of the server's own: TCP, or a *secure.Conn after its handshake.
	Plain() net.Conn
}

// Config bounds what clients may ask for. Zero values stand for the defaults.
type Config struct {
	Listeners []Listener

	MaxRequestBytes       int   // socket.request.max.bytes; 100 MiB
	MaxBytesPerConnection int64 // of requests in flight; 32 MiB; one larger request may be alone
	MaxBytes              int64 // the same of all connections together (queued.max.request.bytes); 256 MiB; negative: without limit
	MaxPipelined          int   // requests of a connection that are not answered; 128
	MaxConnections        int   // max.connections; 65,536
	MaxConnectionsPerIP   int   // max.connections.per.ip; unbounded
	// Hold tells how long an address that has opened too many connections is to wait with the next one; 0 when it may have it. Optional.
	Hold func(ip netip.Addr) time.Duration

	MaxIdle          time.Duration // connections.max.idle.ms; 10 minutes; negative: for ever
	ReadTimeout      time.Duration // for a frame to arrive once it has begun, and as much again per 2 MiB; 30 s
	HandshakeTimeout time.Duration // for TLS, from the connection on; 10 s
	MaxHandshakes    int           // under way at one time: for one more the oldest is cut off; 1024
	StallTimeout     time.Duration // for a large frame to arrive slowly while others wait for the bytes that it takes; 1 s
	WriteTimeout     time.Duration // for a client to take anything at all of an answer; 30 s
	Grace            time.Duration // for requests in flight when the server stops; 5 s
	Traces           bool          // every request has a wire.Trace, for the observer to look at
}

func (c *Config) defaults() {
	def(&c.MaxRequestBytes, 100<<20)
	def(&c.MaxBytesPerConnection, 32<<20)
	def(&c.MaxBytes, 256<<20)
	if c.MaxBytes < 0 {
		c.MaxBytes = math.MaxInt64
	}
	def(&c.MaxPipelined, 128)
	def(&c.MaxConnections, 65_536)
	def(&c.MaxIdle, 10*time.Minute)
	def(&c.ReadTimeout, 30*time.Second)
	def(&c.HandshakeTimeout, 10*time.Second)
	def(&c.MaxHandshakes, 1024)
	def(&c.StallTimeout, time.Second)
	def(&c.WriteTimeout, 30*time.Second)
	def(&c.Grace, 5*time.Second)
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Observer hears what happens, for metrics. Its methods are called on the paths that they tell of: they must not block or
// allocate, and are called from many goroutines.
type Observer interface {
	// Opened and Closed tell of connections.
	Opened(listener string)
	Closed(listener string)
	// Refused tells of a connection that was closed at once: too many.
	Refused(listener string)
	// Handshake tells of a TLS handshake that is over. cause is nil when it went well.
	Handshake(listener string, cause *secure.Cause)
	// Request tells of a request whose answer, if it has one, the client's socket has taken.
	Request(r RequestStats)
}

// RequestStats is one answered request.
type RequestStats struct {
	Listener     string
	Key, Version int16
	Request      int           // bytes, without the frame's size
	Response     int           // bytes, with it; 0 without an answer
	Total        time.Duration // from the frame's last byte to the answer's
	Throttled    bool          // the client was told to wait
	Failed       bool          // the connection is closed in place of an answer
	ClientID     string
	Client       *wire.Client
	Trace        *wire.Trace // nil unless Config.Traces; not to be kept
}

// Unobserved is an Observer that ignores everything.
type Unobserved struct{}

func (Unobserved) Opened(string)                   {}
func (Unobserved) Closed(string)                   {}
func (Unobserved) Refused(string)                  {}
func (Unobserved) Handshake(string, *secure.Cause) {}
func (Unobserved) Request(RequestStats)            {}
