package wire

import (
	"context"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// API is one served API and its range of versions.
type API struct {
	Key      int16
	Name     string
	Min, Max int16
}

// Table is the hand-written list of what is served, in key order.
func Table() []API { panic("skeleton") }

// Client is what is known of a connection's other end. One per connection, shared by its exchanges.
type Client struct {
	Addr                      net.Addr
	Listener                  string
	ID                        string // connection's number, for logs
	Software, SoftwareVersion string // from ApiVersions; written before any other request is handled
	// Gone is done when the connection has ended: parked work for it is dropped.
	Gone context.Context
}

// Exchange is one request and the way back for its answer. Reply is called exactly once, from any goroutine, perhaps
// before Handle has returned.
type Exchange struct {
	Client        *Client
	Key, Version  int16
	CorrelationID int32
	ClientID      string
	Request       kmsg.Request // decoded; Records alias the frame
	// filled by the server:
	finish func(*Exchange, Reply)
	hurry  func()
}

func NewExchange(finish func(*Exchange, Reply)) *Exchange { return &Exchange{finish: finish} }

// Reply answers. The frame (and all that aliases it) must not be used afterwards.
func (x *Exchange) Reply(r Reply) { x.finish(x, r) }

// OnHurry registers f, to be called at most once when another request has arrived behind this unanswered one:
// a parked cold fetch then answers with what it has.
func (x *Exchange) OnHurry(f func()) { x.hurry = f }

// Reply is an answer: exactly one of its fields is set.
type Reply struct {
	Message kmsg.Response  // encoded with AppendTo; its version must be set
	Fetch   *FetchResponse // a Fetch response around runs
	None    bool           // acks=0: nothing is sent
	Close   error          // the connection is closed without an answer
}

// Handler serves exchanges. Handle is called on the connection's reading goroutine in the order of arrival; while it runs no
// further request of the connection is read, so what must be in order (appends, commits) is started before it returns and what
// takes time (durability, data, other nodes) is answered later.
type Handler interface {
	Handle(x *Exchange)
}

// FetchResponse is a Fetch response whose records are runs. Encoded by hand around them; sent with sendfile where possible.
type FetchResponse struct {
	Version       int16
	ThrottleMs    int32
	ErrorCode     int16
	SessionID     int32
	Topics        []FetchTopic
	NodeEndpoints []kmsg.FetchResponseBroker
}

type FetchTopic struct {
	Topic      string // versions < 13
	TopicID    kafka.TopicID
	Partitions []FetchPartition
}

type FetchPartition struct {
	Partition            int32
	ErrorCode            int16
	HighWatermark        kafka.Offset
	LastStableOffset     kafka.Offset
	LogStartOffset       kafka.Offset
	Aborted              []AbortedTxn // nil encodes as null
	PreferredReadReplica int32
	DivergingEpoch       *kmsg.FetchResponseTopicPartitionDivergingEpoch // v12+ tag 0
	CurrentLeader        *kmsg.FetchResponseTopicPartitionCurrentLeader  // v12+ tag 1
	Records              batch.Run
}

type AbortedTxn struct {
	Producer kafka.ProducerID
	First    kafka.Offset
}

// Release releases all runs.
func (f *FetchResponse) Release() { panic("skeleton") }
