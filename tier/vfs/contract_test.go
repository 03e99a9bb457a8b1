package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// systems are the implementations that must all behave alike; each comes with a root of its own.
func systems(t *testing.T) map[string]func(*testing.T) (FS, string) {
	inMemory := func(wrap func(*Crash) FS) func(*testing.T) (FS, string) {
		return func(t *testing.T) (FS, string) {
			c := NewCrash()
			if err := c.MkdirAll("/root"); err != nil {
				t.Fatal(err)
			}
			return wrap(c), "/root"
		}
	}
	return map[string]func(*testing.T) (FS, string){
		"os":     func(t *testing.T) (FS, string) { return OS{}, t.TempDir() },
		"crash":  inMemory(func(c *Crash) FS { return c }),
		"faulty": inMemory(func(c *Crash) FS { return NewFaulty(c) }),
		"cut":    inMemory(func(c *Crash) FS { return c.CutNow(Cut{}) }),
	}
}

// False if it failed: "code that works on one of the file systems works on the others".
func TestContract(t *testing.T) {
	tests := map[string]func(*contract){
		"files": (*contract).files, "vectored": (*contract).vectored, "names": (*contract).names,
		"unlinked": (*contract).unlinked, "errors": (*contract).errors, "lock": (*contract).lock, "volume": (*contract).volume,
	}
	for system, open := range systems(t) {
		for name, test := range tests {
			t.Run(system+"/"+name, func(t *testing.T) {
				fsys, root := open(t)
				test(&contract{t, fsys, root})
			})
		}
	}
}

type contract struct {
	*testing.T
	fs   FS
	root string
}

func (c *contract) path(name string) string { return filepath.Join(c.root, name) }

func (c *contract) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *contract) create(name, content string) File {
	c.Helper()
	f, err := c.fs.OpenRW(c.path(name))
	c.must(err)
	_, err = f.WriteAt([]byte(content), 0)
	c.must(err)
	return f
}

func (c *contract) wantContent(f File, want string) {
	c.Helper()
	size, err := f.Size()
	c.must(err)
	p := make([]byte, size)
	n, err := f.ReadAt(p, 0)
	if err != nil && err != io.EOF || string(p[:n]) != want {
		c.Fatalf("content %q, %v, want %q", p[:n], err, want)
	}
}

func (c *contract) wantNames(dir string, want ...string) {
	c.Helper()
	names, err := c.fs.ReadDir(c.path(dir))
	c.must(err)
	if !slices.Equal(names, want) {
		c.Fatalf("names %q, want %q", names, want)
	}
}

func (c *contract) files() {
	f := c.create("f", "hello")
	again, err := c.fs.OpenRW(c.path("f")) // does not empty it
	c.must(err)
	c.wantContent(again, "hello")
	_, err = f.WriteAt([]byte("J"), 7) // leaves a hole of zeros
	c.must(err)
	c.wantContent(again, "hello\x00\x00J")
	c.must(f.Truncate(3))
	c.must(f.Truncate(5))
	c.wantContent(again, "hel\x00\x00")
	c.must(f.Allocate(1 << 20))
	c.wantContent(again, "hel\x00\x00")
	c.must(f.Sync())
	if n, err := f.ReadAt(make([]byte, 10), 2); n != 3 || err != io.EOF {
		c.Fatalf("read past the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 1), 5); n != 0 || err != io.EOF {
		c.Fatalf("read at the end: %d, %v", n, err)
	}
	c.must(again.Close())
	c.must(f.Close())
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		c.Fatalf("read of a closed file: %v", err)
	}
	info, err := c.fs.Stat(c.path("f"))
	c.must(err)
	if info.Size() != 5 || info.IsDir() || info.Name() != "f" {
		c.Fatalf("stat: %v", info)
	}
}

func (c *contract) vectored() {
	f := c.create("f", "")
	var bufs [][]byte
	var want []byte
	for i := range 2500 { // more than one call takes
		b := []byte{byte(i), byte(i >> 8), 7}[:i%4]
		bufs, want = append(bufs, b), append(want, b...)
	}
	c.must(f.WriteVAt(bufs, 2))
	c.wantContent(f, "\x00\x00"+string(want))
	c.must(f.WriteVAt([][]byte{[]byte("ab")}, 0))
	c.must(f.WriteVAt(nil, 0))
	c.wantContent(f, "ab"+string(want))
	c.must(f.Close())
}

func (c *contract) names() {
	c.must(c.fs.MkdirAll(c.path("d/e")))
	c.must(c.fs.MkdirAll(c.path("d/e")))
	c.must(c.create("d/b", "b").Close())
	c.must(c.create("d/a", "a").Close())
	c.wantNames("d", "a", "b", "e")
	c.must(c.fs.Rename(c.path("d/a"), c.path("d/b"))) // replaces
	c.wantNames("d", "b", "e")
	f, err := c.fs.Open(c.path("d/b"))
	c.must(err)
	c.wantContent(f, "a")
	c.must(f.Close())
	c.must(c.fs.Rename(c.path("d"), c.path("x")))
	c.wantNames("x", "b", "e")
	c.must(c.fs.SyncDir(c.path("x")))
	if err := c.fs.Remove(c.path("x")); err == nil {
		c.Fatal("a directory that is not empty was removed")
	}
	c.must(c.fs.RemoveAll(c.path("x")))
	c.must(c.fs.RemoveAll(c.path("x")))
	c.wantNames("")
}

func (c *contract) unlinked() {
	f := c.create("f", "still here")
	c.must(c.fs.Remove(c.path("f")))
	c.wantContent(f, "still here")
	g := c.create("f", "another")
	c.wantContent(f, "still here")
	c.must(errors.Join(f.Close(), g.Close()))
}

func (c *contract) errors() {
	missing := c.path("no/such")
	_, openErr := c.fs.Open(missing)
	_, createErr := c.fs.OpenRW(missing)
	_, statErr := c.fs.Stat(missing)
	_, listErr := c.fs.ReadDir(missing)
	for what, err := range map[string]error{
		"open": openErr, "create": createErr, "stat": statErr, "list": listErr,
		"remove": c.fs.Remove(missing), "rename": c.fs.Rename(missing, c.path("x")), "sync": c.fs.SyncDir(missing),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			c.Errorf("%s: %v", what, err)
		}
	}
	c.must(c.create("f", "x").Close())
	f, err := c.fs.Open(c.path("f"))
	c.must(err)
	if _, err := f.WriteAt([]byte("y"), 0); err == nil {
		c.Error("a file opened for reading was written")
	}
	c.must(f.Close())
	if err := c.fs.MkdirAll(c.path("f/g")); err == nil {
		c.Error("a directory below a file")
	}
}

func (c *contract) lock() {
	lock, err := c.fs.Lock(c.path("lock"))
	c.must(err)
	if _, err := c.fs.Lock(c.path("lock")); !errors.Is(err, ErrLocked) {
		c.Fatalf("second lock: %v", err)
	}
	c.must(lock.Close())
	again, err := c.fs.Lock(c.path("lock"))
	c.must(err)
	c.must(again.Close())
}

func (c *contract) volume() {
	v, err := c.fs.OpenVolume(c.root)
	c.must(err)
	f := c.create("f", "x")
	if _, err := v.Sync(); err != nil {
		c.Fatal(err)
	}
	if ok, err := v.Covers(c.root); !ok || err != nil {
		c.Fatalf("covers: %v, %v", ok, err)
	}
	if free, err := v.Free(); free <= 0 || err != nil {
		c.Fatalf("free: %d, %v", free, err)
	}
	c.must(errors.Join(f.Close(), v.Close()))
}

// False if it failed: "a directory on another file system is not taken for covered by the volume's flush".
func TestVolumeCovers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux flushes volumes")
	}
	v, err := OS{}.OpenVolume(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := v.Covers("/proc"); ok || err != nil {
		t.Fatalf("/proc: %v, %v", ok, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}
