package cold

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// FindTime finds the first record at or after ts, in the remote log. Blocking;
// ctx bounds it. The manifest tells the object without a GET, its footer (cached)
// a range of about 64 KiB, which one GET brings; at most a batch of it is
// decompressed.
func (r *Reader) FindTime(ctx context.Context, p kafka.Partition, m manifest.Manifest, ts int64) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	first, ok := m.FindTime(ts)
	if !ok {
		return 0, 0, 0, false, nil
	}
	for i := first; i < m.Len(); i++ {
		e := m.At(i)
		if e.MaxTimestamp < ts {
			continue
		}
		rm, err := r.footer(ctx, p, e)
		if err != nil {
			return 0, 0, 0, false, fmt.Errorf("find time %d: %w", ts, err)
		}
		found, err := r.findIn(ctx, rm, ts)
		if err != nil {
			return 0, 0, 0, false, fmt.Errorf("find time %d in %s: %w", ts, rm.key, err)
		}
		if found.ok {
			return found.offset, found.at, found.epoch, true, nil
		}
		// The batch header promised a timestamp that none of its records has.
	}
	return 0, 0, 0, false, nil
}

type found struct {
	offset kafka.Offset
	at     int64
	epoch  kafka.LeaderEpoch
	ok     bool
}

// findIn looks through the object's index ranges from the first that can hold ts.
func (r *Reader) findIn(ctx context.Context, rm *remote, ts int64) (found, error) {
	index := rm.footer.Index
	begin := rm.footer.LocateTime(ts)
	for i := sort.Search(len(index), func(i int) bool { return index[i].Pos >= begin.Pos }); i < len(index); i++ {
		end, highest := rm.footer.DataSize, rm.footer.MaxTimestamp
		if i+1 < len(index) {
			end, highest = index[i+1].Pos, index[i+1].MaxTimestamp
		}
		if highest < ts {
			continue
		}
		hit, err := r.findBetween(ctx, rm, index[i].Pos, end, ts)
		if err != nil || hit.ok {
			return hit, err
		}
	}
	return found{}, nil
}

// findBetween looks through the batches of [from, end), two neighbours in the index.
func (r *Reader) findBetween(ctx context.Context, rm *remote, from, end, ts int64) (found, error) {
	p, release, err := r.bytesOf(ctx, rm, from, end)
	if err != nil {
		return found{}, err
	}
	defer release()
	for len(p) > 0 {
		v, rest, err := batch.Next(p)
		if err != nil {
			return found{}, err // was verified
		}
		if v.MaxTimestamp() >= ts {
			if hit, err := firstRecord(v, ts); err != nil || hit.ok {
				return hit, err
			}
		}
		p = rest
	}
	return found{}, nil
}

// firstRecord finds the batch's first record at or after ts.
func firstRecord(v batch.View, ts int64) (found, error) {
	hit := found{epoch: v.LeaderEpoch()}
	it := batch.Records(v)
	for rec := range it.All {
		if rec.Timestamp >= ts {
			hit.offset, hit.at, hit.ok = rec.Offset, rec.Timestamp, true
			break
		}
	}
	if err := it.Err(); err != nil && !hit.ok {
		return found{}, fmt.Errorf("records of offset %d: %w", v.BaseOffset(), err)
	}
	return hit, nil
}

// bytesOf returns the verified batches of [from, end), which are neighbours in
// the index and so lie in one block: from memory where a slab has it, else by one GET.
func (r *Reader) bytesOf(ctx context.Context, rm *remote, from, end int64) (p []byte, release func(), err error) {
	r.mu.Lock()
	b := sort.Search(rm.count(), func(i int) bool { return rm.blocks[i].pos > from }) - 1
	if sl := rm.slabs[b]; sl != nil && b < sl.ready {
		sl.refs++
		r.memory.settle(sl)
		p = sl.bytes(from, end)
		r.mu.Unlock()
		return p, sl.Release, nil
	}
	r.mu.Unlock()

	select {
	case r.lookups <- struct{}{}:
		defer func() { <-r.lookups }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	p = make([]byte, end-from)
	err = r.retrying(ctx, func() error {
		if err := r.get(ctx, rm.key, from, p, func(int) error { return nil }); err != nil {
			return err
		}
		return rm.footer.Verify(p, from)
	})
	if err != nil && ctx.Err() != nil {
		return nil, nil, errors.Join(ctx.Err(), err)
	}
	return p, func() {}, err
}
