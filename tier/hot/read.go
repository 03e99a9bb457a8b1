package hot

import (
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"syscall"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Read returns a run that begins with the batch holding from and ends before limit (an offset on a batch border, End at
// most) and, if it can, within max bytes; the first batch is always whole. from == limit gives an empty Run. Lock-free.
//
// Near the end of the log nothing is read and nothing allocated: the borders are in memory. Otherwise the run
// ends on a batch border where that is cheaply known, else in the middle of a (small) batch.
//
// Errors: ErrOutOfRange, ErrDamaged, ErrUnreadable, ErrClosed, or the disk's. A run that was handed out before a Truncate may, while it is
// sent, come to lie on bytes that are no longer part of the log; only what is above the high watermark is ever truncated.
func (l *Log) Read(from, limit kafka.Offset, max int) (run batch.Run, err error) {
	err = l.reading(func(v *view) error {
		run, err = l.readRun(v, from, limit, max)
		return err
	})
	return run, err
}

// reading calls read with the current view, again when the log changed its shape under a read that failed, and turns bad bytes into damage.
func (l *Log) reading(read func(v *view) error) error {
	for {
		if l.closed.Load() {
			return ErrClosed
		}
		v := l.view.Load()
		err := read(v)
		if err == nil || errors.Is(err, ErrOutOfRange) || l.view.Load() != v {
			if err == nil || errors.Is(err, ErrOutOfRange) {
				return err
			}
			continue // a segment was released, cut or closed meanwhile
		}
		var bad *badSegment
		if errors.As(err, &bad) {
			if l.closed.Load() {
				return ErrClosed
			}
			return l.damaged(bad.segment, bad.err)
		}
		return err
	}
}

// badSegment says that a segment's bytes are not what they must be.
type badSegment struct {
	segment *localSegment
	err     error
}

func (e *badSegment) Error() string { return fmt.Sprintf("segment %d: %v", e.segment.base, e.err) }
func (e *badSegment) Unwrap() error { return e.err }

// blame attributes what may be damage to a segment; the disk's own errors stay what they are.
func blame(s *localSegment, err error) error {
	if errors.Is(err, errBadBatch) || errors.Is(err, batch.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		return &badSegment{s, err}
	}
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: segment %d: %w", ErrUnreadable, s.base, err)
	}
	if err != nil {
		return fmt.Errorf("read segment %d: %w", s.base, err)
	}
	return nil
}

func (l *Log) readRun(v *view, from, limit kafka.Offset, max int) (batch.Run, error) {
	end := l.End()
	if from < v.segments[0].base || from > end {
		return batch.Run{}, ErrOutOfRange
	}
	limit = min(limit, end)
	if from >= limit {
		return batch.Run{}, nil
	}
	s := v.at(from)
	if s != v.tail.seg && l.env.Suspect != nil && s.repeats.read(from) {
		l.env.Suspect(l.partition, s.base)
	}
	h, err := s.acquire(&l.env)
	if err != nil {
		return batch.Run{}, blame(s, err)
	}
	begin, err := l.locate(v, s, h, from)
	if err == nil {
		var stop int64
		stop, err = l.stopAt(v, s, h, begin, limit, int64(max))
		if err == nil && stop <= begin.pos {
			err = fmt.Errorf("%w: none holds offset %d", errBadBatch, from)
		}
		if err == nil {
			err = h.upTo(stop)
		}
		if err == nil {
			return batch.Run{File: h, Pos: begin.pos, N: int(stop - begin.pos), Hold: h}, nil
		}
	}
	h.Release()
	return batch.Run{}, blame(s, err)
}

// locate finds where the batch that holds offset begins, in s, which is open as h; for the segment's end, where that is.
func (l *Log) locate(v *view, s *localSegment, h *handle, offset kafka.Offset) (border, error) {
	if s == v.tail.seg {
		if b, ok := v.tail.recent(offset); ok {
			return b, nil
		}
	} else if end := (border{kafka.Offset(s.next.Load()), s.size.Load()}); offset == end.offset {
		return end, nil
	}
	if b, ok := s.hinted(offset); ok {
		return b, nil
	}
	e, err := l.entryBelow(v, s, h, offset)
	if err != nil {
		return border{}, err
	}
	b, err := walkTo(h, e, s.size.Load(), offset)
	if !errors.Is(err, errNoEntry) {
		return b, err
	}
	// The index knows the segment in part only, from before the log was last opened.
	entries, err := l.scanEntries(v, s, h)
	if err != nil {
		return border{}, err
	}
	return walkTo(h, borderOf(entryFloor(entries, offset)), s.size.Load(), offset)
}

func borderOf(e segment.IndexEntry) border { return border{e.Offset, e.Pos} }

// walkTo walks from an index entry to the batch that holds offset. errNoEntry says that there must have been a nearer entry.
func walkTo(h *handle, from border, end int64, offset kafka.Offset) (border, error) {
	if from.offset == offset {
		return from, nil
	}
	buf := lookupBuffers.Get().(*buffer)
	defer lookupBuffers.Put(buf)
	return walk(h, from, end, buf, func(v batch.View, at border) (bool, error) {
		if v.NextOffset() > offset {
			return false, nil
		}
		if at.pos-from.pos >= 2*segment.IndexInterval {
			return false, errNoEntry
		}
		return true, nil
	})
}

// entryBelow finds the nearest known border at or below offset: in the tail's index, among recently sealed
// segments' entries, in index.Index if the batch there agrees, or by a scan.
func (l *Log) entryBelow(v *view, s *localSegment, h *handle, offset kafka.Offset) (border, error) {
	if s == v.tail.seg {
		if entries := v.tail.shown(); len(entries) > 0 && entries[0].Offset <= offset {
			return borderOf(entryFloor(entries, offset)), nil
		}
	}
	if p := s.entries.Load(); p != nil {
		return borderOf(entryFloor(*p, offset)), nil
	}
	if l.env.Index != nil {
		if e, ok := l.env.Index.Lookup(l.partition, s.base, offset); ok {
			if agrees(h, e, s.size.Load()) && e.Offset <= offset {
				return borderOf(e), nil
			}
			l.env.Log.Warn("index disagrees with a segment: rebuilt", "partition", l.partition.String(), "segment", int64(s.base))
			l.env.Index.Drop(l.partition, s.base)
		}
	}
	entries, err := l.scanEntries(v, s, h)
	if err != nil {
		return border{}, err
	}
	return borderOf(entryFloor(entries, offset)), nil
}

// agrees tells whether the batch at an index entry is the one that it promises.
func agrees(h *handle, e segment.IndexEntry, size int64) bool {
	var header [batch.HeaderLen]byte
	if e.Pos < 0 || size-e.Pos < batch.HeaderLen || readFull(h, header[:], e.Pos) != nil {
		return false
	}
	return checkHeader(header[:], borderOf(e), size-e.Pos) == nil
}

// entryFloor is the last entry at or below offset; the zero position when there is none, which only an empty segment lacks.
func entryFloor(entries []segment.IndexEntry, offset kafka.Offset) segment.IndexEntry {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Offset > offset })
	if i == 0 {
		return segment.IndexEntry{Offset: offset}
	}
	return entries[i-1]
}

// scanEntries rebuilds a segment's entries from its headers, keeps them, and gives them to the index again: of the active
// segment, those below the tail's floor.
func (l *Log) scanEntries(v *view, s *localSegment, h *handle) ([]segment.IndexEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.entries.Load(); p != nil {
		return *p, nil
	}
	end := border{kafka.Offset(s.next.Load()), s.size.Load()}
	if s == v.tail.seg {
		end = v.tail.floor
	}
	x, err := indexOf(h, s.base, end)
	if err != nil {
		return nil, err
	}
	if len(x.entries) == 0 {
		return nil, fmt.Errorf("%w: segment %d is empty", errBadBatch, s.base)
	}
	l.env.Flusher.cache.keep(s, x.entries)
	if s != v.tail.seg {
		l.putIndex(s, x.entries)
		s.facts.CompareAndSwap(nil, l.dated(x.facts))
	}
	return x.entries, nil
}

// maxBorderWalk bounds how many headers are read to end a run on a border: beyond it batches are small
// against the run, and cutting one wastes little.
const maxBorderWalk = 32

// stopAt finds the position before which the run that begins at begin ends.
func (l *Log) stopAt(v *view, s *localSegment, h *handle, begin border, limit kafka.Offset, max int64) (int64, error) {
	reach := begin.pos + nonNegative(max)
	hard, err := l.positionOf(v, s, h, limit, reach)
	if err != nil || hard <= reach {
		return hard, err
	}
	if s == v.tail.seg {
		if b, ok := v.tail.recentPos(reach); ok && b.pos > begin.pos {
			return b.pos, nil
		}
	}
	if b, ok := indexBorder(v, s, reach); ok && b.pos > begin.pos+max/2 {
		s.hint(b)
		return b.pos, nil
	}
	buf := lookupBuffers.Get().(*buffer)
	defer lookupBuffers.Put(buf)
	batches := 0
	stop, err := walk(h, begin, hard, buf, func(v batch.View, at border) (bool, error) {
		if batches > 0 && at.pos+int64(v.Size()) > reach || batches == maxBorderWalk {
			return false, nil
		}
		batches++
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	if batches == maxBorderWalk && stop.pos < reach {
		return reach, nil
	}
	s.hint(stop)
	return stop.pos, nil
}

func nonNegative(n int64) int64 { return max(n, 0) }

// positionOf is where limit lies in s, or any position beyond reach if that is where it lies, or the segment's end if limit is past it.
func (l *Log) positionOf(v *view, s *localSegment, h *handle, limit kafka.Offset, reach int64) (int64, error) {
	if s == v.tail.seg {
		if b, ok := v.tail.recent(limit); ok {
			return b.pos, nil
		}
	} else if limit >= kafka.Offset(s.next.Load()) {
		return s.size.Load(), nil
	}
	e, err := l.entryBelow(v, s, h, limit)
	if err != nil || e.pos > reach {
		return e.pos, err
	}
	b, err := l.locate(v, s, h, limit)
	return b.pos, err
}

// indexBorder is the last border at or below pos among the index entries in memory.
func indexBorder(v *view, s *localSegment, pos int64) (border, bool) {
	var entries []segment.IndexEntry
	if s == v.tail.seg {
		entries = v.tail.shown()
	}
	if len(entries) == 0 || entries[0].Pos > pos {
		if p := s.entries.Load(); p != nil {
			entries = *p
		}
	}
	i := sort.Search(len(entries), func(i int) bool { return entries[i].Pos > pos })
	if i == 0 {
		return border{}, false
	}
	return borderOf(entries[i-1]), true
}

// Replay calls f with each batch's header (HeaderLen bytes, valid during the call) from the batch that holds from to the
// end; of a control batch, with the whole. What is appended meanwhile may or may not be seen.; the log keeps its shape.
func (l *Log) Replay(from kafka.Offset, f func(batch.View) error) error {
	l.shape.Lock()
	defer l.shape.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	v := l.view.Load()
	end := l.End()
	if from < v.segments[0].base || from > end {
		return fmt.Errorf("replay from %d: %w", from, ErrOutOfRange)
	}
	for _, s := range v.segments {
		if kafka.Offset(s.next.Load()) <= from {
			continue
		}
		if err := l.replaySegment(v, s, max(from, s.base), end, f); err != nil {
			return err
		}
	}
	return nil
}

// errVisitor carries an error of Replay's caller through walk unchanged.
type errVisitor struct{ error }

func (l *Log) replaySegment(v *view, s *localSegment, from, end kafka.Offset, f func(batch.View) error) error {
	h, err := s.acquire(&l.env)
	if err != nil {
		return l.found(blame(s, err))
	}
	defer h.Release()
	at, err := l.locate(v, s, h, from)
	if err != nil {
		return l.found(blame(s, err))
	}
	buf := scanBuffers.Get().(*buffer)
	defer scanBuffers.Put(buf)
	_, err = walk(h, at, s.size.Load(), buf, func(b batch.View, at border) (bool, error) {
		if b.BaseOffset() >= end {
			return false, nil
		}
		if b.Attributes().Control() {
			whole := make(batch.View, b.Size())
			if err := readFull(h, whole, at.pos); err != nil {
				return false, shortIsBad(err, at)
			}
			b = whole
		}
		if err := f(b); err != nil {
			return false, errVisitor{err}
		}
		return true, nil
	})
	var visitor errVisitor
	if errors.As(err, &visitor) {
		return visitor.error
	}
	return l.found(blame(s, err))
}

// found records damage that err speaks of.
func (l *Log) found(err error) error {
	var bad *badSegment
	if errors.As(err, &bad) {
		return l.damaged(bad.segment, bad.err)
	}
	return err
}
