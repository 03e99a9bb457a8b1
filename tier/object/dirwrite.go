package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	// leastShare keeps uploads going, whatever Dir.Yield is told.
	leastShare = 0.01
	// dirStep is written at a time, past the page cache, by one upload at a time: so
	// much can lie in the disk's queue before a flush that the log waits for. A disk
	// reaches its full bandwidth with writes of this size, one after the other.
	dirStep = 512 << 10
	// dirBlock is what place and length of a direct write, and its memory, are multiples of.
	// It suffices for every disk; a file system that asks for more refuses, and is written to in the common way.
	dirBlock = 4 << 10
	// dirSyncEvery bounds, where direct writes are not to be had, how much unwritten data an
	// upload leaves to the kernel at once, so that a flush of the same volume by the log
	// never has to wait for a whole object.
	dirSyncEvery = 4 << 20
	// longestStep is as long as a direct write counts for the rest that follows it.
	longestStep = 2 * time.Millisecond
)

var dirBuffers = sync.Pool{New: func() any {
	p := make([]byte, dirStep+dirBlock)
	skip := -uintptr(unsafe.Pointer(&p[0])) & (dirBlock - 1)
	p = p[skip : skip+dirStep : skip+dirStep]
	return &p
}}

// dirFile is an object's file while it is written, front to back.
//
// An object is written once and read seldom and late, often beside a log whose
// flushes make producers wait. So its bytes go to the disk at once and leave
// nothing in the page cache: no dirty pages that the next flush of the volume
// would have to write, no clean ones in the place of pages that consumers read,
// and half the processor time. (copy_file_range saves the way through this
// process, but not the page cache; measured, it costs twice as much.)
type dirFile struct {
	f        *os.File
	dir      *Dir
	direct   bool  // the descriptor writes past the page cache
	at       int64 // bytes written
	unsynced int64 // of those, bytes that may still be dirty
}

// fill writes the body and makes it durable.
func (w *dirFile) fill(ctx context.Context, body io.ReaderAt, size int64) error {
	buf := dirBuffers.Get().(*[]byte)
	defer dirBuffers.Put(buf)
	w.direct = size >= dirStep && setDirect(w.f, true) == nil
	for w.at < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := (*buf)[:min(dirStep, size-w.at)]
		if n, err := body.ReadAt(p, w.at); n < len(p) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read body: %d of %d bytes: %w", w.at+int64(n), size, err)
		}
		if err := w.append(p); err != nil {
			return err
		}
	}
	// Also behind direct writes: the file's size, and the disk's own cache.
	return errors.Join(ctx.Err(), w.f.Sync())
}

// append writes p behind what is written.
func (w *dirFile) append(p []byte) error {
	if w.direct {
		n, err := w.yielding(p[:len(p)&^(dirBlock-1)])
		w.at += int64(n)
		p = p[n:]
		if err != nil && !errors.Is(err, syscall.EINVAL) {
			return err
		}
		if len(p) == 0 {
			return nil
		}
		// The object's end, or a file system that does not write this directly after all.
		if err := setDirect(w.f, false); err != nil {
			return err
		}
		w.direct = false
	}
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	w.unsynced += int64(n)
	if err != nil || w.unsynced < dirSyncEvery {
		return err
	}
	w.unsynced = 0
	return w.f.Sync()
}

// yielding writes p directly, in its turn, and then leaves the disk alone for so long that uploads have
// their share of its time and no more (Dir.Yield).
func (w *dirFile) yielding(p []byte) (int, error) {
	d := w.dir
	d.writing.Lock()
	defer d.writing.Unlock()
	began := time.Now()
	n, err := w.f.WriteAt(p, w.at)
	if d.share != nil {
		time.Sleep(rest(time.Since(began), d.share()))
	}
	return n, err
}

// rest is how long to leave the disk alone after a write that took so long. A disk on which every write takes long has no
// time left: uploads that rested as long as they wrote there would fall behind what is produced for ever, so a write counts for longestStep at most.
func rest(took time.Duration, share float64) time.Duration {
	if share >= 1 {
		return 0
	}
	return time.Duration(float64(min(took, longestStep)) * (1/max(share, leastShare) - 1))
}
