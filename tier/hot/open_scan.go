package hot

import (
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/wire/batch"
)

// How an opening finds where what is whole ends: from the recovery point on, every batch is read.

// scanFrom is the border where the scan of segments[o.from] begins, and the facts up to there.
func (o *opening) scanFrom() (border, facts) {
	if s := o.segments[o.from]; o.known && s.base == o.rec.base {
		return border{o.rec.offset, o.rec.pos}, o.rec.facts
	}
	return border{offset: o.segments[o.from].base}, noFacts
}

// scan verifies everything from the recovery point on. The first batch that is not whole ends the log: it and all that
// follows was never acknowledged. Only where no recovery point can be had, a bad batch with a segment behind it is damage.
func (o *opening) scan() error {
	for i := range o.segments[:min(o.from, len(o.segments))] {
		if i+1 < len(o.segments) {
			o.sealAt(i, border{o.segments[i+1].base, o.segments[i].size.Load()})
		}
	}
	if o.from == len(o.segments) {
		return o.scanNothing()
	}
	at, known := o.scanFrom()
	for i := o.from; ; i++ {
		s := o.segments[i]
		if size := s.size.Load(); size < at.pos {
			return o.tooShort(i, at, known)
		}
		x, end, bad, err := o.scanOne(s, at, known)
		if err != nil {
			return err
		}
		o.begun, o.recovered, o.reached, o.last = at, x, end, x.facts
		if i+1 == len(o.segments) {
			break
		}
		if bad == nil && o.segments[i+1].base == end.offset {
			o.sealAt(i, end)
			f := x.facts
			s.facts.Store(o.dated(f))
			at, known = border{offset: end.offset}, noFacts
			continue
		}
		if !o.known && !o.trusted {
			if bad == nil {
				bad = fmt.Errorf("%w: it ends at offset %d, the next begins at %d", errBadBatch, end.offset, o.segments[i+1].base)
			}
			o.harm(s.base, s.base, o.segments[i+1].base, bad)
			o.sealAt(i, border{o.segments[i+1].base, s.size.Load()})
			at, known = border{offset: o.segments[i+1].base}, noFacts
			continue
		}
		if err := o.drop(i + 1); err != nil {
			return err
		}
		break
	}
	return nil
}

func (o *opening) sealAt(i int, end border) {
	s := o.segments[i]
	s.size.Store(end.pos)
	s.next.Store(int64(end.offset))
	s.sealed.Store(true)
}

// scanNothing handles a log whose newest segment, the recovery point's, is missing or never came to disk: the one before it,
// which is trusted, is the last.
func (o *opening) scanNothing() error {
	i := len(o.segments) - 1
	s := o.segments[i]
	o.reached = border{o.rec.offset, s.size.Load()}
	if o.found.Damage != nil { // nothing of the missing one: only the offsets are kept from being used again
		o.reached.offset = o.rec.base
	}
	f, err := o.factsOfNewest(s, o.reached)
	o.last, o.begun, o.recovered = f, o.reached, &indexer{facts: f}
	return err
}

// factsOfNewest walks the headers of a segment whose facts nobody wrote down.
func (o *opening) factsOfNewest(s *localSegment, end border) (facts, error) {
	h, err := s.acquire(&o.env)
	if err != nil {
		return noFacts, err
	}
	defer h.Release()
	x, err := indexOf(h, s.base, end)
	if errors.Is(err, errBadBatch) {
		o.harm(s.base, s.base, end.offset, err)
		err = nil
	}
	return *o.dated(x.facts), err
}

// tooShort handles a file that ends before the recovery point.
func (o *opening) tooShort(i int, at border, known facts) error {
	s := o.segments[i]
	next := at.offset
	if i+1 < len(o.segments) {
		next = o.segments[i+1].base
	}
	o.harm(s.base, s.base, next, fmt.Errorf("%w: file has %d bytes of %d", errBadBatch, s.size.Load(), at.pos))
	if err := o.drop(i + 1); err != nil {
		return err
	}
	o.reached, o.begun, o.last, o.recovered = at, at, known, &indexer{facts: known}
	return nil
}

// scanOne verifies one segment from at on. bad says why it ended before the file did.
func (o *opening) scanOne(s *localSegment, at border, known facts) (x *indexer, end border, bad, err error) {
	x = &indexer{facts: known}
	size := s.size.Load()
	if size == at.pos {
		return x, at, nil, nil
	}
	h, err := s.acquire(&o.env)
	if err != nil {
		return x, at, nil, err
	}
	defer h.Release()
	// The process before may have ended because this could not be written: then the page cache has it, clean, and the disk has not.
	if err := h.Forget(); err != nil {
		return x, at, nil, err
	}
	o.found.Scanned += size - at.pos
	end, err = verify(h, at, size, func(v batch.View, where border) error {
		// The CRC does not cover the epoch, but a write that was torn there cannot make it go back unseen.
		if n := len(o.epochs); n > 0 && v.LeaderEpoch() < o.epochs[n-1].Epoch {
			return fmt.Errorf("%w: leader epoch %d after %d", errBadBatch, v.LeaderEpoch(), o.epochs[n-1].Epoch)
		}
		x.add(v, where)
		o.epochs = withEpoch(o.epochs, v.LeaderEpoch(), v.BaseOffset())
		return nil
	})
	if errors.Is(err, errBadBatch) {
		bad, err = err, nil
	}
	return x, end, bad, err
}
