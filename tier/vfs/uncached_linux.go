package vfs

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// uncachedFile is a file opened with O_DIRECT.
type uncachedFile struct {
	*osFile
	mu     sync.Mutex
	blocks blocks
}

const uncachedBuffer = 1 << 20

// OpenUncached reads with O_DIRECT. Some file systems (tmpfs, for one) do not know it.
func (o OS) OpenUncached(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, filePerm)
	if errors.Is(err, unix.EINVAL) {
		return o.Open(name)
	}
	if err != nil {
		return nil, err
	}
	u := &uncachedFile{osFile: &osFile{File: f, fd: int(f.Fd())}}
	u.blocks = blocks{read: u.pread, buf: Aligned(uncachedBuffer)}
	return u, nil
}

// ReadAt implements File.
func (u *uncachedFile) ReadAt(p []byte, off int64) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.blocks.readAt(p, off)
}

// pread is one read: os.File's would go on behind the end of the file, where nothing is aligned.
func (u *uncachedFile) pread(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(u.fd, p, off)
		runtime.KeepAlive(u.File)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "pread", Path: u.Name(), Err: err}
		}
		return n, nil
	}
}
