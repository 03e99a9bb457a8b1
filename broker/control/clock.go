package control

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Clock is the wall clock for what cannot be undone and is decided by age: retention, expiry of offsets, orphans in the bucket. It is this
// machine's own, unless that is far from what most of the cluster's brokers say: then theirs. A clock that is days ahead would
// delete what is not old. Durations are not measured with it. The zero value is the machine's; safe for concurrent use.
//
//	heartbeat: what my clock says ─▸ controller: the median of all ─▸ verdict: what time it is, and whose clock is off
type Clock struct {
	mu  sync.Mutex
	at  time.Time // when the cluster's time was last told, by this machine
	is  time.Time // what it was then
	off time.Duration
}

// skewed is how far from the others' a clock must be to be wrong: far more than messages take, and than clocks differ that anybody looks after.
const skewed = 10 * time.Second

// Now is the time.
func (c *Clock) Now() time.Time {
	own := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		return own
	}
	theirs := c.is.Add(own.Sub(c.at)) // the monotonic clock goes on evenly when the machine's is set
	if d := own.Round(0).Sub(theirs); d < skewed && d > -skewed {
		return own
	}
	return theirs
}

// Off is how far this machine's clock was ahead of the cluster's time when that was last told.
func (c *Clock) Off() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// tell notes what the controller has said: ms is the time in the middle between the moments sent and received.
func (c *Clock) tell(ms int64, sent, received time.Time) {
	took := received.Sub(sent)
	if ms == 0 || took > skewed/2 {
		return // an older release, or an answer that says too little
	}
	is := time.UnixMilli(ms).Add(took / 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.is = received, is
	c.off = received.Round(0).Sub(is)
}

// Skew is a broker whose clock is off.
type Skew struct {
	Broker kafka.BrokerID `cbor:"1,keyasint"`
	Ms     int64          `cbor:"2,keyasint"` // how far it is ahead of most; negative: behind
}

// By is how far it is off.
func (s Skew) By() time.Duration { return time.Duration(s.Ms) * time.Millisecond }

// clocks are what the living brokers' clocks have said. The controller's own monotonic clock holds them together.
type clocks struct {
	start time.Time
	ahead map[kafka.BrokerID]time.Duration // each one's wall clock, less the time since start and the Unix epoch
}

func newClocks() *clocks {
	return &clocks{start: time.Now(), ahead: map[kafka.BrokerID]time.Duration{}}
}

// hear notes what a broker's clock says now; 0: it does not say.
func (k *clocks) hear(id kafka.BrokerID, ms int64, now time.Time) {
	if ms != 0 {
		k.ahead[id] = time.Duration(ms)*time.Millisecond - now.Sub(k.start)
	}
}

// look is what time most say it is, and who is off, in id order. Of an even number the earlier half decides: what is deleted too late
// can still be deleted.
func (k *clocks) look(now time.Time, lives func(kafka.BrokerID) bool) (ms int64, off []Skew) {
	var all []time.Duration
	for id, d := range k.ahead {
		if lives(id) {
			all = append(all, d)
		} else {
			delete(k.ahead, id)
		}
	}
	if len(all) == 0 {
		return 0, nil
	}
	slices.Sort(all)
	median := all[(len(all)-1)/2]
	for id, d := range k.ahead {
		if by := d - median; by > skewed || by < -skewed {
			off = append(off, Skew{id, by.Milliseconds()})
		}
	}
	slices.SortFunc(off, func(a, b Skew) int { return cmp.Compare(a.Broker, b.Broker) })
	return (median + now.Sub(k.start)).Milliseconds(), off
}
