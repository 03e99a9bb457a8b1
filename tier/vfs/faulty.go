package vfs

import (
	"errors"
	"io"
	"io/fs"
	"sync"
)

// Kind is the kind of an operation that Faulty can refuse.
type Kind string

// The operations by name.
const (
	KindOpen     Kind = "open"
	KindCreate   Kind = "create" // OpenRW
	KindRemove   Kind = "remove" // and RemoveAll
	KindRename   Kind = "rename"
	KindMkdir    Kind = "mkdir"
	KindReadDir  Kind = "readdir"
	KindStat     Kind = "stat"
	KindSyncDir  Kind = "syncdir"
	KindLock     Kind = "lock"
	KindRead     Kind = "read"
	KindWrite    Kind = "write" // WriteAt and WriteVAt
	KindTruncate Kind = "truncate"
	KindSync     Kind = "sync"
	KindSyncVol  Kind = "syncvolume"
)

// Op is an operation that is about to happen.
type Op struct {
	Kind Kind
	Path string
	Off  int64
	Len  int
	N    int // its number among all operations, from 1
	Nth  int // its number among those of its kind, from 1
}

// Partial is an error for writes that lets the first N bytes through before it fails.
type Partial struct {
	N   int
	Err error
}

// Error implements error.
func (p *Partial) Error() string { return p.Err.Error() }

// Unwrap leads to Err.
func (p *Partial) Unwrap() error { return p.Err }

// Faulty wraps a file system and asks a hook before each operation: an error
// refuses it, and a hook that blocks makes it slow. Safe for concurrent use;
// the hook is called without locks.
type Faulty struct {
	under FS

	mu     sync.Mutex
	hook   func(Op) error
	n      int
	counts map[Kind]int
}

var _ FS = (*Faulty)(nil)

// NewFaulty wraps under. Without a hook it only counts.
func NewFaulty(under FS) *Faulty { return &Faulty{under: under, counts: make(map[Kind]int)} }

// SetHook replaces the hook; nil lets everything pass.
func (f *Faulty) SetHook(hook func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// FailNth returns a hook that fails the nth operation of the kind from now on, and only that one.
func (f *Faulty) FailNth(kind Kind, n int, err error) func(Op) error {
	n += f.Count(kind)
	return func(op Op) error {
		if op.Kind == kind && op.Nth == n {
			return err
		}
		return nil
	}
}

// Count is how many operations of the kind there have been.
func (f *Faulty) Count(kind Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[kind]
}

func (f *Faulty) before(op Op) error {
	f.mu.Lock()
	f.n++
	f.counts[op.Kind]++
	op.N, op.Nth = f.n, f.counts[op.Kind]
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	if err := hook(op); err != nil {
		var partial *Partial
		if errors.As(err, &partial) {
			return partial
		}
		return pathError(string(op.Kind), op.Path, err)
	}
	return nil
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	if err := f.before(Op{Kind: KindOpen, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.under.Open(name))
}

// OpenRW implements FS.
func (f *Faulty) OpenRW(name string) (File, error) {
	if err := f.before(Op{Kind: KindCreate, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.under.OpenRW(name))
}

func (f *Faulty) wrap(name string) func(File, error) (File, error) {
	return func(file File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{File: file, fs: f, name: name}, nil
	}
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.before(Op{Kind: KindRemove, Path: name}); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// RemoveAll implements FS.
func (f *Faulty) RemoveAll(name string) error {
	if err := f.before(Op{Kind: KindRemove, Path: name}); err != nil {
		return err
	}
	return f.under.RemoveAll(name)
}

// Rename implements FS.
func (f *Faulty) Rename(oldname, newname string) error {
	if err := f.before(Op{Kind: KindRename, Path: oldname}); err != nil {
		return err
	}
	return f.under.Rename(oldname, newname)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(name string) error {
	if err := f.before(Op{Kind: KindMkdir, Path: name}); err != nil {
		return err
	}
	return f.under.MkdirAll(name)
}

// ReadDir implements FS.
func (f *Faulty) ReadDir(name string) ([]string, error) {
	if err := f.before(Op{Kind: KindReadDir, Path: name}); err != nil {
		return nil, err
	}
	return f.under.ReadDir(name)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.before(Op{Kind: KindStat, Path: name}); err != nil {
		return nil, err
	}
	return f.under.Stat(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(name string) error {
	if err := f.before(Op{Kind: KindSyncDir, Path: name}); err != nil {
		return err
	}
	return f.under.SyncDir(name)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.before(Op{Kind: KindLock, Path: name}); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// OpenVolume implements FS.
func (f *Faulty) OpenVolume(dir string) (Volume, error) {
	v, err := f.under.OpenVolume(dir)
	if err != nil {
		return nil, err
	}
	return &faultyVolume{Volume: v, fs: f, dir: dir}, nil
}

type faultyVolume struct {
	Volume
	fs  *Faulty
	dir string
}

// Sync implements Volume.
func (v *faultyVolume) Sync() (bool, error) {
	if err := v.fs.before(Op{Kind: KindSyncVol, Path: v.dir}); err != nil {
		return true, err
	}
	return v.Volume.Sync()
}

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

// ReadAt implements File.
func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.before(Op{Kind: KindRead, Path: f.name, Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// WriteAt implements File.
func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.before(Op{Kind: KindWrite, Path: f.name, Off: off, Len: len(p)}); err != nil {
		return f.some(err, [][]byte{p}, off)
	}
	return f.File.WriteAt(p, off)
}

// WriteVAt implements File.
func (f *faultyFile) WriteVAt(bufs [][]byte, off int64) error {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	if err := f.fs.before(Op{Kind: KindWrite, Path: f.name, Off: off, Len: n}); err != nil {
		_, err = f.some(err, bufs, off)
		return err
	}
	return f.File.WriteVAt(bufs, off)
}

// some writes what a Partial lets through and returns its error.
func (f *faultyFile) some(err error, bufs [][]byte, off int64) (int, error) {
	var partial *Partial
	if !errors.As(err, &partial) {
		return 0, err
	}
	done := 0
	for _, b := range bufs {
		b = b[:min(len(b), partial.N-done)]
		n, writeErr := f.File.WriteAt(b, off+int64(done))
		done += n
		if writeErr != nil {
			return done, writeErr
		}
	}
	return done, pathError("write", f.name, partial.Err)
}

// Truncate implements File.
func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.before(Op{Kind: KindTruncate, Path: f.name, Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Sync implements File.
func (f *faultyFile) Sync() error {
	if err := f.fs.before(Op{Kind: KindSync, Path: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}
