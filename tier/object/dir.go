package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dir keeps objects as files of a directory: key a/b/c is the file a/b/c. An
// object appears by rename, whole and durable. Several processes may use one
// directory at once. A key that is also the beginning of another's path
// ("a" beside "a/b") cannot be kept; Qanat names none such.
type Dir struct {
	path string
	// root confines every path to the directory, symbolic links included.
	root *os.Root
	// writing is held by the one upload whose bytes are on their way to the disk, or that rests after it.
	writing sync.Mutex
	// share is what uploads may take of the disk's time (Yield); nil: all of it.
	share func() float64
}

const (
	// temporary holds objects that are being written.
	temporary = ownPrefix + "tmp"
	// abandoned is how long a temporary file lies untouched before its writer is taken for dead.
	abandoned = time.Hour
)

// OpenDir opens a directory as a bucket and creates it when it is absent.
// Temporary files that a dead process left are removed.
func OpenDir(dir string) (*Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, &Error{Op: "open", Bucket: "dir:" + dir, Err: err}
	}
	d := &Dir{path: abs}
	if err := os.MkdirAll(abs, 0o777); err != nil {
		return nil, d.fail("open", "", err)
	}
	if d.root, err = os.OpenRoot(abs); err != nil {
		return nil, d.fail("open", "", err)
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(d.fail("open", "", err), d.root.Close())
	}
	return d, nil
}

// Yield has uploads ask what share of the disk's time, in (0, 1], they may take now, and leave it to others for the rest: to the broker whose
// log lies on the same disk. Beside an upload that takes all of it a small flush took 17 ms, 0.4 ms without (docs/performance.md). It is asked after
// each piece of half a MiB. Called before the first Put.
func (d *Dir) Yield(share func() float64) { d.share = share }

func (d *Dir) prepare() error {
	if err := d.root.MkdirAll(temporary, 0o777); err != nil {
		return err
	}
	entries, err := d.readDir(temporary)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < abandoned {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.root.Remove(path.Join(temporary, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (d *Dir) fail(op, key string, err error) error {
	e := &Error{Op: op, Bucket: d.URL(), Key: key, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err = ErrNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Err = fmt.Errorf("%w: %w", ErrDenied, err)
		e.Remedy = "give this user read and write access to " + d.path
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Remedy = "free space on the volume of " + d.path
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		e.Remedy = "a file lies where a directory should, or the other way round"
	}
	return e
}

func (d *Dir) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := CheckKey(key); err != nil {
		return d.fail("put", key, err)
	}
	temp := path.Join(temporary, rand.Text())
	err := d.write(ctx, temp, body, size)
	if err == nil {
		err = d.publish(temp, key)
	}
	if err != nil {
		if rmErr := d.root.Remove(temp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		return d.fail("put", key, err)
	}
	return nil
}

// publish renames a durable temporary file to its key and makes the name durable.
func (d *Dir) publish(temp, key string) error {
	parent := path.Dir(key)
	for {
		if err := d.root.MkdirAll(parent, 0o777); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err := d.root.Rename(temp, key)
		if err == nil {
			break
		}
		// A Delete may take an emptied directory away between the two: once more.
		if !errors.Is(err, fs.ErrNotExist) || !d.exists(temp) {
			return err
		}
	}
	// All the way up: whoever created a directory on it may not have come to sync it yet.
	for dir := parent; ; dir = path.Dir(dir) {
		if err := d.syncDir(dir); err != nil || dir == "." {
			return err
		}
	}
}

func (d *Dir) exists(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

func (d *Dir) syncDir(name string) error {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed again: nothing in it to keep
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (d *Dir) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := errors.Join(CheckKey(key), checkRange(off), ctx.Err()); err != nil {
		return nil, d.fail("get", key, err)
	}
	f, err := d.root.Open(key)
	if err != nil {
		return nil, d.fail("get", key, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err == nil {
		n, err = cut(info.Size(), off, n)
	}
	if err != nil {
		return nil, errors.Join(d.fail("get", key, err), f.Close())
	}
	return &dirReader{contextReader{ctx, io.NewSectionReader(f, off, n)}, f}, nil
}

type dirReader struct {
	contextReader
	io.Closer
}

func (d *Dir) Head(ctx context.Context, key string) (Info, error) {
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return Info{}, d.fail("head", key, err)
	}
	info, err := d.root.Stat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		return Info{}, d.fail("head", key, err)
	}
	return Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

func (d *Dir) List(ctx context.Context, prefix string, f func(Info) error) error {
	// Only the directory part of the prefix can be looked up; the rest filters names.
	dir, _ := path.Split(prefix)
	if dir = strings.TrimSuffix(dir, "/"); dir == "" {
		dir = "."
	} else if CheckKey(dir) != nil {
		return nil // no key begins like this
	}
	var stop error // f's own error, returned as it is
	err := d.walk(ctx, dir, prefix, func(info Info) error {
		stop = f(info)
		return stop
	})
	if stop != nil {
		return stop
	}
	if err != nil {
		return d.fail("list", prefix, err)
	}
	return nil
}

// walk visits the files below dir in the order of their keys' bytes.
func (d *Dir) walk(ctx context.Context, dir, prefix string, f func(Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := d.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	// As a part of keys, a directory's name goes on with a slash: "a-b" sorts before "a/".
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	sort.Slice(entries, func(i, j int) bool { return name(entries[i]) < name(entries[j]) })
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), ownPrefix):
		case e.IsDir() && (strings.HasPrefix(key+"/", prefix) || strings.HasPrefix(prefix, key+"/")):
			if err := d.walk(ctx, key, prefix, f); err != nil {
				return err
			}
		case e.Type().IsRegular() && strings.HasPrefix(key, prefix):
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			if err := f(Info{Key: key, Size: info.Size(), Modified: info.ModTime()}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dir) readDir(name string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return entries, err
}

func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return d.fail("delete", key, err)
	}
	if info, err := d.root.Lstat(key); err == nil && info.IsDir() {
		return nil // part of other keys' paths, no object
	}
	err := d.root.Remove(key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return d.fail("delete", key, err)
	}
	// Directories that became empty go too; the first that is not empty ends it.
	dir := path.Dir(key)
	for dir != "." && d.root.Remove(dir) == nil {
		dir = path.Dir(dir)
	}
	if err := d.syncDir(dir); err != nil {
		return d.fail("delete", key, err)
	}
	return nil
}

// URL is "dir:" and the absolute path.
func (d *Dir) URL() string { return "dir:" + d.path }

func (d *Dir) Close() error { return d.root.Close() }
