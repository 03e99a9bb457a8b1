package hot

import (
	"fmt"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Log is one partition's local log. Append, Roll, Truncate, ReleaseBefore and
// Reset are serialized by an own mutex; readers take no lock.
//
// Invariants: Start <= DurableEnd <= End; the segments are contiguous and the last is active; what readers
// see through view, end and the tail is only ever added to, or replaced as a whole.
type Log struct {
	env       Env
	dir       string
	partition kafka.Partition
	onDurable func(kafka.Offset)

	start   atomic.Int64
	end     atomic.Int64
	flushed atomic.Int64 // on disk; Invariant: <= durable in async mode, == durable in group mode
	durable atomic.Int64
	view    atomic.Pointer[view]
	epochs  atomic.Pointer[[]segment.EpochStart]
	damage  atomic.Pointer[DamageError]
	closed  atomic.Bool
	cleaned atomic.Int64 // see CleanedTo; written under shape

	pending pending

	shape  sync.Mutex // held while segments go or are replaced; appends go on. Before mu
	mu     sync.Mutex // guards what follows, and all changes
	cfg    Config
	state  State
	broken error    // why no appends are taken
	bufs   [][]byte // scratch of Append
}

// view is what readers see of the log's shape. It is never changed, only replaced.
type view struct {
	segments []*localSegment // oldest first; never empty; the last is the tail's
	tail     *tail
}

// at finds the segment that holds offset, which is at least the first one's base.
func (v *view) at(offset kafka.Offset) *localSegment {
	if offset >= v.tail.seg.base {
		return v.tail.seg
	}
	i := sort.Search(len(v.segments), func(i int) bool { return v.segments[i].base > offset })
	return v.segments[i-1]
}

// index finds a segment by its base; -1 when there is none.
func (v *view) index(base kafka.Offset) int {
	for i, s := range v.segments {
		if s.base == base {
			return i
		}
	}
	return -1
}

// SetState installs the source of snapshots. Before the first Append.
func (l *Log) SetState(s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}

// SetConfig changes the settings. A change to group mode takes effect with the next flush: what async mode called
// durable stays called so.
func (l *Log) SetConfig(cfg Config) {
	l.mu.Lock()
	was := l.cfg.Async
	l.cfg = cfg
	grew := false
	if cfg.Async && l.End() > l.DurableEnd() {
		l.durable.Store(l.end.Load())
		grew = true
	}
	l.mu.Unlock()
	if was && !cfg.Async {
		l.flushLazily()
	}
	if grew {
		l.onDurable(l.DurableEnd())
	}
}

// Start is the first local offset. Lock-free, like End and DurableEnd.
func (l *Log) Start() kafka.Offset { return kafka.Offset(l.start.Load()) }

// End is the next offset to be written.
func (l *Log) End() kafka.Offset { return kafka.Offset(l.end.Load()) }

// DurableEnd is the end of what survives a power cut (in async mode: of what was written).
func (l *Log) DurableEnd() kafka.Offset { return kafka.Offset(l.durable.Load()) }

// Epochs are the epochs and their first offsets, oldest first, of the whole history that the log knows of. The slice must not be changed.
func (l *Log) Epochs() []segment.EpochStart {
	if p := l.epochs.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *Log) setEpochs(epochs []segment.EpochStart) { l.epochs.Store(&epochs) }

// Damage is the damage that Open or a read has found and nobody has mended yet: a *DamageError, or nil.
func (l *Log) Damage() error {
	if d := l.damage.Load(); d != nil {
		return d
	}
	return nil
}

// ReportDamage tells the log that a segment is not what was written (archive's scan found it, say). It
// takes no appends until Quarantine or Reset.
func (l *Log) ReportDamage(base kafka.Offset, reason error) {
	v := l.view.Load()
	if i := v.index(base); i >= 0 {
		if s := v.segments[i]; s.sealed.Load() {
			_ = l.condemn(s, reason)
		} else {
			_ = l.damaged(s, reason)
		}
	}
}

// damaged records damage of a segment and returns it as an error.
func (l *Log) damaged(s *localSegment, reason error) error {
	d := &DamageError{Segment: s.base, Base: s.base, Next: kafka.Offset(s.next.Load()), Reason: reason}
	if l.damage.CompareAndSwap(nil, d) {
		l.env.Log.Error("local log is damaged", "partition", l.partition.String(), "segment", int64(s.base),
			"next", int64(d.Next), "error", reason)
	}
	return d
}

// writable says why the log takes no changes to its end. mu is held.
func (l *Log) writable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if d := l.damage.Load(); d != nil {
		return d
	}
	if l.broken != nil {
		return l.broken
	}
	return l.env.Flusher.err()
}

// path is a file of the log.
func (l *Log) path(base kafka.Offset, suffix string) string {
	return filepath.Join(l.dir, fileName(base, suffix))
}

// now is the log's clock in Unix nanoseconds.
func (l *Log) now() int64 { return l.env.Clock().UnixNano() }

// createTail makes the file of a new active segment. Nothing is published. mu is held.
func (l *Log) createTail(base kafka.Offset) (*tail, error) {
	s := newSegment(l.dir, base)
	f, err := l.env.FS.OpenRW(s.path)
	if err != nil {
		return nil, fmt.Errorf("create segment %d: %w", base, err)
	}
	h := l.newTailFile(f)
	// Whatever a file of this name holds was never part of the log: it begins where the log ends.
	size, err := f.Size()
	if err == nil && size > 0 {
		err = f.Truncate(0)
	}
	if err != nil {
		h.Release()
		return nil, fmt.Errorf("create segment %d: %w", base, err)
	}
	s.file.Store(h)
	t := newTail(s, h, border{offset: base}, noFacts)
	if l.cfg.Preallocate {
		if err := f.Allocate(l.cfg.segmentBytes()); err != nil {
			l.env.Log.Debug("segment not preallocated", "partition", l.partition.String(), "error", err)
		} else {
			t.reserved = l.cfg.segmentBytes()
		}
	}
	return t, nil
}

// discard undoes createTail.
func (l *Log) discard(t *tail) {
	t.file.Release()
	if err := l.env.FS.Remove(t.seg.path); err != nil {
		l.env.Log.Warn("segment of a failed append stays behind, empty or void", "partition", l.partition.String(), "error", err)
	}
}

// aged tells whether the active segment is due to be rolled for its age. mu is held, but for tick's first look.
func (l *Log) aged(t *tail, cfg Config) bool {
	created := t.created.Load()
	if cfg.SegmentAge <= 0 || created == 0 {
		return false
	}
	age := cfg.SegmentAge - time.Duration(t.jitter*float64(cfg.SegmentJitter))
	return l.now()-created >= int64(max(age, 0))
}
