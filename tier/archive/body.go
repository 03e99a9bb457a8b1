package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/pace"
	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/wire/kafka"
)

// errDamaged says that a local segment is not what was written.
var errDamaged = errors.New("local segment is damaged: not uploaded")

// prepared is an object but for its data, which stays in the segment's file.
type prepared struct {
	at, data     int64 // the data's position in the file, and its length
	maxTimestamp int64
	trailer      []byte
}

// prepare reads the whole segment, checks every CRC in it, and builds the footer.
func (a *Archive) prepare(ctx context.Context, j *job, sealed *hot.Sealed) (*prepared, error) {
	size := sealed.Info.Size
	data := &yielding{ReaderAt: sealed.Data, ctx: ctx, turns: a.turns}
	defer data.rest()
	footer, err := segment.Scan(data, size)
	if err != nil {
		return nil, scanError(j.segment.Base, err)
	}
	at := int64(0)
	if j.base > j.segment.Base {
		if at, err = locate(data, &footer, j.base); err != nil {
			return nil, fmt.Errorf("segment %d: %w", j.segment.Base, err)
		}
		if footer, err = segment.Scan(io.NewSectionReader(data, at, size-at), size-at); err != nil {
			return nil, scanError(j.segment.Base, err)
		}
	}
	if footer.Base != j.base || footer.Next != j.next() {
		return nil, fmt.Errorf("%w: segment %d holds [%d, %d), want [%d, %d)", errDamaged, j.segment.Base, footer.Base, footer.Next, j.base, j.next())
	}
	footer.Cluster = a.cfg.Cluster
	footer.Topic = j.part.src.Topic()
	footer.Partition = j.part.id
	footer.Epoch = j.epoch
	footer.State = sealed.State
	footer.Aborted = j.part.src.Aborted(footer.Base, footer.Next)
	footer.SetHistory(sealed.Epochs)
	if err := footer.Check(); err != nil {
		return nil, fmt.Errorf("footer of segment %d: %w", j.segment.Base, err)
	}
	return &prepared{at: at, data: footer.DataSize, maxTimestamp: footer.MaxTimestamp, trailer: footer.Append(nil)}, nil
}

func scanError(base kafka.Offset, err error) error {
	if errors.Is(err, segment.ErrCorrupt) {
		return fmt.Errorf("%w: segment %d: %w", errDamaged, base, err)
	}
	return fmt.Errorf("read segment %d: %w", base, err)
}

// locate finds the position of the batch that begins at offset.
func locate(r io.ReaderAt, f *segment.Footer, offset kafka.Offset) (int64, error) {
	from := f.Locate(offset)
	to := f.DataSize
	for _, e := range f.Index {
		if e.Pos > from.Pos {
			to = e.Pos
			break
		}
	}
	p := make([]byte, to-from.Pos)
	if n, err := r.ReadAt(p, from.Pos); n < len(p) {
		return 0, fmt.Errorf("read index interval: %w", err)
	}
	pos, ok := segment.Search(p, offset)
	if !ok || kafka.Offset(binary.BigEndian.Uint64(p[pos:])) != offset {
		return 0, fmt.Errorf("%w: no batch begins at offset %d", errDamaged, offset)
	}
	return from.Pos + int64(pos), nil
}

func (p *prepared) body(data io.ReaderAt) *joined {
	return &joined{data: data, at: p.at, n: p.data, trailer: p.trailer}
}

// joined is a stretch of a file followed by bytes in memory: an object without a copy of it.
type joined struct {
	data    io.ReaderAt
	at, n   int64
	trailer []byte
}

func (b *joined) size() int64 { return b.n + int64(len(b.trailer)) }

func (b *joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read object at %d", off)
	}
	if off < b.n {
		want := min(int64(len(p)), b.n-off)
		if n, err = b.data.ReadAt(p[:want], b.at+off); int64(n) < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // the file has become shorter
			}
			return n, err
		}
	}
	if n < len(p) {
		if rest := off + int64(n) - b.n; rest < int64(len(b.trailer)) {
			n += copy(p[n:], b.trailer[rest:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// watched is a body whose reader is cancelled when it stops asking for bytes,
// and which gives them no faster than the budget allows.
type watched struct {
	*joined
	ctx    context.Context
	budget *pace.Budget
	turns  turns
	// progress is when bytes were last asked for or given, in nanoseconds; paused
	// counts those who wait for the budget, or for their turn, which is no stall.
	progress atomic.Int64
	paused   atomic.Int32
	asked    atomic.Bool // for a byte, ever

	mu    sync.Mutex
	timer *time.Timer // nil when stopped
}

var errStalled = errors.New("upload made no progress")

// watch cancels with errStalled when nothing was read for the timeout; that
// includes the wait for the store's answer behind the last byte.
func (a *Archive) watch(ctx context.Context, cancel context.CancelCauseFunc, body *joined) *watched {
	timeout := a.cfg.StallTimeout
	w := &watched{joined: body, ctx: ctx, budget: a.budget, turns: a.turns}
	w.touch()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(timeout, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.timer == nil {
			return
		}
		// In this order: who ends a pause says first that there is progress.
		waits := w.paused.Load() > 0
		left := timeout - time.Since(time.Unix(0, w.progress.Load()))
		if waits {
			left = timeout
		}
		if left > 0 {
			w.timer.Reset(left)
			return
		}
		cancel(fmt.Errorf("%w for %v", errStalled, timeout))
	})
	return w
}

func (w *watched) touch() { w.progress.Store(time.Now().UnixNano()) }

func (w *watched) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}

// started tells whether any byte may have left.
func (w *watched) started() bool { return w.asked.Load() }

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	w.asked.Store(true)
	w.touch()
	w.paused.Add(1)
	err := w.budget.Take(w.ctx, len(p))
	if err == nil {
		err = w.turns.take(w.ctx)
	}
	w.touch()
	w.paused.Add(-1)
	if err != nil {
		return 0, err
	}
	defer w.turns.give()
	return w.joined.ReadAt(p, off)
}
