package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("file is locked by another process")

// FS is a file system. Errors satisfy errors.Is with io/fs's sentinels, and
// syscall.ENOSPC and syscall.EIO where those happened. Safe for concurrent use.
type FS interface {
	// Open opens for reading.
	Open(name string) (File, error)
	// OpenRW opens for reading and writing and creates the file when absent.
	OpenRW(name string) (File, error)
	Remove(name string) error
	// RemoveAll removes name and everything below it; a name that does not exist is no error.
	RemoveAll(name string) error
	// Rename replaces newname atomically. Durable after SyncDir of the parent.
	Rename(oldname, newname string) error
	MkdirAll(name string) error
	// ReadDir lists names in the directory, sorted.
	ReadDir(name string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, renames and removals in the directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock that dies with the process; a second
	// attempt, from any process, fails with ErrLocked at once.
	Lock(name string) (io.Closer, error)
	// OpenVolume opens the volume that holds dir, for flushing all of it.
	// It must be opened before the first write whose loss it is to report.
	OpenVolume(dir string) (Volume, error)
}

// Volume flushes a whole file system.
type Volume interface {
	// Sync makes everything written before the call durable: file data,
	// sizes, and directory entries. On Linux one syncfs. ok is false, and
	// nothing was done, where the platform has no such call or does not report
	// write-back errors through it; then sync the files one by one.
	Sync() (ok bool, err error)
	// Whole tells whether Sync does anything.
	Whole() bool
	// Covers tells whether dir lies on this volume, and not on one mounted below it.
	Covers(dir string) (bool, error)
	// Free is the space left for writers, in bytes.
	Free() (int64, error)
	Close() error
}

// File is an open file. ReadAt may be called by many goroutines at once and
// beside one writer.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WriteVAt writes the buffers one after another at off, with one vectored
	// write where the platform has it. On error, how much was written is undefined:
	// the caller truncates or overwrites.
	WriteVAt(bufs [][]byte, off int64) error
	Truncate(size int64) error
	// Allocate asks for room up to size bytes without changing the file's size;
	// a later Truncate gives back what was not used. Where the platform cannot
	// do that it does nothing.
	Allocate(size int64) error
	// WriteBack writes what is dirty in a range to the disk and waits for it, so that a later sync has less to do. It promises nothing.
	// Where the platform cannot do that it does nothing.
	WriteBack(off, n int64) error
	// Forget drops what is cached of the file and not dirty, so that reads see what the disk has: after a failed write-back the
	// cache holds, clean, what the disk does not. Where the platform cannot do that it does nothing.
	Forget() error
	// Sync makes data and size durable (fdatasync), though not the file's name.
	Sync() error
	Size() (int64, error)
	// Descriptor is the descriptor for sendfile; ok is false in memory.
	Descriptor() (fd int, ok bool)
}
