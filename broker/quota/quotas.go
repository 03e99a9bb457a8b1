package quota

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/image"
)

// Quotas are one broker's. A nil one bounds nothing. Safe for concurrent use.
type Quotas struct {
	clock  func() time.Time
	window time.Duration

	rules atomic.Pointer[rules]

	mu     sync.RWMutex
	meters map[client]*Meter
	shared map[share]*throttle.Quota
}

type client struct{ user, id string }

// share is who has a quota together.
type share struct {
	who Entity
	key string
}

// maxRemembered bounds the quotas that are kept. Beyond it those are let go of that remember nothing.
const maxRemembered = 50_000

// New returns quotas that hold from the first Follow on. What a client has saved up of its rate by rest is what it may have in a window.
func New(clock func() time.Time, window time.Duration) *Quotas {
	q := &Quotas{clock: clock, window: window, meters: map[client]*Meter{}, shared: map[share]*throttle.Quota{}}
	q.rules.Store(&rules{})
	return q
}

// Follow takes in an image whose limits may differ.
func (q *Quotas) Follow(m *image.Image) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := rulesOf(m)
	q.rules.Store(r)
	clear(q.meters)
	if !r.clients && !r.ips {
		clear(q.shared)
	}
}

// Meter is what bounds one client. The zero value, and nil, bound nothing.
type Meter struct{ of [kinds]*throttle.Quota }

// Meter finds what bounds a client; nil when no client is bounded.
func (q *Quotas) Meter(user, id string) *Meter {
	if q == nil || !q.rules.Load().clients {
		return nil
	}
	c := client{user, id}
	q.mu.RLock()
	m := q.meters[c]
	q.mu.RUnlock()
	if m != nil {
		return m
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.rules.Load() // under the lock: Follow clears what was made by older ones
	m = &Meter{}
	for k, key := range clientKeys {
		if who, rate, ok := r.limit(user, id, key); ok {
			if kind(k) == requests {
				rate = rate / 100 * float64(time.Second) // of time, in a second
			}
			m.of[k] = q.quota(share{who, key}, rate)
		}
	}
	q.makeRoom()
	q.meters[c] = m
	return m
}

// Connected counts a connection, and tells how long its address has to wait with the next one; 0 when it may be taken.
func (q *Quotas) Connected(ip netip.Addr) time.Duration {
	if q == nil || !q.rules.Load().ips {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	address := ip.String()
	rate, ok := q.rules.Load().connections(address)
	if !ok {
		return 0
	}
	q.makeRoom()
	c := q.quota(share{Entity{IP: Part{Set: true, Name: address}}, connectionKey}, rate)
	owed := c.Owed()
	if owed == 0 {
		c.Spend(1)
	}
	return owed
}

// quota is the one of those who share it. mu is held.
func (q *Quotas) quota(s share, rate float64) *throttle.Quota {
	b := q.shared[s]
	if b == nil {
		b = throttle.NewQuota(q.clock, q.window)
		q.shared[s] = b
	}
	b.Set(rate)
	return b
}

// makeRoom forgets clients when there are too many: whoever comes again is found anew, and a quota at rest is like a new one. Those that owe
// stay, or another client id would be a way out for all who share theirs; to owe takes a request each. mu is held.
func (q *Quotas) makeRoom() {
	if len(q.meters) < maxRemembered && len(q.shared) < maxRemembered {
		return
	}
	clear(q.meters)
	for s, b := range q.shared {
		if b.AtRest() {
			delete(q.shared, s)
		}
	}
}

// Produced counts bytes of records, and tells how long the client is to wait before it sends more.
func (m *Meter) Produced(bytes int) time.Duration { return m.spend(produces, float64(bytes)) }

// Fetched counts bytes of records.
func (m *Meter) Fetched(bytes int) { m.spend(fetches, float64(bytes)) }

// FetchOwed tells how long the client is to wait for more records: it has had too many.
func (m *Meter) FetchOwed() time.Duration { return m.owed(fetches) }

// Took counts the time that a request has taken.
func (m *Meter) Took(d time.Duration) { m.spend(requests, float64(d)) }

// longestForTime bounds what is waited for time: what a request takes is not its client's to foresee (KIP-124).
const longestForTime = time.Second

// TimeOwed tells how long the client is to wait because its requests have taken too much time.
func (m *Meter) TimeOwed() time.Duration { return min(m.owed(requests), longestForTime) }

// Mutated counts partitions that were created or deleted. See MutationOwed.
func (m *Meter) Mutated(partitions int) time.Duration { return m.spend(mutations, float64(partitions)) }

// MutationOwed tells how long the client is to wait before it may create or delete more.
func (m *Meter) MutationOwed() time.Duration { return m.owed(mutations) }

func (m *Meter) spend(k kind, n float64) time.Duration {
	if m == nil || m.of[k] == nil {
		return 0
	}
	m.of[k].Spend(n)
	return m.of[k].Owed()
}

func (m *Meter) owed(k kind) time.Duration {
	if m == nil || m.of[k] == nil {
		return 0
	}
	return m.of[k].Owed()
}
