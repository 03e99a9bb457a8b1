package cold

import (
	"cmp"
	"slices"
	"time"
)

// What is being sent cannot be taken away from whom it is sent to, only the connection can. So a few clients that take their answers very slowly,
// because their lines are bad or they mean it, could keep all memory and leave others a block now and then. Whoever waits for memory
// for as long as patience therefore looks who keeps it: clients that take slowly may keep half, but no readahead, and those beyond are cut off.
// Nobody is cut off while nobody waits.

// Taker is what a stream's key may be: a client that takes what was read for it in its own time. Its methods wait for nothing.
type Taker interface {
	// TakesSlowly tells whether it takes slowly what is being sent to it, and how many bytes a second. It is called with mu held.
	TakesSlowly() (perSecond int64, slow bool)
	// CutOff ends the client: everything lent to it is released soon.
	CutOff()
}

// relieve makes room for size bytes that a read waits for: what slow takers keep beyond half of the memory comes back, those first who take least.
// It is for later that it does, as they are cut off once mu is free; until then nobody else is.
func (r *Reader) relieve(size int64) {
	if time.Since(r.relieved) < patience {
		return
	}
	r.relieved = time.Now()
	type slow struct {
		Taker
		c         *client
		perSecond int64
	}
	var all []slow
	var kept int64
	borrowers := map[*slab]int{} // of those: how many of all
	for _, c := range r.clients {
		t, ok := c.key.(Taker)
		if !ok || len(c.lent) == 0 {
			continue
		}
		perSecond, slowly := t.TakesSlowly()
		if !slowly {
			continue
		}
		all = append(all, slow{t, c, perSecond})
		for sl := range c.lent {
			if borrowers[sl]++; borrowers[sl] == 1 {
				kept += sl.size
			}
		}
		for _, s := range c.streams {
			r.ahead.remove(s)
			s.release(r, func(sl *slab) bool { return !s.awaits(sl.remote, sl.ready, sl.to) })
		}
	}
	slices.SortFunc(all, func(a, b slow) int { return cmp.Compare(a.perSecond, b.perSecond) })
	for _, s := range all {
		if kept <= r.cfg.MaxInFlight/2 && r.cfg.MaxInFlight-kept >= size {
			return
		}
		for sl := range s.c.lent {
			if borrowers[sl]--; borrowers[sl] == 0 {
				kept -= sl.size
			}
		}
		r.calls = append(r.calls, s.CutOff)
	}
}
