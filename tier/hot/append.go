package hot

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Append writes batches, contiguous from End, with one vectored write, and asks for a flush unless async. It may roll
// first. It returns when the bytes are visible to readers up to End, not durable; small ones need not be in the file yet: see Written.
//
// Either all batches are appended or none. Errors: ErrNoSpace (undone, may be tried again), ErrDamaged, ErrBroken,
// ErrFlush, ErrClosed; ErrInvalid for batches that do not continue the log.
func (l *Log) Append(batches []batch.View) error {
	if len(batches) == 0 {
		return nil
	}
	l.mu.Lock()
	err := l.appendTo(batches, true)
	async := l.cfg.Async
	l.mu.Unlock()
	if err == nil && async {
		l.onDurable(l.DurableEnd())
	}
	return err
}

// Written returns when the file system has what was appended, so that it survives the process, though not a power cut.
func (l *Log) Written() error {
	if err := l.view.Load().tail.file.upTo(noneLate); err != nil {
		return l.env.Flusher.fail(fmt.Errorf("partition %s: %w", l.partition, err))
	}
	return nil
}

// appendTo appends; ask says whether to ask for the flush, too. mu is held.
func (l *Log) appendTo(batches []batch.View, ask bool) error {
	if err := l.writable(); err != nil {
		return err
	}
	total, err := l.checkBatches(batches)
	if err != nil {
		return err
	}
	t := l.view.Load().tail
	if t.end.pos > 0 && (t.end.pos+total > l.cfg.segmentBytes() || l.aged(t, l.cfg)) {
		if t, err = l.roll(true, ask); err != nil {
			return l.failed("roll", err)
		}
		if bugRoll {
			return nil
		}
	}
	if total > l.cfg.segmentBytes() && len(batches) > 1 {
		return l.appendSpread(t, batches, ask)
	}
	kept, err := l.keep(t, batches, total)
	if err != nil {
		return l.breaks("append", err)
	}
	if !kept {
		if err := l.write(t, batches, total); err != nil {
			return l.undo(t, err)
		}
	}
	at := t.end.pos
	l.publish(t, batches)
	// Of a log in async mode nobody waits for a flush: when it comes, it is a whole one.
	staged := !l.cfg.Async && l.env.Flusher.stage(l.partition, t.seg.base, at, batches)
	l.owe(t, staged, false, ask && !l.cfg.Async)
	return nil
}

// checkBatches checks that the batches continue the log, and sums their sizes.
func (l *Log) checkBatches(batches []batch.View) (total int64, err error) {
	next, epoch := l.End(), kafka.NoEpoch
	if h := l.Epochs(); len(h) > 0 {
		epoch = h[len(h)-1].Epoch
	}
	for _, v := range batches {
		switch {
		case len(v) < batch.HeaderLen || len(v) != v.Size():
			return 0, fmt.Errorf("append: %w: a batch of %d bytes is not whole", ErrInvalid, len(v))
		case v.BaseOffset() != next || v.LastOffsetDelta() < 0:
			return 0, fmt.Errorf("append: %w: batch at %d where the log continues with %d", ErrInvalid, v.BaseOffset(), next)
		case v.LeaderEpoch() < epoch:
			return 0, fmt.Errorf("append: %w: leader epoch %d after %d", ErrInvalid, v.LeaderEpoch(), epoch)
		}
		next, epoch = v.NextOffset(), v.LeaderEpoch()
		total += int64(len(v))
	}
	return total, nil
}

// keep has small batches written later: see late.go. An error is that of writing what was late before. Nothing is published.
func (l *Log) keep(t *tail, batches []batch.View, total int64) (bool, error) {
	if l.cfg.Async || total > lateAppend || t.file.late == nil {
		return false, nil
	}
	if !l.reserve(t, t.end.pos+total, true) {
		return false, nil
	}
	return t.file.keep(batches, total, t.end.pos)
}

// write puts the batches, total bytes, behind the tail's end. Nothing is published.
func (l *Log) write(t *tail, batches []batch.View, total int64) error {
	if err := t.file.upTo(noneLate); err != nil {
		return err
	}
	l.reserve(t, t.end.pos+total, false)
	l.bufs = l.bufs[:0]
	for _, v := range batches {
		l.bufs = append(l.bufs, v)
	}
	err := t.file.WriteVAt(l.bufs, t.end.pos)
	clear(l.bufs)
	return err
}

// reserve asks for room ahead of a segment that grows, in steps of a quarter of its size: what many logs write in turns would
// otherwise lie scattered on the disk, and a flush would take many small writes. What is not used is given back when
// the segment ends. A segment that is still small gets room for what is late only, little by little. It tells whether there is room up to
// end, where the platform can say so.
func (l *Log) reserve(t *tail, end int64, late bool) bool {
	if end <= t.reserved {
		return true
	}
	step := min(max(end/4, reserveLeast), reserveMost)
	if t.end.pos < reserveLeast {
		if !late {
			return false
		}
		step = lateBytes
	}
	to := min(end+step, max(end, l.cfg.segmentBytes()))
	if err := t.file.Allocate(to); err != nil {
		l.env.Log.Debug("no room reserved for a segment", "partition", l.partition.String(), "error", err)
		return false
	}
	t.reserved = to
	return true
}

const reserveLeast, reserveMost = 1 << 20, 16 << 20

// release gives back what was reserved and not used.
func (l *Log) release(t *tail) {
	if t.reserved <= t.end.pos && t.floor.pos == 0 { // of a log reopened, the reservation is not known
		return
	}
	if err := t.file.Truncate(t.end.pos); err != nil {
		l.env.Log.Warn("segment keeps its reserved space", "partition", l.partition.String(), "error", err)
	}
}

// publish shows written batches to readers, the end last.
func (l *Log) publish(t *tail, batches []batch.View) {
	if t.known.created == 0 {
		t.known.created = l.now()
		t.created.Store(t.known.created)
	}
	history := l.Epochs()
	grown := history
	for _, v := range batches {
		grown = withEpoch(grown, v.LeaderEpoch(), v.BaseOffset())
		t.add(v)
	}
	if len(grown) != len(history) {
		l.setEpochs(grown)
	}
	l.end.Store(int64(t.end.offset))
	if l.cfg.Async {
		l.durable.Store(int64(t.end.offset))
	}
}

// undo takes a failed write back.
func (l *Log) undo(t *tail, err error) error {
	if cutErr := t.file.Truncate(t.end.pos); cutErr != nil {
		return l.breaks("append", errors.Join(err, cutErr))
	}
	return l.failed("append", err)
}

// failed turns a write error, after which the log is as it was, into a decision.
func (l *Log) failed(what string, err error) error {
	if isNoRoom(err) {
		return fmt.Errorf("%s: %w: %w", what, ErrNoSpace, err)
	}
	return l.breaks(what, err)
}

// isNoRoom tells errors that may be gone the next time.
func isNoRoom(err error) bool {
	for _, short := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

// breaks ends what the log takes, and the process: a volume that refuses writes for another reason than want of room has failed as one that
// refuses a flush has, and whoever holds the other replicas is to lead.
func (l *Log) breaks(what string, err error) error {
	l.broken = fmt.Errorf("%s: partition %s: %w: %w", what, l.partition, ErrBroken, err)
	_ = l.env.Flusher.fail(l.broken) // it tells
	return l.broken
}

// appendSpread appends more than one segment holds: as many batches to each as fit, at least one. Everything is written
// before anything is shown, so that a failure leaves no trace.
func (l *Log) appendSpread(first *tail, batches []batch.View, ask bool) (err error) {
	tails := []*tail{first}
	var groups [][]batch.View
	defer func() {
		if err != nil {
			for _, t := range tails[1:] {
				l.discard(t)
			}
		}
	}()
	for len(batches) > 0 {
		n, size := 1, int64(len(batches[0]))
		for n < len(batches) && size+int64(len(batches[n])) <= l.cfg.segmentBytes() {
			size += int64(len(batches[n]))
			n++
		}
		if len(groups) == len(tails) {
			t, err := l.createTail(batches[0].BaseOffset())
			if err != nil {
				return l.undo(first, err)
			}
			tails = append(tails, t)
		}
		if err := l.write(tails[len(groups)], batches[:n], size); err != nil {
			return l.undo(first, err)
		}
		groups = append(groups, batches[:n])
		batches = batches[n:]
	}
	for i, group := range groups {
		if i > 0 {
			l.switchTo(tails[i], false)
		}
		l.publish(tails[i], group)
		l.owe(tails[i], false, i > 0, false)
	}
	if ask && !l.cfg.Async {
		l.flushLazily()
	}
	return nil
}

// Roll closes the active segment if it holds anything.
func (l *Log) Roll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.view.Load().tail.end.pos == 0 {
		return nil
	}
	if _, err := l.roll(true, true); err != nil {
		return l.failed("roll", err)
	}
	return nil
}

// Tick rolls by age. Called every second or so.
func (l *Log) Tick() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.view.Load().tail
	if t.end.pos == 0 || l.writable() != nil || !l.aged(t, l.cfg) {
		return nil
	}
	if _, err := l.roll(true, true); err != nil {
		return l.failed("roll", err)
	}
	return nil
}

// roll begins a new active segment at the end; ask as in appendTo. mu is held.
func (l *Log) roll(snapshot, ask bool) (*tail, error) {
	if err := l.view.Load().tail.file.upTo(noneLate); err != nil {
		return nil, err
	}
	t, err := l.createTail(l.End())
	if err != nil {
		return nil, err
	}
	l.switchTo(t, snapshot)
	l.owe(t, true, true, ask && !l.cfg.Async)
	return t, nil
}

// switchTo seals the active segment and makes t the active one. It waits for no disk: what it writes (the
// state file) is flushed with the round that the caller asks for. mu is held.
func (l *Log) switchTo(t *tail, snapshot bool) {
	v := l.view.Load()
	old := v.tail
	l.release(old)
	state := &stateFile{base: t.seg.base, epochs: l.Epochs(), prev: &prevSegment{old.seg.base, old.end.pos, old.known}}
	if snapshot && l.state != nil {
		state.blob = l.state.Snapshot()
	}
	if err := writeState(l.env.FS, l.dir, state); err != nil {
		l.env.Log.Warn("state of a new segment not written", "partition", l.partition.String(), "error", err)
	}
	// Only now: what is sealed is taken to the bucket, with the state as of its end.
	old.seg.seal(old.end, old.known)
	l.indexSealed(old)
	l.view.Store(&view{segments: append(v.segments[:len(v.segments):len(v.segments)], t.seg), tail: t})
	old.file.Release()
}

// indexSealed hands the entries of a tail that ends to the index; if it knows only a part, the whole is scanned when it is asked for.
func (l *Log) indexSealed(t *tail) {
	if t.floor.pos > 0 {
		l.dropIndex(t.seg)
		return
	}
	l.env.Flusher.cache.keep(t.seg, t.entries)
	l.putIndex(t.seg, t.entries)
}

func (l *Log) putIndex(s *localSegment, entries []segment.IndexEntry) {
	if l.env.Index != nil {
		l.env.Index.Put(l.partition, s.base, append([]segment.IndexEntry(nil), entries...)) // Put keeps the slice
	}
}

func (l *Log) dropIndex(s *localSegment) {
	l.env.Flusher.cache.forget(s)
	if l.env.Index != nil {
		l.env.Index.Drop(l.partition, s.base)
	}
}
