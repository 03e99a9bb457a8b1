package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// maxBuffers is IOV_MAX: more buffers in one call are refused.
const maxBuffers = 1024

// WriteVAt implements File with pwritev.
func (f *osFile) WriteVAt(bufs [][]byte, off int64) error {
	if len(bufs) == 1 {
		return f.writeEach(bufs, off)
	}
	for len(bufs) > 0 {
		n, err := unix.Pwritev(f.fd, bufs[:min(len(bufs), maxBuffers)], off)
		runtime.KeepAlive(f.File)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		if n == 0 {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrShortWrite}
		}
		off += int64(n)
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 { // cut in mid-buffer: finish that one, the rest stays as the caller gave it
			if _, err := f.WriteAt(bufs[0][n:], off); err != nil {
				return err
			}
			off += int64(len(bufs[0]) - n)
			bufs = bufs[1:]
		}
	}
	return nil
}

// Sync implements File with fdatasync.
func (f *osFile) Sync() error {
	for {
		err := unix.Fdatasync(f.fd)
		runtime.KeepAlive(f.File)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// Allocate implements File with fallocate; a file system that cannot do it is left alone.
func (f *osFile) Allocate(size int64) error {
	err := unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, 0, size)
	runtime.KeepAlive(f.File)
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return fmt.Errorf("allocate %d bytes for %s: %w", size, f.Name(), err)
}

// WriteBack implements File with sync_file_range.
func (f *osFile) WriteBack(off, n int64) error {
	err := unix.SyncFileRange(f.fd, off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	runtime.KeepAlive(f.File)
	if err == nil || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return &os.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
}

// Forget implements File with POSIX_FADV_DONTNEED.
func (f *osFile) Forget() error {
	err := unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)
	runtime.KeepAlive(f.File)
	if err == nil || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return &os.PathError{Op: "fadvise", Path: f.Name(), Err: err}
}
