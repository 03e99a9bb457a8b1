package hot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Rewriting replaces sealed segments, one or several neighbours, by one that covers the same offsets with fewer records: what
// compaction does to a log. The new file is made beside the old ones, whole and durable, before any of them is touched:
//
//	100.log  200.log  300.log                 as they were
//	                  100.cleaned             written, flushed                ── a crash here: removed
//	                  100.swap                renamed, its name durable       ── from here on: the new one counts
//	100.log  100.swap                         readers see it, 200 and 300 go
//	100.log                                   renamed over the oldest
//
// A crash at any point leaves the old segments or the new one (finishSwap). Whoever reads an old one reads on: its file stays
// until the last run of it is sent.

// errReplaced says that a segment is no longer part of the log: the view has changed.
var errReplaced = fmt.Errorf("%w: the segment was rewritten", errBadBatch)

// Edit decides about one batch, whole and with a right CRC: what stands in its place, covering the same offsets under the same
// epoch, or nil where nothing is left of it. It may return v itself. Both are used before the next call only.
type Edit func(v batch.View) (batch.View, error)

// Rewritten tells what a rewrite did.
type Rewritten struct {
	Base, Next    kafka.Offset
	Before, After int64 // bytes
}

// Rewrite replaces the sealed segments that lie in [from, next), which must be whole ones and on disk, by one, as edit says. pace is
// told of the bytes before each read and may wait; nil does not. Appends and reads go on meanwhile; calls that change the
// log's shape wait for its last step. One call at a time.
//
// Errors: ErrOutOfRange when the range is not one of sealed and flushed segments (any more), ErrNoSpace, ErrDamaged, ErrClosed, edit's.
func (l *Log) Rewrite(ctx context.Context, from, next kafka.Offset, edit Edit, pace func(ctx context.Context, bytes int) error) (Rewritten, error) {
	done, err := l.rewrite(ctx, from, next, edit, pace)
	if err != nil {
		return Rewritten{}, fmt.Errorf("rewrite [%d, %d): %w", from, next, err)
	}
	return done, nil
}

func (l *Log) rewrite(ctx context.Context, from, next kafka.Offset, edit Edit, pace func(ctx context.Context, bytes int) error) (Rewritten, error) {
	old, err := l.sealedIn(from, next)
	if err != nil {
		return Rewritten{}, err
	}
	first, err := old[0].acquire(&l.env)
	if err != nil {
		return Rewritten{}, l.found(blame(old[0], err))
	}
	defer first.Release()
	w := &rewriter{fs: l.env.FS, path: l.path(from, cleanedSuffix), source: pacedReader{ctx, first, pace}, end: border{offset: from}, x: indexer{facts: noFacts}}
	if len(old) > 1 {
		err = w.begin() // several are to be one, whatever becomes of their batches
	}
	done := Rewritten{Base: from, Next: next}
	for _, s := range old {
		done.Before += s.size.Load()
		if err == nil {
			err = l.rewriteOne(ctx, w, s, edit, pace)
		}
	}
	if err == nil {
		err = w.finish(next)
	}
	done.After = w.end.pos
	switch {
	case err != nil:
		return Rewritten{}, errors.Join(err, w.discard())
	case w.file == nil:
		return done, nil // every byte is as it was
	}
	return done, l.replace(old, w)
}

// sealedIn are the segments of a range, which the recovery point in the file has passed: what it speaks of must not change.
func (l *Log) sealedIn(from, next kafka.Offset) ([]*localSegment, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	if err := l.env.Flusher.recovery.checkpoint([]*Log{l}); err != nil {
		return nil, err
	}
	if p, ok, _ := l.env.Flusher.recoveryPointOf(l.partition); !ok || p.base < next {
		return nil, ErrOutOfRange
	}
	v := l.view.Load()
	i := v.index(from)
	if i < 0 {
		return nil, ErrOutOfRange
	}
	for j := i; j < len(v.segments) && v.segments[j].sealed.Load() && !v.segments[j].bad.Load(); j++ {
		if kafka.Offset(v.segments[j].next.Load()) == next {
			return v.segments[i : j+1], nil
		}
	}
	return nil, ErrOutOfRange
}

// usable says why nothing is rewritten.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if d := l.damage.Load(); d != nil {
		return d
	}
	return l.env.Flusher.err()
}

// rewriteOne puts what edit leaves of a segment into w.
func (l *Log) rewriteOne(ctx context.Context, w *rewriter, s *localSegment, edit Edit, pace func(context.Context, int) error) error {
	return l.visitSealed(ctx, s, func(v batch.View) error {
		out, err := edit(v)
		if err != nil {
			return err
		}
		return w.take(v, out)
	}, pace)
}

// visitSealed calls visit with every batch of a sealed segment, checked. ErrOutOfRange says that the segment is no longer what it was
// when the call began: then its bytes prove nothing.
func (l *Log) visitSealed(ctx context.Context, s *localSegment, visit func(v batch.View) error, pace func(context.Context, int) error) error {
	whole := border{kafka.Offset(s.next.Load()), s.size.Load()}
	err := func() error {
		h, err := s.acquire(&l.env)
		if err != nil {
			return err
		}
		defer h.Release()
		end, err := verify(pacedReader{ctx, h, pace}, border{offset: s.base}, whole.pos, func(v batch.View, _ border) error {
			if err := visit(v); err != nil {
				return errVisitor{err}
			}
			return nil
		})
		if err == nil && end != whole {
			err = fmt.Errorf("%w: it ends at offset %d, not %d", errBadBatch, end.offset, whole.offset)
		}
		return err
	}()
	if err == nil {
		return nil
	}
	var visitor errVisitor
	if errors.As(err, &visitor) {
		return visitor.error
	}
	if !l.holds(s, whole) {
		return ErrOutOfRange
	}
	return l.found(blame(s, err))
}

// holds tells whether a sealed segment is the log's, and ends where it did.
func (l *Log) holds(s *localSegment, whole border) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	i := v.index(s.base)
	return !l.closed.Load() && i >= 0 && v.segments[i] == s && s.sealed.Load() && !s.bad.Load() && s.size.Load() == whole.pos
}

// rewriter writes the new file, from the first byte on that differs from the first of the old ones: most of a clean log stays as it is.
type rewriter struct {
	fs      vfs.FS
	path    string      // <base>.cleaned
	source  io.ReaderAt // the first of the old segments
	file    vfs.File    // nil: so far all is as it was
	buf     []byte      // what follows the file's bytes
	written int64
	end     border // of the new file, written or not
	x       indexer

	gap     border // where offsets without records begin, if there are batches that they are of
	gapOf   int
	gapWas  bool // all of them were one gap before
	gapFrom kafka.LeaderEpoch
}

// rewriteBuffer is written, and brought to the disk, at a time: a flush that comes meanwhile finds little of it to do.
const rewriteBuffer = 1 << 20

// begin makes the file, with what the source has up to where the new bytes go on.
func (w *rewriter) begin() error {
	f, err := w.fs.OpenRW(w.path)
	if err != nil {
		return noRoom(err)
	}
	w.file = f
	w.buf = make([]byte, 0, rewriteBuffer+batch.HeaderLen)
	if err := f.Truncate(0); err != nil {
		return err
	}
	for w.written < w.end.pos {
		w.buf = w.buf[:min(rewriteBuffer, w.end.pos-w.written)]
		if err := readFull(w.source, w.buf, w.written); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// take appends what stands in a batch's place.
func (w *rewriter) take(v, out batch.View) error {
	if out == nil {
		return w.leaveOut(v)
	}
	if out.BaseOffset() != v.BaseOffset() || out.NextOffset() != v.NextOffset() || out.LeaderEpoch() != v.LeaderEpoch() {
		panic(fmt.Sprintf("hot: batch [%d, %d) rewritten to [%d, %d)", v.BaseOffset(), v.NextOffset(), out.BaseOffset(), out.NextOffset()))
	}
	if err := w.closeGap(v.BaseOffset()); err != nil {
		return err
	}
	return w.append(out, len(out) == len(v) && out.CRC() == v.CRC())
}

// leaveOut makes a batch's offsets a gap, or part of one.
func (w *rewriter) leaveOut(v batch.View) error {
	if w.gapOf > 0 && (v.LeaderEpoch() != w.gapFrom || v.NextOffset()-w.gap.offset > math.MaxInt32) {
		if err := w.closeGap(v.BaseOffset()); err != nil {
			return err
		}
	}
	if w.gapOf == 0 {
		w.gap, w.gapFrom, w.gapWas = border{offset: v.BaseOffset()}, v.LeaderEpoch(), v.IsGap()
	}
	w.gapOf++
	return nil
}

// closeGap writes the batch that stands for offsets without records, which end at next.
func (w *rewriter) closeGap(next kafka.Offset) error {
	if w.gapOf == 0 {
		return nil
	}
	same := w.gapOf == 1 && w.gapWas
	w.gapOf = 0
	return w.append(batch.Gap(nil, w.gap.offset, next, w.gapFrom), same)
}

// append adds a batch; same says that the first of the old segments has it, byte for byte, if all before was the same.
func (w *rewriter) append(v batch.View, same bool) error {
	if w.file == nil && !same {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.x.add(v, w.end)
	w.end = border{v.NextOffset(), w.end.pos + int64(len(v))}
	if w.file == nil {
		return nil
	}
	w.buf = append(w.buf, v...)
	if len(w.buf) < rewriteBuffer {
		return nil
	}
	return w.flush()
}

// flush writes what is buffered and has the disk begin with it.
func (w *rewriter) flush() error {
	n := int64(len(w.buf))
	if n == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(w.buf, w.written); err != nil {
		return noRoom(err)
	}
	if err := w.file.WriteBack(w.written, n); err != nil {
		return err
	}
	w.written += n
	w.buf = w.buf[:0]
	return nil
}

// finish completes the file, durably, but for its name.
func (w *rewriter) finish(next kafka.Offset) error {
	err := w.closeGap(next)
	if err == nil && w.file != nil {
		if err = w.flush(); err == nil {
			err = w.file.Sync()
		}
	}
	if err == nil && w.end.offset != next {
		panic(fmt.Sprintf("hot: segments rewritten up to %d, not %d", w.end.offset, next))
	}
	return err
}

func (w *rewriter) discard() error {
	if w.file == nil {
		return nil
	}
	return errors.Join(w.file.Close(), w.fs.Remove(w.path))
}

// replace puts the new file in the old ones' place. Nothing changes the log's shape meanwhile, but appends go on.
func (l *Log) replace(old []*localSegment, w *rewriter) error {
	l.shape.Lock()
	defer l.shape.Unlock()
	if err := l.still(old); err != nil {
		return errors.Join(err, w.discard())
	}
	// A recovery point that lies in what is replaced must not come back beside the new file.
	if err := l.env.Flusher.barrier(nil, []string{l.dir}); err != nil {
		return errors.Join(err, w.discard())
	}
	base := old[0].base
	swap := l.path(base, swapSuffix)
	if err := errors.Join(w.file.Close(), l.env.FS.Rename(w.path, swap)); err != nil {
		return errors.Join(noRoom(err), l.env.FS.Remove(w.path))
	}
	// The name must be durable before anything that it replaces goes; and the journal must not speak of what goes.
	if err := l.env.Flusher.barrier(nil, []string{l.dir}); err != nil {
		return err
	}
	s := newSegment(l.dir, base)
	s.path = swap
	s.seal(w.end, l.rewrittenFacts(old[0], w.x.facts))
	l.show(old, s, w)
	var bases []kafka.Offset
	for _, o := range old[1:] {
		bases = append(bases, o.base)
	}
	if err := l.dropReplaced(bases); err != nil {
		return l.breaksLocked("rewrite", err)
	}
	if err := s.rename(l.env.FS, l.path(base, logSuffix)); err != nil {
		return l.breaksLocked("rewrite", err)
	}
	l.noteSize(s)
	return nil
}

// still tells whether the segments are the log's as they were when their rewriting began.
func (l *Log) still(old []*localSegment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	v := l.view.Load()
	i := v.index(old[0].base)
	if i < 0 || i+len(old) >= len(v.segments) || !slices.Equal(v.segments[i:i+len(old)], old) {
		return ErrOutOfRange
	}
	for _, s := range old {
		if !s.sealed.Load() || s.bad.Load() {
			return ErrOutOfRange
		}
	}
	return nil
}

// rewrittenFacts are those of the new file, which is as old as the oldest that it replaces.
func (l *Log) rewrittenFacts(oldest *localSegment, f facts) facts {
	f.created = l.now()
	if known, err := l.factsOf(l.view.Load(), oldest); err == nil && known.created != 0 {
		f.created = known.created
	}
	return f
}

// show has readers see s in the place of the old ones.
func (l *Log) show(old []*localSegment, s *localSegment, w *rewriter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	i := v.index(old[0].base)
	for _, o := range old {
		l.dropIndex(o)
	}
	l.env.Flusher.cache.keep(s, w.x.entries)
	l.putIndex(s, w.x.entries)
	l.view.Store(&view{segments: slices.Concat(v.segments[:i], []*localSegment{s}, v.segments[i+len(old):]), tail: v.tail})
	for _, o := range old { // who opens one from now on would open another file
		o.gone.Store(true)
	}
}

// dropReplaced removes files whose offsets the new one covers, durably: beside it they would be segments of their own.
func (l *Log) dropReplaced(bases []kafka.Offset) error {
	if len(bases) == 0 {
		return nil
	}
	for _, base := range bases {
		if err := errors.Join(l.removeFile(base, logSuffix), l.removeFile(base, stateSuffix)); err != nil {
			return err
		}
	}
	return l.env.Flusher.barrier(nil, []string{l.dir})
}

// rename gives the segment's file another name, between two openings of it.
func (s *localSegment) rename(fsys vfs.FS, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := fsys.Rename(s.path, path); err != nil {
		return err
	}
	s.path = path
	return nil
}

// noteSize writes what is known of a rewritten segment into the state file of the one that follows, so that opening the log needs no walk
// over its headers. It is replaced whole; one that cannot be costs that walk.
func (l *Log) noteSize(s *localSegment) {
	next := kafka.Offset(s.next.Load())
	state, err := l.usableState(next)
	if err != nil || state == nil {
		return
	}
	state.prev = &prevSegment{s.base, s.size.Load(), *s.facts.Load()}
	temp := l.path(next, stateSuffix) + ".new"
	if err = writeStateTo(l.env.FS, temp, state, true); err == nil {
		err = l.env.FS.Rename(temp, l.path(next, stateSuffix))
	}
	if err != nil {
		l.env.Log.Warn("size of a rewritten segment not written down", "partition", l.partition.String(), "segment", int64(s.base), "error", err)
	}
}

// breaksLocked is breaks for who does not hold mu.
func (l *Log) breaksLocked(what string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.breaks(what, err)
}

// finishSwap completes, or undoes, what a crash has interrupted.
func (o *opening) finishSwap() error {
	for _, base := range o.files.cleaned {
		if err := o.remove(base, cleanedSuffix); err != nil {
			return err
		}
	}
	for _, base := range o.files.swaps {
		if o.known && (o.rec.resetting || base < o.rec.start) {
			if err := o.remove(base, swapSuffix); err != nil {
				return err
			}
			continue
		}
		end, err := o.swapEnd(base)
		if errors.Is(err, errBadBatch) {
			err = o.setAside(base, err)
		} else if err == nil {
			err = o.swapIn(base, end)
		}
		if err != nil {
			return fmt.Errorf("finish rewriting segment %d: %w", base, err)
		}
	}
	return nil
}

// swapEnd checks a rewritten file and tells where its offsets end.
func (o *opening) swapEnd(base kafka.Offset) (kafka.Offset, error) {
	f, err := o.env.FS.Open(o.path(base, swapSuffix))
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	var end border
	if err == nil {
		end, err = verify(f, border{offset: base}, size, func(batch.View, border) error { return nil })
	}
	if err = errors.Join(err, f.Close()); err == nil && size == 0 {
		err = fmt.Errorf("%w: the file is empty", errBadBatch)
	}
	return end.offset, err
}

// swapIn puts the file that covers [base, end) in its place.
func (o *opening) swapIn(base, end kafka.Offset) error {

	if err := o.willChange(); err != nil {
		return err
	}
	replaced := func(b kafka.Offset) bool { return b > base && b < end }
	dropped := slices.DeleteFunc(slices.Concat(o.files.logs, o.files.states), func(b kafka.Offset) bool { return !replaced(b) })
	// The name may be one that a killed process has given and nobody has flushed.
	if err := o.env.Flusher.barrier(nil, []string{o.dir}); err != nil {
		return err
	}
	if err := o.dropReplaced(dropped); err != nil {
		return err
	}
	if err := o.env.FS.Rename(o.path(base, swapSuffix), o.path(base, logSuffix)); err != nil {
		return err
	}
	o.files.logs = slices.DeleteFunc(o.files.logs, replaced)
	if i, found := slices.BinarySearch(o.files.logs, base); !found {
		o.files.logs = slices.Insert(o.files.logs, i, base)
	}
	o.files.states = slices.DeleteFunc(o.files.states, replaced)
	if o.env.Index != nil {
		o.env.Index.Drop(o.partition, base)
	}
	return nil
}

// setAside keeps a rewritten file that is damaged out of the way: what it replaces may be there still, and is damage by itself where it is not.
func (o *opening) setAside(base kafka.Offset, reason error) error {
	o.env.Log.Error("a rewritten segment is damaged: set aside", "partition", o.partition.String(), "segment", int64(base), "error", reason)
	aside := filepath.Join(o.dir, quarantineDir)
	if err := errors.Join(o.willChange(), o.env.FS.MkdirAll(aside)); err != nil {
		return err
	}
	return o.env.FS.Rename(o.path(base, swapSuffix), filepath.Join(aside, fileName(base, swapSuffix)))
}

// noRoom tells want of room from other errors.
func noRoom(err error) error {
	if isNoRoom(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// Each calls visit with every batch, whole and with a right CRC, of the sealed segments from the one that holds from up to next; of a
// batch that begins below from too, if it reaches it. The view is valid during the call. pace is as in Rewrite.
func (l *Log) Each(ctx context.Context, from, next kafka.Offset, visit func(v batch.View) error, pace func(ctx context.Context, bytes int) error) error {
	if err := l.usable(); err != nil {
		return err
	}
	for _, s := range l.view.Load().segments {
		if s.base >= next || !s.sealed.Load() {
			return nil
		}
		if kafka.Offset(s.next.Load()) <= from {
			continue
		}
		err := l.visitSealed(ctx, s, func(v batch.View) error {
			if v.NextOffset() <= from || v.BaseOffset() >= next {
				return nil
			}
			return visit(v)
		}, pace)
		if err != nil {
			return err
		}
	}
	return nil
}
