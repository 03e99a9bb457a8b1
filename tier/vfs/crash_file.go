package vfs

import (
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// crashFile is an open file of a Crash. It goes on working after its name is removed.
type crashFile struct {
	fs       *Crash
	node     int
	name     string
	readOnly bool
	closed   atomic.Bool
}

// ReadAt implements File.
func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("read", false)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(n.data)) {
		return 0, io.EOF
	}
	done := copy(p, n.data[off:])
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// WriteAt implements File.
func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("write", true)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, fs.ErrInvalid)
	}
	fits := p
	if grows := off + int64(len(p)) - n.takes(); f.fs.capacity > 0 && grows > 0 {
		if short := f.fs.live.bytes() + grows - f.fs.capacity; short > 0 {
			fits = p[:max(0, int64(len(p))-short)]
		}
	}
	if len(fits) > 0 {
		f.fs.do(crashOp{kind: opWrite, node: f.node, off: off, data: slices.Clone(fits)})
	}
	if len(fits) < len(p) {
		return len(fits), pathError("write", f.name, syscall.ENOSPC)
	}
	return len(p), nil
}

// WriteVAt implements File: one operation, so that a cut tears it anywhere.
func (f *crashFile) WriteVAt(bufs [][]byte, off int64) error {
	_, err := f.WriteAt(slices.Concat(bufs...), off)
	return err
}

// Truncate implements File.
func (f *crashFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("truncate", true)
	if err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, fs.ErrInvalid)
	}
	n.room = 0
	f.fs.do(crashOp{kind: opTruncate, node: f.node, off: size})
	return nil
}

// Allocate implements File.
func (f *crashFile) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("allocate", true)
	if err != nil {
		return err
	}
	if f.fs.capacity > 0 && f.fs.live.bytes()+size-n.takes() > f.fs.capacity {
		return pathError("allocate", f.name, syscall.ENOSPC)
	}
	n.room = max(n.room, size)
	return nil
}

// Sync implements File.
func (f *crashFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if _, err := f.open("sync", false); err != nil {
		return err
	}
	f.fs.do(crashOp{kind: opSync, node: f.node})
	return nil
}

// Size implements File.
func (f *crashFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("stat", false)
	if err != nil {
		return 0, err
	}
	return int64(len(n.data)), nil
}

// Descriptor implements File.
func (f *crashFile) Descriptor() (int, bool) { return 0, false }

// Close implements File.
func (f *crashFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}

// open checks that the file may be used so. The file system's lock is held.
func (f *crashFile) open(op string, write bool) (*node, error) {
	if f.closed.Load() {
		return nil, pathError(op, f.name, fs.ErrClosed)
	}
	n := f.fs.live.nodes[f.node]
	if n.dir {
		return nil, pathError(op, f.name, syscall.EISDIR)
	}
	if write && f.readOnly {
		return nil, pathError(op, f.name, syscall.EBADF)
	}
	return n, nil
}

type crashInfo struct {
	name string
	size int64
	dir  bool
}

func (i crashInfo) Name() string       { return i.name }
func (i crashInfo) Size() int64        { return i.size }
func (i crashInfo) ModTime() time.Time { return time.Time{} }
func (i crashInfo) IsDir() bool        { return i.dir }
func (i crashInfo) Sys() any           { return nil }
func (i crashInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirPerm
	}
	return filePerm
}

// WriteBack implements File.
func (f *crashFile) WriteBack(int64, int64) error { return nil }

// Forget implements File: what FailWriteBack has left in the cache only is gone.
func (f *crashFile) Forget() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.open("forget", false)
	if err != nil {
		return err
	}
	n.data = slices.Clone(n.synced)
	for _, op := range n.pending {
		n.data = applyData(n.data, op)
	}
	return nil
}
