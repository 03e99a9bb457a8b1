package compact

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Pass tells what a pass did.
type Pass struct {
	From, To kafka.Offset // what was dirty, and is clean now
	Keys     int
	Read     int64 // bytes
	Before   int64 // bytes of the segments that were gone over
	After    int64
	Took     time.Duration
}

// pass is one pass over one log.
type pass struct {
	log       Log
	policy    Policy
	keys      *keys
	now       time.Time
	from, end kafka.Offset // dirty, and in keys
	archived  bool
	read      int64
	take      func(ctx context.Context, bytes int) error

	kept []bool // scratch: which records of the batch stay
	out  []byte // scratch: the batch that stands in its place
}

// run cleans what the plan speaks of, or as much of it as there is memory for.
func (p *pass) run(ctx context.Context, w plan, mapBytes int64) (Pass, error) {
	began := time.Now()
	p.from = w.from
	p.keys = newKeys(p.expected(w), mapBytes)
	if err := p.learn(ctx, w); err != nil {
		return Pass{}, err
	}
	done := Pass{From: p.from, To: p.end, Keys: p.keys.n}
	for _, s := range w.segments {
		if s.Base >= p.end {
			break
		}
		r, err := p.log.Rewrite(ctx, s.Base, s.Next, p.edit, p.pace)
		if err != nil {
			return Pass{}, err
		}
		done.Before += r.Before
		done.After += r.After
	}
	if err := p.log.SetCleanedTo(p.end); err != nil {
		return Pass{}, err
	}
	err := p.merge(ctx)
	done.Read = p.read
	done.Took = time.Since(began)
	return done, err
}

// merge makes one segment of neighbours that have become small.
func (p *pass) merge(ctx context.Context) error {
	rest := p.log.Segments()
	for len(rest) > 0 && rest[0].Sealed && rest[0].Next <= p.end {
		n := p.policy.group(rest, p.end)
		if n > 1 {
			if _, err := p.log.Rewrite(ctx, rest[0].Base, rest[n-1].Next, withoutGaps, p.pace); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

// withoutGaps is a hot.Edit that leaves every record: gaps beside each other become one.
func withoutGaps(v batch.View) (batch.View, error) {
	if v.IsGap() {
		return nil, nil
	}
	return v, nil
}

// expected guesses the number of keys: one for each hundred bytes.
func (p *pass) expected(w plan) int64 { return w.dirty / 100 }

var errFull = errors.New("no more keys fit")

// learn reads what is dirty. p.end is where it stopped: at the plan's end, or before the batch whose keys no longer fit.
func (p *pass) learn(ctx context.Context, w plan) error {
	p.end = w.end
	first := true
	err := p.log.Each(ctx, w.from, w.end, func(v batch.View) error {
		if v.Attributes().Control() {
			return nil
		}
		if n := int(v.RecordCount()); !p.keys.room(n) {
			if !first {
				p.end = v.BaseOffset()
				return errFull
			}
			p.keys.force(n)
		}
		first = false
		if !p.log.Committed(v) {
			return nil
		}
		it := batch.Records(v)
		for r := range it.All {
			if r.Key != nil && r.Offset >= w.from {
				p.keys.put(r.Key, r.Offset)
			}
		}
		return unreadable(v, it.Err())
	}, p.pace)
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

func unreadable(v batch.View, err error) error {
	if err != nil {
		return fmt.Errorf("records of the batch at %d: %w", v.BaseOffset(), err)
	}
	return nil
}

func (p *pass) pace(ctx context.Context, n int) error {
	p.read += int64(n)
	return p.take(ctx, n)
}

// edit is hot.Edit: what is left of a batch.
func (p *pass) edit(v batch.View) (batch.View, error) {
	switch {
	case v.IsGap():
		return nil, nil
	case v.BaseOffset() >= p.end:
		return v, nil
	case v.Attributes().Control():
		return p.editMarker(v)
	case v.RecordCount() == 0:
		return p.orEmpty(v)
	}
	left, f, err := p.judge(v)
	switch {
	case err != nil:
		return nil, err
	case left == 0:
		return p.orEmpty(v)
	case left == len(p.kept) && !f.Counted && !f.Decided:
		return v, nil
	}
	i := -1
	f.Keep = func(batch.Record) bool {
		i++
		return p.kept[i]
	}
	return p.apply(f, v)
}

func (p *pass) apply(f batch.Filter, v batch.View) (batch.View, error) {
	out, _, err := f.Apply(p.out[:0], v)
	if err != nil {
		return nil, unreadable(v, err)
	}
	p.out = out
	return out, nil
}

// editMarker keeps a transaction's marker for as long as a reader may ask for it who has been told of the transaction: until its horizon has
// passed. What the transaction has committed does not need it, what it has aborted is gone. A producer's last word stays.
func (p *pass) editMarker(v batch.View) (batch.View, error) {
	until, counted := v.DeleteHorizon()
	switch {
	case p.archived: // what is in the bucket needs it
		return v, nil
	case !counted && v.BaseOffset() >= p.from:
		return p.apply(batch.Filter{Horizon: p.horizon(), Counted: true}, v)
	case counted && p.now.UnixMilli() >= until && !p.log.LastOfProducer(v):
		return nil, nil
	}
	return v, nil
}

// orEmpty is a batch without its records if a producer's sequence hangs on it, or nothing.
func (p *pass) orEmpty(v batch.View) (batch.View, error) {
	if !v.Idempotent() || !p.log.LastOfProducer(v) {
		return nil, nil
	}
	if v.RecordCount() == 0 && !v.Attributes().Transactional() {
		return v, nil
	}
	return p.apply(batch.Filter{Decided: true, Keep: func(batch.Record) bool { return false }}, v)
}

func (p *pass) horizon() int64 { return p.now.Add(p.policy.DeleteRetention).UnixMilli() }

// judge decides about every record of a batch: p.kept, and what else is to change if any of them stays.
func (p *pass) judge(v batch.View) (left int, f batch.Filter, err error) {
	p.kept = p.kept[:0]
	until, counted := v.DeleteHorizon()
	expired := counted && p.now.UnixMilli() >= until && !p.archived
	committed := p.log.Committed(v)
	f.Decided = v.Attributes().Transactional()
	it := batch.Records(v)
	for r := range it.All {
		stays := committed && r.Key != nil && p.keys.latest(r.Key) <= r.Offset
		if stays && r.Value == nil {
			stays = !expired
			if !counted && !p.archived && r.Offset >= p.from {
				f.Horizon, f.Counted = p.horizon(), true
			}
		}
		p.kept = append(p.kept, stays)
		if stays {
			left++
		}
	}
	return left, f, unreadable(v, it.Err())
}
