package hot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// errCondemned says that a segment was found damaged before.
var errCondemned = fmt.Errorf("%w: the segment was found damaged", errBadBatch)

// Check reads a sealed segment again, past the page cache where that can be done, and checks every batch: frame, order, epoch
// and CRC. What is sent with sendfile is looked at by nobody else once it was written. pace is told of the bytes before each
// read and may wait; nil does not.
//
// A segment that is bad twice is condemned: no read shows it any more, after a restart neither, and the log takes no appends
// until Quarantine or Reset. The error is a *DamageError then; ErrOutOfRange says that there is no such sealed segment (any more).
func (l *Log) Check(ctx context.Context, base kafka.Offset, pace func(ctx context.Context, bytes int) error) (int64, error) {
	v := l.view.Load()
	i := v.index(base)
	if i < 0 || !v.segments[i].sealed.Load() {
		return 0, ErrOutOfRange
	}
	s := v.segments[i]
	size := s.size.Load()
	err := l.check(ctx, s, l.Epochs(), pace)
	if isDamage(err) {
		if again := l.check(ctx, s, l.Epochs(), pace); again == nil {
			l.env.Log.Warn("a segment was read badly once and well the next time", "partition", l.partition.String(), "segment", int64(base), "error", err)
			return size, nil
		}
	}
	switch v := l.view.Load(); {
	case l.closed.Load():
		return 0, ErrClosed
	case v.index(base) < 0 || v.segments[v.index(base)] != s:
		return 0, ErrOutOfRange // released or cut meanwhile
	case isDamage(err):
		return size, l.condemn(s, err)
	case err != nil:
		return 0, fmt.Errorf("check segment %d: %w", base, err)
	}
	return size, nil
}

// isDamage tells bad bytes, and those that the disk does not give any more, from other trouble.
func isDamage(err error) bool {
	return errors.Is(err, errBadBatch) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

func (l *Log) check(ctx context.Context, s *localSegment, epochs []segment.EpochStart, pace func(context.Context, int) error) error {
	s.mu.Lock()
	f, err := s.open(func(path string) (vfs.File, error) { return vfs.OpenUncached(l.env.FS, path) })
	s.mu.Unlock()
	if err != nil {
		return err
	}
	err = checkAll(pacedReader{ctx, f, pace}, s, epochs)
	return errors.Join(err, f.Close())
}

// checkAll verifies all of a sealed segment of a log that has had the epochs.
func checkAll(r io.ReaderAt, s *localSegment, epochs []segment.EpochStart) error {
	epoch, latest := kafka.NoEpoch, kafka.NoEpoch
	if n := len(epochs); n > 0 {
		latest = epochs[n-1].Epoch
	}
	want := border{kafka.Offset(s.next.Load()), s.size.Load()}
	end, err := verify(r, border{offset: s.base}, want.pos, func(v batch.View, at border) error {
		if v.LeaderEpoch() < epoch || v.LeaderEpoch() > latest { // no CRC covers it
			return fmt.Errorf("%w: leader epoch %d after %d at position %d, where the log's latest is %d", errBadBatch, v.LeaderEpoch(), epoch, at.pos, latest)
		}
		epoch = v.LeaderEpoch()
		return nil
	})
	if err == nil && end != want {
		err = fmt.Errorf("%w: it ends at offset %d, not %d", errBadBatch, end.offset, want.offset)
	}
	return err
}

// pacedReader asks before each read.
type pacedReader struct {
	ctx  context.Context
	r    io.ReaderAt
	pace func(context.Context, int) error
}

func (r pacedReader) ReadAt(p []byte, off int64) (int, error) {
	if r.pace != nil {
		if err := r.pace(r.ctx, len(p)); err != nil {
			return 0, err
		}
	} else if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// condemn keeps a segment from being read, now and when the log is opened again.
func (l *Log) condemn(s *localSegment, reason error) error {
	if !s.bad.Swap(true) {
		if err := l.writeDown(s); err != nil {
			l.env.Log.Error("damage of a segment is not written down: a restart may serve it", "partition", l.partition.String(), "segment", int64(s.base), "error", err)
		}
	}
	return l.damaged(s, reason)
}

// writeDown makes the next Open know that a segment is damaged. The recovery point comes first: a scan that met bad bytes above it
// would take them for a torn tail, and cut off what lies behind them.
func (l *Log) writeDown(s *localSegment) error {
	if err := l.env.Flusher.recovery.checkpoint([]*Log{l}); err != nil {
		return err
	}
	f, err := l.env.FS.OpenRW(l.path(s.base, damagedSuffix))
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), l.env.Flusher.barrier(nil, []string{l.dir}))
}

// recheck looks at the segments that were condemned before: a person may have mended them.
func (o *opening) recheck() error {
	for _, base := range o.files.condemned {
		var s *localSegment
		for _, have := range o.segments[:len(o.segments)-1] {
			if have.base == base {
				s = have
			}
		}
		if s != nil {
			err := o.check(context.Background(), s, o.epochs, nil)
			if isDamage(err) {
				s.bad.Store(true)
				o.harm(base, base, kafka.Offset(s.next.Load()), err)
				continue
			}
			if err != nil {
				return fmt.Errorf("check segment %d, which was damaged: %w", base, err)
			}
		}
		if err := o.env.FS.Remove(filepath.Join(o.dir, fileName(base, damagedSuffix))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
