package cold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/tier/segment"
)

// attemptsMost is how often a GET is tried without a block arriving before the
// readers are told.
const attemptsMost = 6

// Back-off between attempts: doubled from the first to the last, then a random
// part of it.
const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
)

// readStep is the most read at a time, so that progress is seen and blocks are
// verified while they are still in the processor's cache.
const readStep = 256 << 10

var (
	errStalled   = errors.New("download made no progress")
	errCancelled = errors.New("download is no longer wanted")
)

// backoff is how long to wait before the attempt after the n-th (from 1).
func backoff(n int) time.Duration {
	d := min(backoffFirst<<min(n-1, 10), backoffLast)
	return d/2 + rand.N(d/2+1)
}

// get fills buf from the object's bytes at off on, in one GET, and calls
// arrived after each piece with how many bytes there are by now. A GET without
// progress for much longer than usual ends with errStalled.
func (r *Reader) get(ctx context.Context, key string, off int64, buf []byte, arrived func(n int) error) error {
	stall := r.gaps.stall()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer watchdog.Stop()
	fail := func(err error) error {
		if context.Cause(ctx) == errStalled {
			return errStalled
		}
		return err
	}
	r.stats.gets.Add(1)
	r.log.Debug("get", "key", key, "from", off, "bytes", len(buf))
	last, longest := time.Now(), time.Duration(0)
	progress := func() {
		now := time.Now()
		longest = max(longest, now.Sub(last))
		last = now
		watchdog.Reset(stall)
	}
	body, err := r.bucket.Get(ctx, key, off, int64(len(buf)))
	if err != nil {
		return fail(err)
	}
	defer body.Close()
	for n := 0; n < len(buf); {
		k, err := body.Read(buf[n:min(n+readStep, len(buf))])
		if k > 0 {
			progress()
			n += k
			r.stats.bytes.Add(uint64(k))
			if err := arrived(n); err != nil {
				return err
			}
		}
		if err != nil && n < len(buf) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%d of %d bytes: %w", n, len(buf), io.ErrUnexpectedEOF)
			}
			return fail(err)
		}
	}
	// Seeing the end lets the driver check its own sums and use the connection again.
	var one [1]byte
	if _, err := body.Read(one[:]); err != nil && !errors.Is(err, io.EOF) {
		return fail(err)
	}
	r.gaps.add(longest)
	return nil
}

// badBlock is a block that did not pass its check.
type badBlock struct {
	block int
	err   error
}

func (e *badBlock) Error() string { return e.err.Error() }
func (e *badBlock) Unwrap() error { return e.err }

// download runs one attempt at the slab's blocks from ready on.
func (r *Reader) download(ctx context.Context, sl *slab) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	first, to, buf, size, wanted := sl.ready, sl.to, sl.buf, sl.size, sl.loading
	if wanted {
		sl.cancel = cancel
		if !sl.began.IsZero() {
			sl.failed++
		}
		sl.began = time.Now()
	}
	r.unlock()

	err := errCancelled
	if wanted {
		if buf == nil {
			buf = make([]byte, sl.remote.size(sl.from, to), size)
		}
		err = r.fill(ctx, sl, buf, first, to)
	}

	r.mu.Lock()
	defer r.unlock()
	r.busy--
	sl.cancel = nil
	if buf != nil {
		sl.buf = buf // a retry goes on in it
	}
	sl.attempts++
	if sl.loading {
		r.settleDownload(ctx, sl, err)
	}
	sl.unref()
	r.pump()
}

// fill gets blocks [first, to) of the slab into buf, the slab's, and makes each
// readable once it is whole and verified.
func (r *Reader) fill(ctx context.Context, sl *slab, buf []byte, first, to int) error {
	rm := sl.remote
	from, end := rm.blocks[first].pos, rm.blocks[to].pos
	part := buf[from-sl.start : end-sl.start]
	next := first
	return r.get(ctx, rm.key, from, part, func(n int) error {
		for next < to && rm.size(first, next+1) <= int64(n) {
			pos := rm.blocks[next].pos
			if err := rm.footer.Verify(part[pos-from:rm.blocks[next+1].pos-from], pos); err != nil {
				return &badBlock{next, err}
			}
			next++
			if !r.blockReady(sl, buf, next) {
				return errCancelled
			}
		}
		return nil
	})
}

// blockReady makes the blocks up to ready readable. It is false when the slab
// is no longer wanted.
func (r *Reader) blockReady(sl *slab, buf []byte, ready int) bool {
	r.mu.Lock()
	defer r.unlock()
	if !sl.loading {
		return false
	}
	sl.buf = buf
	sl.attempts, sl.arrived = 0, time.Now()
	for sl.ready < ready {
		b := sl.ready
		sl.ready++
		delete(sl.remote.failed, b)
		r.mended(sl.remote.key, b)
		sl.remote.call(r, b)
	}
	return true
}

// settleDownload decides what follows an attempt that ended with err.
func (r *Reader) settleDownload(ctx context.Context, sl *slab, err error) {
	var bad *badBlock
	switch {
	case err == nil || sl.ready == sl.to:
		sl.loading = false
		r.pace.succeeded()
		r.memory.settle(sl)
	case ctx.Err() != nil: // Run is ending
		sl.truncate()
	case errors.As(err, &bad):
		r.stats.corrupt.Add(1)
		if sl.reread == bad.block {
			r.giveUp(sl, fmt.Errorf("%w: object %s: %w", ErrCorrupt, sl.remote.key, bad.err), corruptCooldown)
			return
		}
		r.log.Warn("remote segment is read again: what came is corrupt", "key", sl.remote.key, "error", bad.err)
		sl.reread = bad.block
		r.retries = append(r.retries, sl)
	case errors.Is(err, object.ErrNotFound) || sl.attempts >= attemptsMost:
		r.giveUp(sl, fmt.Errorf("%w: %w", ErrUnavailable, err), cooldown)
	case errors.Is(err, errStalled):
		r.stats.hedges.Add(1)
		r.retries = append(r.retries, sl)
	default:
		r.stats.retries.Add(1)
		if errors.Is(err, object.ErrThrottled) {
			r.stats.throttled.Add(1)
			r.pace.throttled()
		}
		time.AfterFunc(backoff(sl.attempts), func() {
			r.mu.Lock()
			defer r.unlock()
			r.retries = append(r.retries, sl)
			r.pump()
		})
	}
}

// giveUp reports err to who waits for the slab's next block, and frees the rest.
func (r *Reader) giveUp(sl *slab, err error, d time.Duration) {
	r.log.Warn("remote segment cannot be read", "key", sl.remote.key, "error", err)
	sl.remote.fail(r, sl.ready, err, d)
	sl.truncate()
}

// retrying calls f until it succeeds, with back-off, for callers that wait.
func (r *Reader) retrying(ctx context.Context, f func() error) error {
	corrupt := 0
	for n := 1; ; n++ {
		err := f()
		pause := time.Duration(0)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, segment.ErrVersion):
			return err
		case errors.Is(err, segment.ErrCorrupt):
			r.stats.corrupt.Add(1)
			if corrupt++; corrupt == 2 {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
		case errors.Is(err, object.ErrNotFound) || n >= attemptsMost:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		case errors.Is(err, errStalled):
			r.stats.hedges.Add(1)
		default:
			r.stats.retries.Add(1)
			if errors.Is(err, object.ErrThrottled) {
				r.stats.throttled.Add(1)
				r.mu.Lock()
				r.pace.throttled()
				r.mu.Unlock()
			}
			pause = backoff(n)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// pace is how fast GETs may begin: additive increase, multiplicative decrease
// on the number at once, and a pause after each time the store asked for
// patience. Guarded by Reader.mu.
type pace struct {
	limit, most float64
	until       time.Time // nothing begins before
	last        time.Time // of the last decrease
	streak      int       // decreases without a success between
}

// decreaseEvery keeps the GETs that one burst of refusals hits from being counted each.
const decreaseEvery = 500 * time.Millisecond

func (p *pace) workers() int { return max(int(p.limit), 1) }

func (p *pace) wait() time.Duration { return time.Until(p.until) }

func (p *pace) succeeded() {
	p.streak = 0
	p.limit = min(p.limit+1/p.limit, p.most)
}

func (p *pace) throttled() {
	now := time.Now()
	if now.Sub(p.last) < decreaseEvery {
		return
	}
	p.last = now
	p.streak++
	p.limit = max(p.limit/2, 1)
	p.until = now.Add(backoff(p.streak))
}

// gaps remembers how long GETs went without progress, to know what is unusual.
type gaps struct {
	mu     sync.Mutex
	recent [128]time.Duration
	n      int
	p95    time.Duration
}

// Bounds of what counts as stalled.
const (
	stallLeast = 2 * time.Second
	stallMost  = 30 * time.Second
)

func (g *gaps) add(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recent[g.n%len(g.recent)] = d
	g.n++
	if g.n%16 == 0 || g.n < 16 {
		seen := slices.Clone(g.recent[:min(g.n, len(g.recent))])
		slices.Sort(seen)
		g.p95 = seen[len(seen)*95/100]
	}
}

// stall is how long a GET may go without progress.
func (g *gaps) stall() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return min(max(3*g.p95, stallLeast), stallMost)
}
