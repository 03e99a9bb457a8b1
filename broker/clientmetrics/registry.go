package clientmetrics

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/batch"
)

// Client is who asks or sends.
type Client struct {
	Instance                      uuid.UUID
	ID, Software, SoftwareVersion string
	Principal, Address            string
	Port                          int
}

// Wanted is what a client is told.
type Wanted struct {
	Instance     uuid.UUID
	Subscription int32 // stands for the rest
	Interval     time.Duration
	Metrics      []string // prefixes of names, sorted; none: nothing is wanted
}

// Why a client is refused.
var (
	ErrInstance     = errors.New("the client instance id is none that a broker hands out")
	ErrEarly        = errors.New("before the interval has passed")
	ErrSubscription = errors.New("the subscription is not the client's current one")
	ErrTerminated   = errors.New("the client has sent its last metrics")
	ErrCompression  = errors.New("the compression is not known")
	ErrTooLarge     = errors.New("larger than telemetry.max.bytes")
	ErrMalformed    = errors.New("the metrics are no OTLP")
)

// Sink takes metrics of a client to where they are looked at. It does not wait.
type Sink func(c Client, m *metricspb.MetricsData)

// Registry is one broker's knowledge of clients. A nil one takes none. Safe for concurrent use.
type Registry struct {
	clock    func() time.Time
	maxBytes int
	sink     Sink
	list     atomic.Pointer[[]subscription]

	mu        sync.Mutex
	instances *simplelru.LRU[uuid.UUID, *instance]
}

// instance is a client that has been told what is wanted.
type instance struct {
	wanted       Wanted
	asked, sent  time.Time // zero: not yet
	stale        bool      // it was refused for a reason that asking again mends
	terminated   bool
	subscribedTo *[]subscription // what wanted was made from
}

// maxInstances bounds the clients that are remembered; of more, those that were heard of last are.
const maxInstances = 20_000

// maxGrowth is how much larger than telemetry.max.bytes metrics may be that came compressed.
const maxGrowth = 16

// early is how much of the interval a client may be early by: it keeps time itself, and networks do too.
const early = 0.95

// New returns a registry that knows subscriptions from the first Follow on. maxBytes bounds what a client sends at one time.
func New(clock func() time.Time, maxBytes int, sink Sink) *Registry {
	known, err := simplelru.NewLRU[uuid.UUID, *instance](maxInstances, nil)
	if err != nil {
		panic(err) // a constant that is not positive
	}
	r := &Registry{clock: clock, maxBytes: maxBytes, sink: sink, instances: known}
	r.list.Store(&[]subscription{})
	return r
}

// Follow takes in an image whose subscriptions may differ.
func (r *Registry) Follow(m *image.Image) {
	list := subscriptionsOf(m)
	r.list.Store(&list)
}

// Subscribed tells whether there is any subscription: clients are not told of any of this before (librdkafka 2.5.0 could not take that).
func (r *Registry) Subscribed() bool { return r != nil && len(*r.list.Load()) > 0 }

// MaxBytes bounds what a client sends at one time.
func (r *Registry) MaxBytes() int { return r.maxBytes }

// reserved are ids that no client has.
func reserved(id uuid.UUID) bool { return id == uuid.Nil || id == uuid.Max }

// Ask tells a client what is wanted of it. One without an instance id is given one.
func (r *Registry) Ask(c Client) (Wanted, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	if c.Instance == uuid.Nil {
		c.Instance = uuid.New()
	} else if reserved(c.Instance) {
		return Wanted{}, ErrInstance
	}
	i := r.instance(&c)
	if !i.asked.IsZero() && !i.stale && now.Sub(i.asked) < scaled(i.wanted.Interval) {
		return Wanted{}, fmt.Errorf("%w: %s", ErrEarly, i.wanted.Interval)
	}
	i.asked, i.stale = now, false
	r.renew(i, &c)
	return i.wanted, nil
}

func scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * early) }

// instance finds a client, or remembers a new one. mu is held.
func (r *Registry) instance(c *Client) *instance {
	i, ok := r.instances.Get(c.Instance)
	if !ok {
		i = &instance{}
		r.renew(i, c)
		r.instances.Add(c.Instance, i)
	}
	return i
}

// renew finds out what is wanted of a client now. mu is held.
func (r *Registry) renew(i *instance, c *Client) {
	list := r.list.Load()
	i.wanted, i.subscribedTo = wanted(*list, c), list
	i.wanted.Instance = c.Instance
}

// Push takes metrics that a client has sent under a subscription, compressed by codec. last: it sends no more.
func (r *Registry) Push(c Client, subscription int32, last bool, codec batch.Codec, data []byte) error {
	if reserved(c.Instance) {
		return ErrInstance
	}
	if err := r.admit(&c, subscription, last, codec, len(data)); err != nil {
		return err
	}
	if len(data) == 0 {
		return nil
	}
	if codec != batch.None {
		var err error
		if data, err = batch.Decompress(codec, data, int64(r.maxBytes)*maxGrowth); errors.Is(err, batch.ErrTooLarge) {
			return fmt.Errorf("%w, decompressed", ErrTooLarge)
		} else if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	m := &metricspb.MetricsData{}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r.sink != nil {
		r.sink(c, m)
	}
	return nil
}

// admit tells whether the client may send now.
func (r *Registry) admit(c *Client, subscription int32, last bool, codec batch.Codec, size int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	i := r.instance(c)
	if i.subscribedTo != r.list.Load() {
		r.renew(i, c)
	}
	switch {
	case i.terminated:
		return ErrTerminated
	case subscription != i.wanted.Subscription: // before its interval, which may be another one than the client knows
		i.stale = true
		return ErrSubscription
	case !last && !i.sent.IsZero() && now.Sub(i.sent) < scaled(i.wanted.Interval):
		return fmt.Errorf("%w: %s", ErrEarly, i.wanted.Interval)
	case codec < batch.None || codec > batch.Zstd:
		i.stale = true
		return ErrCompression
	case size > r.maxBytes:
		return fmt.Errorf("%w: %d", ErrTooLarge, size)
	}
	i.sent, i.terminated = now, last
	return nil
}
