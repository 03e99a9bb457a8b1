package share

import (
	"time"

	"github.com/qanat-io/qanat/wire/kafka"
)

// Batch is what a reader of the log has found at [Base, Next). Nothing: it is nothing for consumers, as what controls transactions, and what was
// aborted for those who do not want it.
type Batch struct {
	Base, Next kafka.Offset
	Nothing    bool
}

// Request is what a member asks for.
type Request struct {
	Member string
	// Records is how many it wants; at most, or, without Exactly, rounded up to whole batches (KIP-1206).
	Records int
	Exactly bool
	// Batch is how many records it likes to be told of together; 0: as many as come.
	Batch int
}

// Acquired is offsets [First, Next) that a member has the lock of.
type Acquired struct {
	First, Next kafka.Offset
	Deliveries  int16 // with this one
}

// Wanted is the first offset from which a reader might find something to give out; false when there is nothing to look for until something is
// released, acknowledged or durable.
func (p *Partition) Wanted(l Limits) (kafka.Offset, bool) {
	if p.fresh {
		return 0, false
	}
	for i := range p.runs {
		if p.free(&p.runs[i]) {
			return p.runs[i].first, true
		}
	}
	return p.next, p.room(l) > 0
}

// free tells whether a run may be given out.
func (p *Partition) free(r *run) bool {
	return (r.state == available || bugLock && r.state == acquired) && r.saved <= p.durable
}

// room is how many offsets may still be given out that were not yet. Offsets that are done count while they lie behind one that is not.
func (p *Partition) room(l Limits) int { return l.Locks - int(p.next-p.start) }

// Acquire locks what is free of the batches, which lie one behind the other, for a member. It returns where to: what lies behind was not looked at.
func (p *Partition) Acquire(now time.Time, batches []Batch, r Request, l Limits, out *PartitionEffects) (got []Acquired) {
	until := now.Add(l.Lock)
	left := r.Records
	for _, b := range batches {
		if left <= 0 || p.fresh {
			break
		}
		if b.Next <= p.start {
			continue
		}
		base, next := max(b.Base, p.start), b.Next
		if p.next < base { // offsets that the log does not have
			p.extend(base, true)
		}
		if p.next < next {
			// What is in the way of a whole batch is at most as much again.
			limit := l.Locks
			if !r.Exactly {
				limit *= 2
			}
			if room := p.room(l); room <= 0 {
				next = p.next
			} else if most := p.start + kafka.Offset(limit); next > most {
				next = most
			}
			if r.Exactly && !b.Nothing {
				next = min(next, max(p.next, base)+kafka.Offset(left))
			}
			p.extend(next, b.Nothing)
		}
		got, left = p.lock(got, base, next, b.Nothing, until, left, r)
		if next < b.Next {
			break
		}
	}
	if len(got) > 0 {
		p.note(until)
	}
	p.settle(out)
	return got
}

// extend looks at offsets up to next for the first time.
func (p *Partition) extend(next kafka.Offset, nothing bool) {
	if p.next >= next {
		return
	}
	r := run{first: p.next, next: next, state: available}
	if nothing {
		p.become(&r, archived)
	}
	p.runs = append(p.runs, r)
	p.next = next
}

// lock locks what is free of [base, next), which is one batch.
func (p *Partition) lock(got []Acquired, base, next kafka.Offset, nothing bool, until time.Time, left int, r Request) ([]Acquired, int) {
	fresh := true // what of this batch comes next begins a range of its own, where the one before is large enough
	for i := p.cut(base); i < len(p.runs) && p.runs[i].first < next; i++ {
		x := &p.runs[i]
		if !p.free(x) {
			continue
		}
		if x.next > next {
			p.cut(next)
			x = &p.runs[i]
		}
		if nothing {
			p.become(x, archived)
			continue
		}
		if n := int(x.next - x.first); r.Exactly && n > left {
			if left <= 0 {
				return got, left
			}
			p.cut(x.first + kafka.Offset(left))
			x = &p.runs[i]
		}
		x.state, x.holder, x.until = acquired, r.Member, until
		x.deliveries++
		left -= int(x.next - x.first)
		n := len(got)
		if n > 0 && got[n-1].Next == x.first && got[n-1].Deliveries == x.deliveries && !(fresh && r.Batch > 0 && int(got[n-1].Next-got[n-1].First) >= r.Batch) {
			got[n-1].Next = x.next
		} else {
			got = append(got, Acquired{First: x.first, Next: x.next, Deliveries: x.deliveries})
		}
		fresh = false
	}
	return got, left
}
