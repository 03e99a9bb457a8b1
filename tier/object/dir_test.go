package object

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// False if: temporary files of a dead process stay for ever, or those of a
// living one are removed under it, or either is ever listed.
func TestDirCleansUpAfterTheDead(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	dead, living := filepath.Join(dir, temporary, "dead"), filepath.Join(dir, temporary, "living")
	for _, name := range []string{dead, living} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(dead, long, long); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dead: %v", err)
	}
	if _, err := os.Stat(living); err != nil {
		t.Errorf("living: %v", err)
	}
	if err := again.List(t.Context(), "", func(i Info) error { return errors.New(i.Key) }); err != nil {
		t.Errorf("listed %v", err)
	}
}

// False if: what a killed process has left stays in the way of a start right after it, or an upload that another
// process has under way in the same directory loses its file to that start.
func TestDirRemovesWhatTheKilledLeft(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, killed, err := d.tree.create()
	if err != nil {
		t.Fatal(err)
	}
	if err := lock(f); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no locks here")
	}
	if err := f.Close(); err != nil { // the kernel does so
		t.Fatal(err)
	}
	began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { ended <- d.Put(t.Context(), "a/b", &slowBody{began: began, goOn: goOn}, 5) }()
	<-began
	again, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if d.tree.exists(killed) {
		t.Error("the killed process's file is there")
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("the upload under way: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a/b")); err != nil || string(got) != "bytes" {
		t.Errorf("it left %q, %v", got, err)
	}
	if rest, err := d.tree.readDir(temporary); err != nil || len(rest) > 0 {
		t.Errorf("temporary files: %v, %v", rest, err)
	}
}

// slowBody is "bytes", and tells when it is read first.
type slowBody struct {
	began, goOn chan struct{}
}

func (b *slowBody) ReadAt(p []byte, off int64) (int, error) {
	close(b.began)
	<-b.goOn
	return strings.NewReader("bytes").ReadAt(p, off)
}

// False if: objects of the directory that lies at the path now are not found because another one lay there before, as when a volume is mounted late;
// an upload under way ends in the one that is hidden; or a path at which nothing lies looks like a missing object.
func TestDirFollowsItsPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Rename(dir, dir+"-hidden"); err != nil {
		t.Fatal(err)
	}
	_, headErr := d.Head(t.Context(), "a/b")
	_, getErr := d.Get(t.Context(), "a/b", 0, -1)
	for verb, err := range map[string]error{
		"head": headErr, "get": getErr, "list": Check(t.Context(), d), "delete": d.Delete(t.Context(), "a/b"),
		"put": d.Put(t.Context(), "a/b", strings.NewReader("x"), 1),
	} {
		if !errors.Is(err, ErrNoBucket) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "mount") {
			t.Errorf("%s where no directory lies: %v", verb, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b"), []byte("bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := d.Head(t.Context(), "a/b"); err != nil || info.Size != 5 {
		t.Errorf("in the new directory: %+v, %v", info, err)
	}

	began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() { ended <- d.Put(t.Context(), "a/c", &againBody{slowBody{began: began, goOn: goOn}, 0}, 5) }()
	<-began
	if err := errors.Join(os.Rename(dir, dir+"-hidden-too"), os.Mkdir(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Head(t.Context(), "a/b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an object of the hidden directory: %v", err)
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("the upload under way: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a/c")); err != nil || string(got) != "bytes" {
		t.Errorf("it left %q, %v", got, err)
	}
}

// againBody is slowBody, which can be read once more.
type againBody struct {
	slowBody
	reads int
}

func (b *againBody) ReadAt(p []byte, off int64) (int, error) {
	if b.reads++; b.reads == 1 {
		return b.slowBody.ReadAt(p, off)
	}
	return strings.NewReader("bytes").ReadAt(p, off)
}

// False if: a symbolic link in the directory leads out of it.
func TestDirDoesNotFollowLinksOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if body, err := d.Get(t.Context(), "link/secret", 0, -1); err == nil {
		body.Close()
		t.Error("read through the link")
	}
	if err := d.Put(t.Context(), "link/more", strings.NewReader("x"), 1); err == nil {
		t.Error("wrote through the link")
	}
	if err := d.Delete(t.Context(), "link/secret"); err == nil {
		t.Error("deleted through the link")
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
}

// False if: objects are anything but plain files named by their keys, or empty directories pile up.
func TestDirIsReadableByPeople(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Put(t.Context(), "cluster/topic/0/segment", strings.NewReader("bytes"), 5); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "cluster/topic/0/segment")); err != nil || string(got) != "bytes" {
		t.Errorf("%q, %v", got, err)
	}
	if err := d.Delete(t.Context(), "cluster/topic/0/segment"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cluster")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directories stay: %v", err)
	}
}

// False if: a directory that cannot be used is found out only at the first upload.
func TestOpenDirSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v", err)
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		return // no place is known where no directory can be made
	}
	if _, err := OpenDir("/proc/bucket"); !errors.Is(err, ErrNoBucket) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "none can be made") {
		t.Errorf("a place where none can be made: %v", err)
	}
}
