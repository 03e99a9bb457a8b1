package hot

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/wire/batch"
)

// Small appends are in the journal when they are acknowledged, so that their segment's file may have them later, many with one write:
// before the volume is flushed, when somebody reads them, when no more fit, and after a checkpoint at the latest. Until then they are in memory, and
// a killed process leaves them in the journal only, which the next start writes into the segment (redo.go).
//
// What must stay true: nobody sees a file without what is late of it. Whatever reads, cuts, syncs or seals an active segment goes through its
// handle, which writes first; what flushes the volume goes through latecomers.write. Room for what is late is reserved on the disk, so that
// writing it does not fail for want of that; where a file system cannot reserve, a full disk ends the broker, and the next start needs room.

const (
	lateBytes  = 32 << 10 // of one segment
	lateAppend = 8 << 10  // larger appends are written at once
	lateFiles  = 1 << 10  // segments at one time
)

var lateBuffers = sync.Pool{New: func() any { return new([lateBytes]byte) }}

// late is what a file that is appended to has not been given yet.
type late struct {
	all *latecomers

	mu     sync.Mutex
	buf    *[lateBytes]byte // nil when n is 0
	n      int
	at     int64 // where it belongs
	listed bool  // in all

	from atomic.Int64 // at, or noneLate
}

const noneLate = math.MaxInt64

// latecomers are the files of which something may be late. Lock order: writing, late.mu, mu.
type latecomers struct {
	writing sync.Mutex // held until what was late at the beginning is written: a flush beside another waits for what that one has taken
	held    atomic.Int32

	mu    sync.Mutex
	files []*handle
}

// keep takes what belongs at the file's end, at, total bytes that are not more than lateAppend; false when it must be written.
func (h *handle) keep(batches []batch.View, total, at int64) (bool, error) {
	l := h.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(l.n)+total > lateBytes {
		if err := h.write(); err != nil {
			return false, err
		}
	}
	if l.n == 0 {
		if l.all.held.Add(1) > lateFiles || !l.listed && !l.all.list(h) {
			l.all.held.Add(-1)
			return false, nil
		}
		l.listed = true
		l.buf, l.at = lateBuffers.Get().(*[lateBytes]byte), at
		l.from.Store(at)
	}
	for _, v := range batches {
		l.n += copy(l.buf[l.n:], v)
	}
	return true, nil
}

// list adds a file, and a reference to it.
func (c *latecomers) list(h *handle) bool {
	if !h.acquire() {
		return false
	}
	c.mu.Lock()
	c.files = append(c.files, h)
	c.mu.Unlock()
	return true
}

// write gives the file what is late. late.mu is held. On error it stays late.
func (h *handle) write() error {
	l := h.late
	if l.n == 0 {
		return nil
	}
	if _, err := h.File.WriteAt(l.buf[:l.n], l.at); err != nil {
		return err
	}
	l.forget()
	return nil
}

func (l *late) forget() {
	if l.n == 0 {
		return
	}
	lateBuffers.Put(l.buf)
	l.buf, l.n = nil, 0
	l.from.Store(noneLate)
	l.all.held.Add(-1)
}

// upTo makes the file hold everything below pos.
func (h *handle) upTo(pos int64) error {
	if h.late == nil || pos <= h.late.from.Load() {
		return nil
	}
	h.late.mu.Lock()
	defer h.late.mu.Unlock()
	return h.write()
}

// written is up to where the file holds everything that ends before end.
func (h *handle) written(end int64) int64 {
	if h.late == nil {
		return end
	}
	return min(end, h.late.from.Load())
}

// drop forgets what is late of a file that is about to go.
func (h *handle) drop() {
	if h.late == nil {
		return
	}
	h.late.mu.Lock()
	defer h.late.mu.Unlock()
	h.late.forget()
}

// write gives all files what was late when it was called.
func (c *latecomers) write() error {
	if bugLate {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	files := c.files
	c.files = nil
	c.mu.Unlock()
	var failed error
	for _, h := range files {
		h.late.mu.Lock()
		h.late.listed = false
		if err := h.write(); err != nil && failed == nil {
			failed = err
		}
		h.late.mu.Unlock()
		h.Release()
	}
	return failed
}

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.upTo(off + int64(len(p))); err != nil {
		return 0, err
	}
	return h.File.ReadAt(p, off)
}

// Truncate is vfs.File's.
func (h *handle) Truncate(size int64) error {
	if err := h.upTo(noneLate); err != nil {
		return err
	}
	return h.File.Truncate(size)
}

// Sync is vfs.File's.
func (h *handle) Sync() error {
	if err := h.upTo(noneLate); err != nil {
		return err
	}
	return h.File.Sync()
}
