package cold

import (
	"io"
	"runtime"
	"sync/atomic"
	"time"
)

// turns keep downloads off one processor, or a quarter of many, for the hot path: GETs take turns where it is the processors, and not
// the bucket, that they wait for. Sixteen downloads from a fast store have always something to read; the scheduler, finding
// all of them runnable, gives each ten milliseconds and looks at the network as seldom, and a produce waits behind them
// at each of its steps. Whoever waits for his turn is parked instead, and waits for the bucket without one.
type turns chan struct{}

func newTurns() turns { return make(turns, max(runtime.GOMAXPROCS(0)*3/4, 1)) }

// lent is how long a turn is kept by a read that waits for the bucket after all.
const lent = time.Millisecond

// reader is one GET's reading of its body. Between read and the next one, while what came is verified, it has a turn.
type reader struct {
	turns turns
	has   atomic.Bool
	late  *time.Timer // gives the turn back
	more  bool        // the last read was given all that it asked for, at once: the next one will hardly wait
}

func (t turns) reading() *reader {
	r := &reader{turns: t}
	r.late = time.AfterFunc(time.Hour, r.end)
	r.late.Stop()
	return r
}

// read is body.Read, with a turn if there is likely something to read at once, else without while it waits.
func (r *reader) read(body io.Reader, p []byte) (int, error) {
	r.end()
	if r.more {
		r.begin()
		r.late.Reset(lent)
	}
	began := time.Now()
	n, err := body.Read(p)
	r.late.Stop()
	r.more = n == len(p) && time.Since(began) < lent/2
	if !r.has.Load() {
		r.begin()
	}
	return n, err
}

func (r *reader) begin() {
	r.turns <- struct{}{}
	r.has.Store(true)
}

// end gives the turn to who waits for it. More than once does no harm.
func (r *reader) end() {
	if r.has.Swap(false) {
		<-r.turns
	}
}
