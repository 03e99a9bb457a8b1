package hot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ReleaseBefore deletes whole sealed segments below next and returns the bytes freed. The active segment stays. The new
// Start is durable before the first file goes, so that no crash can leave a hole.
func (l *Log) ReleaseBefore(next kafka.Offset) (freed int64, err error) {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return 0, ErrClosed
	}
	v := l.view.Load()
	n := 0
	for n < len(v.segments)-1 && kafka.Offset(v.segments[n].next.Load()) <= next {
		n++
	}
	if n == 0 {
		return 0, nil
	}
	start := v.segments[n].base
	if err := l.moveStart(start); err != nil {
		return 0, fmt.Errorf("release before %d: %w", start, err)
	}
	l.view.Store(&view{segments: v.segments[n:], tail: v.tail})
	l.startAt(start)
	if d := l.damage.Load(); d != nil && d.Segment < start {
		l.mended(v.segments[n:])
	}
	for _, s := range v.segments[:n] {
		freed += s.size.Load()
		l.dropIndex(s)
		err = errors.Join(err, l.removeFile(s.base, logSuffix), l.removeFile(s.base, stateSuffix))
		if s.bad.Load() {
			err = errors.Join(err, l.removeFile(s.base, damagedSuffix))
		}
	}
	if err != nil {
		return freed, fmt.Errorf("release before %d: %w", start, err) // Open will remove them
	}
	return freed, nil
}

// moveStart records, durably, that the log starts at start, which every later point repeats: the caller makes it so. The
// recovery point, if it was below, is start then: released before it was flushed, or flushed up to the end of the segment that goes.
func (l *Log) moveStart(start kafka.Offset) error {
	p := &l.pending
	p.mu.Lock()
	p.start = start
	if p.flushed.offset < start || p.flushed.base < start {
		p.flushed = target{point: point{start, start, 0}, facts: noFacts, generation: p.generation}
		l.flushed.Store(max(l.flushed.Load(), int64(start)))
	}
	rec := l.pointOf(p.flushed)
	p.mu.Unlock()
	if err := l.env.Flusher.recovery.put(rec); err != nil {
		l.startAt(l.Start())
		return err
	}
	return l.env.Flusher.barrier(l.owedFiles(l.view.Load().tail), []string{l.dir})
}

func (l *Log) removeFile(base kafka.Offset, suffix string) error {
	err := l.env.FS.Remove(l.path(base, suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Truncate cuts the log so that End is at, a batch border in [Start, End] (KIP-101: a follower drops what its leader does not have).
// When it returns, the log is durable up to at. On error after the first step the log takes no appends until it is opened again.
func (l *Log) Truncate(at kafka.Offset) error {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if at >= l.End() {
		return nil
	}
	if at < l.Start() {
		return fmt.Errorf("truncate to %d: %w", at, ErrOutOfRange)
	}
	v := l.view.Load()
	s := v.at(at)
	where, err := l.borderAt(v, s, at)
	if err != nil {
		return fmt.Errorf("truncate to %d: %w", at, err)
	}
	if err := l.truncate(v, s, where); err != nil {
		return l.breaks(fmt.Sprint("truncate to ", at), err)
	}
	return nil
}

// BorderBelow is where the batch that holds an offset begins; the offset itself where a batch begins, or at the end.
func (l *Log) BorderBelow(at kafka.Offset) (border kafka.Offset, err error) {
	if at >= l.End() {
		return l.End(), nil
	}
	err = l.reading(func(v *view) error {
		if at < v.segments[0].base {
			return ErrOutOfRange
		}
		s := v.at(at)
		h, err := s.acquire(&l.env)
		if err != nil {
			return blame(s, err)
		}
		defer h.Release()
		where, err := l.locate(v, s, h, at)
		border = where.offset
		return blame(s, err)
	})
	return border, err
}

// borderAt finds the position of a border.
func (l *Log) borderAt(v *view, s *localSegment, at kafka.Offset) (border, error) {
	h, err := s.acquire(&l.env)
	if err != nil {
		return border{}, l.found(blame(s, err))
	}
	defer h.Release()
	where, err := l.locate(v, s, h, at)
	if err != nil {
		return border{}, l.found(blame(s, err))
	}
	if where.offset != at {
		return border{}, fmt.Errorf("%w: the batch begins at %d", ErrInvalid, where.offset)
	}
	return where, nil
}

// truncate makes where, in s, the end. The order matters: first the promise is taken back durably, then
// the files are cut, and only when that is durable the log goes on.
func (l *Log) truncate(v *view, s *localSegment, where border) error {
	if err := l.uncleanFrom(where.offset); err != nil {
		return err
	}
	to := target{point: point{where.offset, s.base, where.pos}, facts: l.factsUpTo(v, s, where)}
	l.retreat(where.offset, to)
	l.pending.mu.Lock()
	rec := l.pointOf(l.pending.flushed)
	l.pending.mu.Unlock()
	if err := l.env.Flusher.recovery.put(rec); err != nil {
		return err
	}
	if err := l.env.Flusher.barrier(l.owedFiles(v.tail), []string{l.dir}); err != nil {
		return err
	}
	i := v.index(s.base)
	h, err := l.reopen(v, s)
	if err != nil {
		return err
	}
	l.dropIndex(s)
	for j := range s.hints {
		s.hints[j].Store(nil)
	}
	s.sealed.Store(false)
	s.facts.Store(nil)
	t := newTail(s, h, where, to.facts)
	l.setEpochs(epochsBefore(l.Epochs(), where.offset))
	l.end.Store(int64(where.offset))
	l.view.Store(&view{segments: v.segments[: i+1 : i+1], tail: t})
	if v.tail.seg != s {
		v.tail.file.Release()
	}
	if err := h.Truncate(where.pos); err != nil {
		return err
	}
	for j := len(v.segments) - 1; j > i; j-- {
		gone := v.segments[j]
		l.dropIndex(gone)
		if err := errors.Join(l.removeFile(gone.base, stateSuffix), l.removeFile(gone.base, logSuffix)); err != nil {
			return err
		}
	}
	if err := l.env.Flusher.barrier(append(l.owedFiles(t), h), []string{l.dir}); err != nil {
		return err
	}
	l.settleAll(to)
	return nil
}

// reopen opens s for writing, if it is not the active segment already. The handle's reference is the new tail's.
func (l *Log) reopen(v *view, s *localSegment) (*handle, error) {
	if s == v.tail.seg {
		return v.tail.file, nil
	}
	f, err := l.env.FS.OpenRW(s.path)
	if err != nil {
		return nil, err
	}
	h := l.newTailFile(f)
	s.mu.Lock()
	s.file.Store(h)
	s.mu.Unlock()
	return h, nil
}

// factsUpTo are facts of a segment that is about to be cut at where. They are upper bounds only where a walk would be needed
// to know better: a timestamp too large keeps data longer and makes a lookup walk further, never miss.
func (l *Log) factsUpTo(v *view, s *localSegment, where border) facts {
	if where.pos == 0 {
		return noFacts
	}
	h, err := s.acquire(&l.env)
	if err == nil {
		defer h.Release()
		var x indexer
		if x, err = indexOf(h, s.base, where); err == nil {
			x.facts.created = l.now()
			if known, factsErr := l.factsOf(v, s); factsErr == nil && known.created != 0 {
				x.facts.created = known.created
			}
			return x.facts
		}
	}
	known, err := l.factsOf(v, s)
	if err != nil {
		return facts{created: l.now(), maxTimestamp: unreadable.maxTimestamp, maxAt: s.base}
	}
	return known
}

// Reset drops everything local and begins anew at start, with the given history (after damage, or when the bucket is
// ahead). It is durable when it returns, and ends any damage.
func (l *Log) Reset(start kafka.Offset, epochs []segment.EpochStart) error {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	if err := l.env.Flusher.err(); err != nil {
		return err
	}
	v := l.view.Load()
	epochs = epochsBefore(epochs, start)
	rec := recoveryPoint{partition: l.partition, resetting: true, start: start, point: point{start, start, 0}, facts: noFacts, epochs: epochs}
	l.retreat(min(start, l.Start()), target{point: rec.point, facts: noFacts})
	err := errors.Join(l.uncleanFrom(0), l.env.Flusher.recovery.put(rec))
	if err == nil {
		err = l.env.Flusher.barrier(nil, []string{l.dir})
	}
	for i := len(v.segments) - 1; i >= 0 && err == nil; i-- {
		base := v.segments[i].base
		l.dropIndex(v.segments[i])
		err = errors.Join(l.removeFile(base, logSuffix), l.removeFile(base, stateSuffix))
	}
	if err == nil {
		err = l.restart(v, start, epochs)
	}
	if err != nil {
		return l.breaks(fmt.Sprint("reset to ", start), err)
	}
	return nil
}

// restart begins the log anew after its files have gone, durably.
func (l *Log) restart(v *view, start kafka.Offset, epochs []segment.EpochStart) error {
	barrier := func() error { return l.env.Flusher.barrier(nil, []string{l.dir}) }
	if err := barrier(); err != nil { // the old files must not come back beside a point that trusts the new
		return err
	}
	harmed := l.damage.Swap(nil)
	if err := l.begin(start, epochs); err != nil {
		l.damage.Store(harmed)
		return err
	}
	v.tail.file.Release()
	l.broken = nil
	return barrier()
}

// Quarantine moves the segment, and all older ones, aside into <dir>/quarantine: a log has no holes, and what is moved
// can be looked at by a person. The log then starts behind it and takes appends again. It returns the range that is gone from
// the local disk, which the caller serves from elsewhere, or has lost. If base is the newest segment (or
// is missing behind the newest), the log is empty then, at End, so that no offset is ever given twice; Reset may follow.
func (l *Log) Quarantine(base kafka.Offset) (from, to kafka.Offset, err error) {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return 0, 0, ErrClosed
	}
	v := l.view.Load()
	n := 0
	for n < len(v.segments) && v.segments[n].base <= base {
		n++
	}
	from, to = l.Start(), l.End()
	if n < len(v.segments) {
		to = v.segments[n].base
	}
	if err := l.quarantine(v, n, to); err != nil {
		return from, to, fmt.Errorf("quarantine segments before %d: %w", to, err)
	}
	l.env.Log.Warn("damaged segments were set aside", "partition", l.partition.String(), "from", int64(from), "to", int64(to))
	return from, to, nil
}

// quarantine sets v.segments[:n] aside; the log starts at start then.
func (l *Log) quarantine(v *view, n int, start kafka.Offset) error {
	aside := filepath.Join(l.dir, quarantineDir)
	if err := errors.Join(l.env.FS.MkdirAll(aside), l.env.Flusher.voidJournal()); err != nil {
		return err
	}
	for _, s := range v.segments[:n] {
		l.dropIndex(s)
		for _, suffix := range []string{logSuffix, stateSuffix, damagedSuffix} {
			err := l.env.FS.Rename(s.path[:len(s.path)-len(logSuffix)]+suffix, filepath.Join(aside, fileName(s.base, suffix)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := l.env.Flusher.barrier(nil, []string{aside, l.dir}); err != nil {
		return err
	}
	if n == len(v.segments) {
		return l.restart(v, start, l.Epochs())
	}
	if err := l.moveStart(start); err != nil {
		return err
	}
	l.view.Store(&view{segments: v.segments[n:], tail: v.tail})
	l.startAt(start)
	l.mended(v.segments[n:])
	return nil
}

// mended forgets the damage that has gone, but for what is known of the segments that are left.
func (l *Log) mended(left []*localSegment) {
	l.damage.Store(nil)
	for _, s := range left {
		if s.bad.Load() {
			_ = l.damaged(s, errCondemned)
		}
	}
}

// Close flushes what was written and marks the log clean, so that opening it scans nothing. It does not call onDurable.
// Runs handed out stay readable.
func (l *Log) Close() error {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	t := l.view.Load().tail
	err := l.env.Flusher.err()
	if err == nil { // a file that is opened again has all of it
		err = t.file.upTo(noneLate)
	}
	if err == nil && (l.flushed.Load() < l.end.Load() || l.owesNames()) {
		err = l.env.Flusher.barrier(l.owedFiles(t), []string{l.dir})
	}
	l.detach()
	if err == nil && l.damage.Load() == nil && l.broken == nil {
		rec := l.pointOf(target{point: point{t.end.offset, t.seg.base, t.end.pos}, facts: t.known}) // detached: nobody else looks
		rec.clean = true
		err = l.env.Flusher.recovery.put(rec)
		if t.floor.pos == 0 && t.end.pos > 0 {
			l.putIndex(t.seg, t.entries)
		}
		if t.reserved > t.end.pos {
			l.release(t)
		}
	}
	t.file.Release()
	if err != nil {
		return fmt.Errorf("close log %s: %w", l.dir, err)
	}
	return nil
}

func (l *Log) owesNames() bool {
	l.pending.mu.Lock()
	defer l.pending.mu.Unlock()
	return l.pending.names
}

// Delete closes the log and removes its directory: renamed first, so that a crash leaves nothing half. What it leaves
// behind after a crash, RemoveDeleted removes.
func (l *Log) Delete() error {
	l.shape.Lock()
	defer l.shape.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.Swap(true) {
		l.detach()
		file := l.view.Load().tail.file
		file.drop()
		file.Release()
	}
	if err := l.delete(); err != nil {
		return fmt.Errorf("delete log %s: %w", l.dir, err)
	}
	return nil
}

func (l *Log) delete() error {
	if l.env.Index != nil {
		l.env.Index.DropPartition(l.partition)
	}
	for _, s := range l.view.Load().segments {
		l.env.Flusher.cache.forget(s)
	}
	if err := l.env.Flusher.recovery.put(recoveryPoint{partition: l.partition, gone: true, facts: noFacts}); err != nil {
		return err
	}
	// First the point, then the directory: a point without a directory would look like damage to a later log of the same partition.
	if err := l.env.Flusher.barrier(nil, []string{l.dir}); err != nil {
		return err
	}
	gone := filepath.Clean(l.dir) + deletedSuffix
	if err := l.env.FS.RemoveAll(gone); err != nil {
		return err
	}
	if err := l.env.FS.Rename(l.dir, gone); err != nil {
		return err
	}
	if err := l.env.Flusher.barrier(nil, []string{filepath.Dir(gone)}); err != nil {
		return err
	}
	return l.env.FS.RemoveAll(gone)
}
