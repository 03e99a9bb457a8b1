package server

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A large frame takes its bytes of the budget before it has arrived, or frames that are all half there could wait for each other for ever.
// So a few clients that announce much and send nothing, because they are cut off or mean it, could keep all others waiting until
// ReadTimeout has passed. Whoever is first in line therefore looks, each StallTimeout, who holds it up: frames that arrive slowly may hold
// half of their budget, and what the one in front needs beyond that is taken from them, their connections with it.

// slowArrival is the bytes per second below which a frame arrives slowly.
const slowArrival = 1 << 20

// arrives begins a large frame of which n bytes are there.
func (c *conn) arrives(size, n int) {
	c.arriving.size.Store(int64(size))
	c.arriving.got.Store(int64(n))
	c.arriving.since.Store(c.server.now())
}

// slowly tells what is charged for, and missing of, a frame that arrives slowly; 0 when there is none.
func (c *conn) slowly(now int64) (charged, missing int64) {
	since := c.arriving.since.Load()
	size, got := c.arriving.size.Load(), c.arriving.got.Load()
	took := now - since
	if since == 0 || took < int64(c.server.cfg.StallTimeout) || c.arriving.since.Load() != since {
		return 0, 0
	}
	if float64(got) >= slowArrival*time.Duration(took).Seconds() {
		return 0, 0
	}
	return size, size - got
}

// relieve cuts off those whose frames arrive slowly and are in the way of a request of need bytes, who waits for the same budget: who lacks most goes first. It returns how many.
func (s *Server) relieve(b *budget, need int64) (cut int) {
	type slow struct {
		c                *conn
		charged, missing int64
	}
	now := s.now()
	var all []slow
	var held int64
	for _, c := range s.all() {
		if charged, missing := c.slowly(now); charged > 0 && s.budgets.of(charged) == b {
			all = append(all, slow{c, charged, missing})
			held += charged
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return cmp.Compare(b.missing, a.missing) })
	for _, f := range all {
		if held <= b.total/2 && b.total-held >= need {
			break
		}
		f.c.shutdown(fmt.Errorf("%w: %d of its %d bytes are missing", errHoldsUp, f.missing, f.charged))
		held -= f.charged
		cut++
	}
	return cut
}
