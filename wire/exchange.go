package wire

import (
	"context"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Client is what is known of a connection's other end. One per connection, shared by its exchanges.
type Client struct {
	Addr                      net.Addr
	Listener                  string
	Security                  string // the listener's security protocol: PLAINTEXT, SSL
	ID                        string // connection's number, for logs
	Peer                      *Peer  // the broker that this connection was dialed by; nil on a listener for clients
	Principal                 string // who it is, in Kafka's words: User:ANONYMOUS, or what its certificate says; written before any request is handled
	Software, SoftwareVersion string // from ApiVersions; written before any other request is handled
	// Gone is done when the connection has ended: parked work for it is dropped.
	Gone context.Context
	// ReadsBucket is set once the connection has read from the bucket: what is read ahead for it ends when it does.
	ReadsBucket atomic.Bool
}

// Exchange is one request and the way back for its answer. Reply is called exactly once, from any goroutine, perhaps
// before Handle has returned; nothing of the exchange or its request may be touched afterwards.
type Exchange struct {
	Client        *Client
	Key, Version  int16
	CorrelationID int32
	ClientID      string
	// Request is decoded. A Produce request's records alias the frame, which is gone after Reply; the bytes of all others
	// may be kept. It is nil for an ApiVersions request that is newer than the table.
	Request kmsg.Request
	// Arrival is what was found out about a Produce request's records while its frame arrived, or nil.
	Arrival *Arrival
	// Trace is nil unless requests are traced.
	Trace *Trace
	// Throttle is how long the client is to wait after the answer, which tells it; the connection is not read meanwhile (KIP-219).
	Throttle time.Duration

	owner Owner
}

// Owner is where an exchange's answer goes: the connection.
type Owner interface {
	// Finish is called by Reply.
	Finish(x *Exchange, r Reply)
	// OnHurry is called by OnHurry.
	OnHurry(x *Exchange, f func())
}

// Own sets the owner of an exchange that lies in another struct.
func (x *Exchange) Own(o Owner) { x.owner = o }

// NewExchange returns an exchange whose answer goes to finish and that is never hurried. For tests of handlers.
func NewExchange(finish func(*Exchange, Reply)) *Exchange { return &Exchange{owner: finisher(finish)} }

type finisher func(*Exchange, Reply)

func (f finisher) Finish(x *Exchange, r Reply)   { f(x, r) }
func (f finisher) OnHurry(x *Exchange, g func()) {}

// Reply answers. The frame (and all that aliases it) must not be used afterwards. It never blocks on the client.
func (x *Exchange) Reply(r Reply) {
	if x.Throttle > 0 {
		r.throttled(x.Throttle)
	}
	x.owner.Finish(x, r)
}

// OnHurry registers f, to be called at most once when another request has arrived behind this unanswered one: a parked
// cold fetch then answers with what it has. If one is already there, f is called before OnHurry returns. f must not block;
// it may be called while or after the exchange is answered.
func (x *Exchange) OnHurry(f func()) { x.owner.OnHurry(x, f) }

// Reply is an answer: exactly one of its fields is set, besides Mute.
type Reply struct {
	Message kmsg.Response  // encoded with AppendTo; its version must be set
	Fetch   *FetchResponse // a Fetch response around runs; its runs are released by whoever was given the Reply
	None    bool           // acks=0: nothing is sent
	Close   error          // the connection is closed without an answer
	Mute    time.Duration  // no further request of the connection is handled for so long; set by Exchange.Reply
}

// throttled tells the client how long it is to wait, and has it wait.
func (r *Reply) throttled(d time.Duration) {
	r.Mute = d
	ms := int32(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	switch m := r.Message.(type) {
	case kmsg.SetThrottleResponse:
		m.SetThrottle(ms)
	case nil:
		if r.Fetch != nil {
			r.Fetch.ThrottleMs = ms
		}
	}
}

// Handler serves exchanges. Handle is called on the connection's reading goroutine in the order of arrival; while it runs no
// further request of the connection is read, so what must be in order (appends, commits) is started before it returns and what
// takes time (durability, data, other nodes) is answered later.
type Handler interface {
	Handle(x *Exchange)
}
