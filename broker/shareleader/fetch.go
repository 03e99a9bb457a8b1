package shareleader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Request is a ShareFetch, as far as it fetches.
type Request struct {
	share.Request
	Group      string
	Partitions []kafka.Partition // in the order in which they are looked at
	MaxBytes   int               // one batch may exceed it; 0 gives nothing, as Kafka
	Wait       time.Duration
	// Hurry is closed when the answer is to go out with what there is. May be nil.
	Hurry <-chan struct{}
}

// Result is what a partition gives.
type Result struct {
	Err      error
	Records  []byte // whole batches; what of them is not Acquired is nothing for the member
	Acquired []share.Acquired
}

// fetch is a request that is carried out.
type fetch struct {
	l    *Leader
	r    Request
	s    Settings
	wake chan struct{} // one place
	// enlisted are the shares at which it waits, or did until it was woken.
	enlisted map[*entry]struct{}
	records  int // acquired
	bytes    int
}

func (f *fetch) signal() { signal(f.wake) }

// Fetch acquires records and returns results by partition, those without anything left out. It waits until there is something, or the time is up, or
// ctx ends.
func (l *Leader) Fetch(ctx context.Context, r Request) map[kafka.Partition]Result {
	f := &fetch{l: l, r: r, s: l.cfg.Settings(l.quorum.Image(), r.Group), wake: make(chan struct{}, 1), enlisted: map[*entry]struct{}{}}
	defer f.end()
	results := map[kafka.Partition]Result{}
	timer := time.NewTimer(r.Wait)
	defer timer.Stop()
	for last := r.Wait <= 0; ; {
		for _, at := range r.Partitions {
			if f.records >= r.Records || f.bytes >= r.MaxBytes {
				break
			}
			if got := f.take(ctx, at); got.Err != nil || len(got.Acquired) > 0 {
				results[at] = got
			}
		}
		if last || len(results) > 0 || len(r.Partitions) == 0 || ctx.Err() != nil {
			return results
		}
		select {
		case <-f.wake:
		case <-timer.C:
			last = true
		case <-r.Hurry:
			last = true
		case <-ctx.Done():
			return results
		}
	}
}

// end leaves the lists, and passes on what it was woken for and did not look at.
func (f *fetch) end() {
	for e := range f.enlisted {
		if !e.leave(f) {
			e.wakeOne()
		}
	}
	f.l.mu.Lock()
	delete(f.l.pending, f)
	f.l.mu.Unlock()
}

// take acquires what a partition has for the member.
func (f *fetch) take(ctx context.Context, at kafka.Partition) (res Result) {
	if err := f.l.leased(); err != nil {
		return Result{Err: err}
	}
	for tries := 0; ; tries++ {
		e, err := f.l.find(key{f.r.Group, at})
		if errors.Is(err, errUnknownGroup) {
			// A broker hears of a group a moment after its coordinator has answered. One that is not there has nothing, as long as it is asked for.
			f.l.mu.Lock()
			f.l.pending[f] = struct{}{}
			f.l.mu.Unlock()
			if e, err = f.l.find(key{f.r.Group, at}); errors.Is(err, errUnknownGroup) {
				return res
			}
		}
		if err != nil {
			return Result{Err: err}
		}
		res, again := f.from(ctx, e)
		if !again || tries > 3 {
			return res
		}
	}
}

// from acquires what a share has; again: it was dropped meanwhile.
func (f *fetch) from(ctx context.Context, e *entry) (res Result, again bool) {
	e.enlist(f) // before the look: what comes after it is news
	f.enlisted[e] = struct{}{}
	var from kafka.Offset
	look, begins := false, false
	gone := e.with(func(now time.Time, out *share.PartitionEffects) {
		e.used, e.limits = now, f.s.Limits
		switch {
		case e.busy:
		case e.p == nil:
			e.busy, begins = true, true
		default:
			e.p.Trim(e.log.LogStart(), out)
			from, look = e.p.Wanted(f.s.Limits)
			look = look && from < e.readable(f.s.Committed)
			e.busy = look
		}
	})
	switch {
	case gone != nil:
		return Result{Err: gone}, true
	case begins:
		if res.Err = e.begin(ctx, f.s); res.Err != nil {
			f.pass(e)
		}
		return res, false
	case !look:
		return res, false
	}
	res = f.read(e, from)
	if res.Err == nil && len(res.Acquired) == 0 {
		return res, false
	}
	f.pass(e)
	return res, false
}

// pass leaves a share's list and wakes the next: there may be more than f took, and what failed for f may not for others.
func (f *fetch) pass(e *entry) {
	delete(f.enlisted, e)
	e.leave(f)
	e.wakeOne()
}

const (
	// leastRead and mostRead bound one look into the log, in bytes: a batch that is larger is read whole.
	leastRead = 64 << 10
	mostRead  = 1 << 20
)

// room is how much is read for a fetch: what it takes, as far as that can be known.
func (f *fetch) room(e *entry) int {
	e.mu.Lock()
	size := e.size
	e.mu.Unlock()
	n := mostRead
	if size > 0 {
		n = min(n, max(leastRead, 2*size*(f.r.Records-f.records)))
	}
	return min(n, max(f.r.MaxBytes-f.bytes, 1))
}

// read looks into the log and locks what it finds. It ends that somebody looks.
func (f *fetch) read(e *entry, from kafka.Offset) (res Result) {
	found, err := e.log.Read(partition.ReadRequest{
		From: from, CurrentEpoch: e.epoch, LastFetchedEpoch: kafka.NoEpoch, MaxBytes: f.room(e), Committed: f.s.Committed, Stream: e, Ready: e.wakeOne,
	})
	var data []byte
	if err == nil {
		data, err = content(found.Run)
	}
	found.Run.Release()
	var views []batch.View
	if err == nil {
		views, err = whole(data)
	}
	if errors.Is(err, partition.ErrFencedEpoch) || errors.Is(err, partition.ErrUnknownEpoch) {
		err = fmt.Errorf("%w: %w", partition.ErrNotLeader, err)
	}
	trimmed := errors.Is(err, partition.ErrOutOfRange) && from < e.log.LogStart()
	gone := e.with(func(now time.Time, out *share.PartitionEffects) {
		e.busy = false
		switch {
		case trimmed:
			e.p.Trim(e.log.LogStart(), out)
		case err == nil && len(views) > 0:
			res.Acquired = e.p.Acquire(now, f.batches(from, views, found.Aborted), f.r.left(f.records), f.s.Limits, out)
			e.size = max(len(data)/int(views[len(views)-1].NextOffset()-views[0].BaseOffset()), 1)
		}
	})
	switch {
	case gone != nil:
		return Result{Err: gone}
	case trimmed:
		f.signal() // look again, from where the log begins
		return Result{}
	case err != nil:
		return Result{Err: err}
	case len(views) > 0 && len(res.Acquired) == 0:
		f.signal() // what was found was nothing for consumers: what lies behind it may be
		return Result{}
	}
	if err := f.l.leased(); err != nil { // when they were locked, it may not have been any more; nobody has them until their locks end
		return Result{Err: err}
	}
	res.Records = covering(data, views, res.Acquired)
	f.bytes += len(res.Records)
	for _, a := range res.Acquired {
		f.records += int(a.Next - a.First)
	}
	return res
}

// left is the request for what it has not got yet.
func (r *Request) left(got int) share.Request {
	s := r.Request
	s.Records -= got
	return s
}

// content are a run's bytes. Those of a file are copied.
func content(r batch.Run) ([]byte, error) {
	if r.File == nil {
		return append([]byte(nil), r.Bytes...), nil // they are not kept when the run is released
	}
	data := make([]byte, r.N)
	if n, err := r.File.ReadAt(data, r.Pos); err != nil && (n < len(data) || !errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("%w: %w", partition.ErrStorage, err)
	}
	return data, nil
}

// whole takes data apart; a last batch that was cut short is left out.
func whole(data []byte) (views []batch.View, err error) {
	for len(data) >= batch.HeaderLen {
		if v := batch.View(data); v.Size() > len(data) {
			break
		}
		v, rest, err := batch.Next(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", partition.ErrStorage, err)
		}
		views, data = append(views, v), rest
	}
	return views, nil
}

// batches tells the share what was found from an offset on. Offsets that the log does not have are nothing for consumers.
func (f *fetch) batches(from kafka.Offset, views []batch.View, aborted []partition.AbortedTxn) []share.Batch {
	out := make([]share.Batch, 0, len(views))
	for _, v := range views {
		if from < v.BaseOffset() {
			out = append(out, share.Batch{Base: from, Next: v.BaseOffset(), Nothing: true})
		}
		from = v.NextOffset()
		nothing := v.Attributes().Control() || v.RecordCount() == 0 || f.s.Committed && isAborted(v, aborted)
		out = append(out, share.Batch{Base: v.BaseOffset(), Next: from, Nothing: nothing})
	}
	return out
}

func isAborted(v batch.View, aborted []partition.AbortedTxn) bool {
	if !v.Attributes().Transactional() {
		return false
	}
	for _, a := range aborted {
		if a.Producer == v.ProducerID() && a.First <= v.BaseOffset() && v.BaseOffset() <= a.Last {
			return true
		}
	}
	return false
}

// covering are the batches that hold what was acquired, one behind the other.
func covering(data []byte, views []batch.View, got []share.Acquired) []byte {
	kept, at := data[:0], 0 // in place: what is kept never overtakes what is read
	for _, v := range views {
		n := v.Size()
		for len(got) > 0 && got[0].Next <= v.BaseOffset() {
			got = got[1:]
		}
		if len(got) > 0 && got[0].First < v.NextOffset() {
			kept = append(kept, data[at:at+n]...)
		}
		at += n
	}
	return kept
}
