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
//
// What is used is the directory that lies at the path now: where a volume is
// mounted there, or taken away, after it was opened, it is opened anew.
type Dir struct {
	path string
	// writing is held by the one upload whose bytes are on their way to the disk, or that rests after it.
	writing sync.Mutex
	// share is what uploads may take of the disk's time (Yield); nil: all of it.
	share func() float64

	mu     sync.Mutex
	tree   *tree // the one that is open
	closed bool
}

// tree is the directory that an operation works in from its beginning to its end.
type tree struct {
	dir *Dir
	// root confines every path to the directory, symbolic links included. It is closed when another directory has taken the path: an
	// upload under way must not end in one that nobody will find.
	root *os.Root
	info fs.FileInfo
}

const (
	// temporary holds objects that are being written.
	temporary = ownPrefix + "tmp"
	// held ends the names of temporary files that their writer keeps locked: one that is not locked was left by a process that is dead.
	held = ".held"
	// abandoned is how long another temporary file lies untouched before its writer is taken for dead.
	abandoned = time.Hour
)

// errLocked says that a temporary file has a writer.
var errLocked = errors.New("file is locked")

// OpenDir opens a directory as a bucket and creates it when it is absent.
// Temporary files that a dead process left are removed.
func OpenDir(dir string) (*Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, &Error{Op: "open", Bucket: "dir:" + dir, Err: err}
	}
	d := &Dir{path: abs}
	if err := os.MkdirAll(abs, 0o777); err != nil {
		return nil, d.failOpen(err)
	}
	if d.tree, err = d.open(); err != nil {
		return nil, d.failOpen(err)
	}
	return d, nil
}

// failOpen is fail for the directory itself: that it is not there is no missing object.
func (d *Dir) failOpen(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "open", Bucket: d.URL(), Err: fmt.Errorf("%w: %w", ErrNoBucket, notNotExist{err}),
			Remedy: "no directory is at " + d.path + ", and none can be made there: correct the path, or mount its volume"}
	}
	return d.fail("open", "", err)
}

// notNotExist tells of an error, but does not match fs.ErrNotExist, which means a missing object here.
type notNotExist struct{ err error }

func (e notNotExist) Error() string { return e.err.Error() }

func (d *Dir) open() (*tree, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	t := &tree{dir: d, root: root}
	if t.info, err = root.Stat("."); err == nil {
		err = t.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return t, nil
}

// current returns the directory that lies at the path, opening it if it is not the one that is open. Asked before each operation,
// of which none is cheaper than the stat that it takes.
func (d *Dir) current() (*tree, error) {
	info, err := os.Stat(d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fs.ErrClosed
	}
	if err == nil && os.SameFile(info, d.tree.info) {
		return d.tree, nil
	}
	var t *tree
	if err == nil {
		t, err = d.open()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoBucket, notNotExist{err})
	}
	if err != nil {
		return nil, err
	}
	_ = d.tree.root.Close() // nothing was written through it
	d.tree = t
	return t, nil
}

// in runs an operation in the directory that lies at the path, once more where another one has taken the path meanwhile.
func (d *Dir) in(f func(t *tree) error) error {
	for {
		t, err := d.current()
		if err != nil {
			return err
		}
		if err = f(t); err == nil || !errors.Is(err, fs.ErrClosed) || !d.replaced(t) {
			return err
		}
	}
}

func (d *Dir) replaced(t *tree) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tree != t && !d.closed
}

// Yield has uploads ask what share of the disk's time, in (0, 1], they may take now, and leave it to others for the rest: to the broker whose
// log lies on the same disk. Beside an upload that takes all of it a small flush took 17 ms, 0.4 ms without (docs/performance.md). It is asked after
// each piece of half a MiB. Called before the first Put.
func (d *Dir) Yield(share func() float64) { d.share = share }

// prepare makes the directory of temporary files, and removes those whose writers are dead.
func (t *tree) prepare() error {
	if err := t.root.MkdirAll(temporary, 0o777); err != nil {
		return err
	}
	entries, err := t.readDir(temporary)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.removeDead(e); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (t *tree) removeDead(e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	name := path.Join(temporary, e.Name())
	dead := time.Since(info.ModTime()) >= abandoned
	if strings.HasSuffix(name, held) {
		f, err := t.root.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close() // after the removal: whoever has just made it, and gets the lock then, sees that it is gone
		switch err := lock(f); {
		case err == nil:
			dead = true
		case errors.Is(err, errLocked):
			dead = false
		}
	}
	if !dead {
		return nil
	}
	return t.root.Remove(name)
}

// create makes a temporary file, locked where the file system can: nobody takes it for a dead process's then.
func (t *tree) create() (f *os.File, name string, err error) {
	for suffix := held; ; {
		name = path.Join(temporary, rand.Text()+suffix)
		if f, err = t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666); err != nil || suffix == "" {
			return f, name, err
		}
		err = lock(f)
		if err == nil && t.exists(name) {
			return f, name, nil
		}
		if err != nil && !errors.Is(err, errLocked) {
			suffix = "" // no locks here: its age has to tell
		} // else somebody who looked for the dead was faster
		if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return nil, "", err
		}
	}
}

func (d *Dir) fail(op, key string, err error) error {
	e := &Error{Op: op, Bucket: d.URL(), Key: key, Err: err}
	switch {
	case errors.Is(err, ErrNoBucket):
		e.Remedy = "mount the volume of " + d.path + ", or create the directory"
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
	if err := d.in(func(t *tree) error { return t.put(ctx, key, body, size) }); err != nil {
		return d.fail("put", key, err)
	}
	return nil
}

func (t *tree) put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	f, temp, err := t.create()
	if err != nil {
		return err
	}
	if err = (&dirFile{f: f, dir: t.dir}).fill(ctx, body, size); err == nil {
		err = t.publish(temp, key)
	}
	if err != nil {
		if rmErr := t.root.Remove(temp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	// Not before: with it goes the lock.
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// publish renames a durable temporary file to its key and makes the name durable.
func (t *tree) publish(temp, key string) error {
	parent := path.Dir(key)
	for {
		if err := t.root.MkdirAll(parent, 0o777); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err := t.root.Rename(temp, key)
		if err == nil {
			break
		}
		// A Delete may take an emptied directory away between the two: once more.
		if !errors.Is(err, fs.ErrNotExist) || !t.exists(temp) {
			return err
		}
	}
	// All the way up: whoever created a directory on it may not have come to sync it yet.
	for dir := parent; ; dir = path.Dir(dir) {
		if err := t.syncDir(dir); err != nil || dir == "." {
			return err
		}
	}
}

func (t *tree) exists(name string) bool {
	_, err := t.root.Lstat(name)
	return err == nil
}

func (t *tree) syncDir(name string) error {
	f, err := t.root.Open(name)
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
	var body io.ReadCloser
	err := d.in(func(t *tree) (err error) {
		body, err = t.get(ctx, key, off, n)
		return err
	})
	if err != nil {
		return nil, d.fail("get", key, err)
	}
	return body, nil
}

func (t *tree) get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, err := t.root.Open(key)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err == nil {
		n, err = cut(info.Size(), off, n)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
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
	var info fs.FileInfo
	err := d.in(func(t *tree) (err error) {
		info, err = t.root.Stat(key)
		return err
	})
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
	var stop error        // f's own error, returned as it is
	t, err := d.current() // not tried again: f has seen some
	if err == nil {
		err = t.walk(ctx, dir, prefix, func(info Info) error {
			stop = f(info)
			return stop
		})
	}
	if stop != nil {
		return stop
	}
	if err != nil {
		return d.fail("list", prefix, err)
	}
	return nil
}

// walk visits the files below dir in the order of their keys' bytes.
func (t *tree) walk(ctx context.Context, dir, prefix string, f func(Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := t.readDir(dir)
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
			if err := t.walk(ctx, key, prefix, f); err != nil {
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

func (t *tree) readDir(name string) ([]fs.DirEntry, error) {
	f, err := t.root.Open(name)
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
	if err := d.in(func(t *tree) error { return t.remove(key) }); err != nil {
		return d.fail("delete", key, err)
	}
	return nil
}

func (t *tree) remove(key string) error {
	if info, err := t.root.Lstat(key); err == nil && info.IsDir() {
		return nil // part of other keys' paths, no object
	}
	err := t.root.Remove(key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	// Directories that became empty go too; the first that is not empty ends it.
	dir := path.Dir(key)
	for dir != "." && t.root.Remove(dir) == nil {
		dir = path.Dir(dir)
	}
	return t.syncDir(dir)
}

// URL is "dir:" and the absolute path.
func (d *Dir) URL() string { return "dir:" + d.path }

func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.tree.root.Close()
}
