package cold

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// FindTime finds the first record at or after ts with an offset of at least from, in the remote log. Blocking;
// ctx bounds it. The manifest tells the object without a GET, its footer (cached)
// a range of about 64 KiB, which one GET brings; at most a batch of it is
// decompressed. Only in the object that holds from it may take another range:
// the record that reaches ts may be one before from.
func (r *Reader) FindTime(ctx context.Context, p kafka.Partition, m manifest.Manifest, ts int64, from kafka.Offset) (offset kafka.Offset, at int64, epoch kafka.LeaderEpoch, ok bool, err error) {
	from = max(from, m.Start()) // a page holds what was trimmed of it, too
	for _, page := range m.Pages() {
		if page.MaxTimestamp < ts || page.Next <= from {
			continue
		}
		entries, err := r.Page(ctx, p, page)
		if err != nil {
			return 0, 0, 0, false, fmt.Errorf("find time %d: %w", ts, err)
		}
		if offset, at, epoch, ok, err = r.FindTime(ctx, p, entries, ts, from); err != nil || ok {
			return offset, at, epoch, ok, err
		}
	}
	first, ok := m.FindTime(ts)
	if !ok {
		return 0, 0, 0, false, nil
	}
	for i := first; i < m.Len(); i++ {
		e := m.At(i)
		if e.MaxTimestamp < ts || e.Next <= from {
			continue
		}
		rm, err := r.footer(ctx, p, e)
		if err != nil {
			return 0, 0, 0, false, fmt.Errorf("find time %d: %w", ts, err)
		}
		found, err := r.findIn(ctx, rm, ts, from)
		if err != nil {
			return 0, 0, 0, false, fmt.Errorf("find time %d in %s: %w", ts, rm.key, err)
		}
		if found.ok {
			return found.offset, found.at, found.epoch, true, nil
		}
		// The object's record at ts lies before from.
	}
	return 0, 0, 0, false, nil
}

// MaxTimestamp is the largest of atLeast and the timestamps of the records in [from, limit), in the remote log. Blocking;
// ctx bounds it. The manifest answers without a GET, but where the largest may stand in an object that from or limit
// cuts, and even there mostly the footer.
func (r *Reader) MaxTimestamp(ctx context.Context, p kafka.Partition, m manifest.Manifest, from, limit kafka.Offset, atLeast int64) (int64, error) {
	largest := atLeast
	from = max(from, m.Start()) // a page holds what was trimmed of it, too
	var cutPages []manifest.Page
	for _, page := range m.Pages() {
		switch {
		case page.Next <= from || page.Base >= limit:
		case page.Base >= from && page.Next <= limit:
			largest = max(largest, page.MaxTimestamp)
		default:
			cutPages = append(cutPages, page)
		}
	}
	var cut []manifest.Entry
	for _, e := range m.All() {
		switch {
		case e.Next <= from || e.Base >= limit:
		case e.Base >= from && e.Next <= limit:
			largest = max(largest, e.MaxTimestamp)
		default:
			cut = append(cut, e)
		}
	}
	for _, page := range cutPages {
		if page.MaxTimestamp <= largest {
			continue
		}
		entries, err := r.Page(ctx, p, page)
		if err == nil {
			largest, err = r.MaxTimestamp(ctx, p, entries, from, limit, largest)
		}
		if err != nil {
			return 0, fmt.Errorf("find the largest timestamp of offset %d on: %w", page.Base, err)
		}
	}
	for _, e := range cut {
		if e.MaxTimestamp <= largest {
			continue
		}
		rm, err := r.footer(ctx, p, e)
		if err == nil {
			largest, err = r.maxIn(ctx, rm, from, limit, largest)
		}
		if err != nil {
			return 0, fmt.Errorf("find the largest timestamp of offset %d on: %w", e.Base, err)
		}
	}
	return largest, nil
}

// maxIn is the largest of atLeast and the timestamps of an object's records in [from, limit).
func (r *Reader) maxIn(ctx context.Context, rm *remote, from, limit kafka.Offset, atLeast int64) (int64, error) {
	largest := atLeast
	f := rm.footer
	read := int64(0) // what lies before was read
	for i, x := range f.Index {
		next := f.Next
		if i+1 < len(f.Index) {
			next = f.Index[i+1].Offset
		}
		_, reached := rangeEnd(f, i)
		switch {
		case x.Pos < read || next <= from || x.Offset >= limit || reached <= largest:
			continue
		case x.Offset >= from && next <= limit && reached > x.MaxTimestamp:
			largest = reached // it is this range that raised the object's maximum
			continue
		}
		// Cut, or without the object's maximum: only its batches tell. Its neighbours in the block come along.
		read = rm.blockEnd(x.Pos)
		p, release, err := r.bytesOf(ctx, rm, x.Pos, read)
		if err != nil {
			return 0, err
		}
		largest, err = maxOf(p, from, limit, largest)
		release()
		if err != nil {
			return 0, err
		}
	}
	return largest, nil
}

// rangeEnd is where index range i ends, and the largest timestamp of all data before that.
func rangeEnd(f *segment.Footer, i int) (pos, reached int64) {
	if i+1 < len(f.Index) {
		return f.Index[i+1].Pos, f.Index[i+1].MaxTimestamp
	}
	return f.DataSize, f.MaxTimestamp
}

// maxOf is the largest of atLeast and the timestamps of the records in p within [from, limit).
func maxOf(p []byte, from, limit kafka.Offset, atLeast int64) (int64, error) {
	largest := atLeast
	for len(p) > 0 {
		v, rest, err := batch.Next(p)
		if err != nil {
			return 0, err // was verified
		}
		p = rest
		switch {
		case v.NextOffset() <= from || v.BaseOffset() >= limit || v.MaxTimestamp() <= largest:
		case v.BaseOffset() >= from && v.NextOffset() <= limit:
			largest = v.MaxTimestamp()
		default:
			it := batch.RecordsWithin(v, batch.Limits{})
			for rec := range it.All {
				if rec.Offset >= from && rec.Offset < limit {
					largest = max(largest, rec.Timestamp)
				}
			}
			if err := it.Err(); err != nil {
				return 0, fmt.Errorf("records of offset %d: %w", v.BaseOffset(), err)
			}
		}
	}
	return largest, nil
}

type found struct {
	offset kafka.Offset
	at     int64
	epoch  kafka.LeaderEpoch
	ok     bool
}

// findIn looks through the object's index ranges from the first that can hold the record.
func (r *Reader) findIn(ctx context.Context, rm *remote, ts int64, from kafka.Offset) (found, error) {
	f := rm.footer
	begin := max(f.LocateTime(ts).Pos, f.Locate(from).Pos)
	for i := sort.Search(len(f.Index), func(i int) bool { return f.Index[i].Pos >= begin }); i < len(f.Index); i++ {
		end, reached := rangeEnd(f, i)
		if reached < ts {
			continue
		}
		hit, err := r.findBetween(ctx, rm, f.Index[i].Pos, end, ts, from)
		if err != nil || hit.ok {
			return hit, err
		}
	}
	return found{}, nil
}

// findBetween looks through the batches of [begin, end), two neighbours in the index.
func (r *Reader) findBetween(ctx context.Context, rm *remote, begin, end, ts int64, from kafka.Offset) (found, error) {
	p, release, err := r.bytesOf(ctx, rm, begin, end)
	if err != nil {
		return found{}, err
	}
	defer release()
	for len(p) > 0 {
		v, rest, err := batch.Next(p)
		if err != nil {
			return found{}, err // was verified
		}
		if v.MaxTimestamp() >= ts && v.NextOffset() > from {
			if hit, err := firstRecord(v, ts, from); err != nil || hit.ok {
				return hit, err
			}
		}
		p = rest
	}
	return found{}, nil
}

// firstRecord finds the batch's first record at or after ts, and at or behind from.
func firstRecord(v batch.View, ts int64, from kafka.Offset) (found, error) {
	hit := found{epoch: v.LeaderEpoch()}
	it := batch.RecordsWithin(v, batch.Limits{})
	for rec := range it.All {
		if rec.Timestamp >= ts && rec.Offset >= from {
			hit.offset, hit.at, hit.ok = rec.Offset, rec.Timestamp, true
			break
		}
	}
	if err := it.Err(); err != nil && !hit.ok {
		return found{}, fmt.Errorf("records of offset %d: %w", v.BaseOffset(), err)
	}
	return hit, nil
}

// bytesOf returns the verified batches of [from, end), which are borders in
// the index and lie in one block: from memory where a slab has it, else by one GET.
func (r *Reader) bytesOf(ctx context.Context, rm *remote, from, end int64) (p []byte, release func(), err error) {
	b := rm.blockAt(from)
	r.mu.Lock()
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		rm.broke(r, b, err)
	} else if end >= rm.blocks[b+1].pos && from <= rm.blocks[b].pos {
		r.mended(rm.key, b) // a part of a block says nothing of the rest
	}
	return p, func() {}, err
}

// blockAt is the block that holds a position of the data.
func (rm *remote) blockAt(pos int64) int {
	return sort.Search(rm.count(), func(i int) bool { return rm.blocks[i].pos > pos }) - 1
}

// blockEnd is where that block ends.
func (rm *remote) blockEnd(pos int64) int64 { return rm.blocks[rm.blockAt(pos)+1].pos }
