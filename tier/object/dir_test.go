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
}
