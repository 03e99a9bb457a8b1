package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// OS is the operating system's file system.
type OS struct{}

var _ FS = OS{}

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

// Open implements FS.
func (OS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

// OpenRW implements FS.
func (OS) OpenRW(name string) (File, error) { return openOS(name, os.O_RDWR|os.O_CREATE) }

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, filePerm)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, fd: int(f.Fd())}, nil
}

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll implements FS.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Rename implements FS.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// MkdirAll implements FS.
func (OS) MkdirAll(name string) error { return os.MkdirAll(name, dirPerm) }

// Stat implements FS.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", name, err)
	}
	return nil
}

// Lock implements FS. The file stays behind: removing it would let two
// processes hold locks on two files of one name.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		_ = f.Close() // the lock's failure is the news
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// OpenVolume implements FS.
func (OS) OpenVolume(dir string) (Volume, error) { return openVolume(dir) }

// osFile keeps the descriptor beside the file, because asking for it each time is not free.
// Callers close a file only when nobody uses it any more, so fd is never a stranger's.
type osFile struct {
	*os.File
	fd int
}

// Descriptor implements File.
func (f *osFile) Descriptor() (int, bool) { return f.fd, true }

// Size implements File.
func (f *osFile) Size() (int64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// writeEach is WriteVAt where there is no vectored write, or one buffer only.
func (f *osFile) writeEach(bufs [][]byte, off int64) error {
	for _, b := range bufs {
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}
