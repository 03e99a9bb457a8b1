package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
)

// Crash is a file system in memory that can lose power. It knows for every
// file and directory what is durable and what is only volatile, keeps every
// mutating operation in order, and makes the file system that a machine would
// find after a power cut before any of them:
//
//	c := vfs.NewCrash()
//	… run the code under test on c …
//	for k := 0; k <= c.Ops(); k++ {
//		after := c.CutAt(k, vfs.Cut{Data: vfs.Shuffle, Names: vfs.Lose, Seed: seed})
//		… open on after, compare with what had been acknowledged by then …
//	}
//
// It is stricter than real file systems where POSIX is: syncing a file does
// not keep its name, nor does syncing a directory keep its files' bytes.
// A volume sync keeps everything. Safe for concurrent use.
type Crash struct {
	mu       sync.Mutex
	live     *tree
	start    *tree // as of operation 0, for replaying
	journal  []crashOp
	replayed *tree // as of operation replayedTo, so that ascending cuts cost little
	replayTo int
	locks    map[string]bool
	capacity int64 // 0: without limit
	noSyncFS bool
}

var _ FS = (*Crash)(nil)

// Fate decides what becomes of operations that no sync has covered.
type Fate int

const (
	// Keep keeps all of them: the process was killed, the machine was not.
	Keep Fate = iota
	// Lose loses all of them.
	Lose
	// Tear keeps a random prefix of each file's (or of all names') operations; the
	// last data write kept is cut at a random byte.
	Tear
	// Shuffle keeps or loses each on its own, so that later ones survive earlier
	// ones; a lost or torn write may still have grown the file (with zeros).
	Shuffle
)

// Cut says how the power goes.
type Cut struct {
	Data  Fate // writes and truncations that no sync covered
	Names Fate // creations, renames and removals that no sync covered
	Seed  uint64
}

// String names the cut for test output.
func (c Cut) String() string {
	names := [...]string{"keep", "lose", "tear", "shuffle"}
	return fmt.Sprintf("data-%s/names-%s/seed-%d", names[c.Data], names[c.Names], c.Seed)
}

// NewCrash is an empty file system with the directory "/".
func NewCrash() *Crash { return crashFrom(newTree()) }

func crashFrom(t *tree) *Crash {
	return &Crash{live: t, start: t.clone(), locks: make(map[string]bool)}
}

// SetCapacity limits the bytes in files; writers past it get ENOSPC after writing what fits. 0 lifts the limit.
func (c *Crash) SetCapacity(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.capacity = bytes
}

// WithoutVolumeSync makes volumes answer as on a platform without syncfs.
func (c *Crash) WithoutVolumeSync() *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noSyncFS = true
	return c
}

// Ops is the number of mutating operations so far, syncs included.
func (c *Crash) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.journal)
}

// Op describes operation k, for test output.
func (c *Crash) Op(k int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal[k].String()
}

// CutAt returns the file system after a power cut that let exactly the first k operations happen. Cheapest in ascending order of k.
func (c *Crash) CutAt(k int, cut Cut) *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k < 0 || k > len(c.journal) {
		panic(fmt.Sprintf("vfs: cut at operation %d of %d", k, len(c.journal)))
	}
	if c.replayed == nil || c.replayTo > k {
		c.replayed, c.replayTo = c.start.clone(), 0
	}
	for ; c.replayTo < k; c.replayTo++ {
		c.replayed.apply(c.journal[c.replayTo])
	}
	after := crashFrom(c.replayed.cut(cut, rand.New(rand.NewPCG(cut.Seed, uint64(k)))))
	after.noSyncFS = c.noSyncFS
	return after
}

// CutNow is CutAt after the last operation so far.
func (c *Crash) CutNow(cut Cut) *Crash { return c.CutAt(c.Ops(), cut) }

// FailWriteBack has the kernel try to write what is dirty, and fail: it takes it for clean from then on. Reads see it until
// it is forgotten (File.Forget), no sync writes it, and no power cut leaves anything of it but the files' sizes.
func (c *Crash) FailWriteBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.do(crashOp{kind: opFailWriteBack})
}

// do checks and applies an operation and remembers it.
func (c *Crash) do(op crashOp) {
	c.live.apply(op)
	c.journal = append(c.journal, op)
}

// Open implements FS.
func (c *Crash) Open(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.live.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return &crashFile{fs: c, node: n.id, name: name, readOnly: true}, nil
}

// OpenRW implements FS.
func (c *Crash) OpenRW(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, base, err := c.live.parent("open", name)
	if err != nil {
		return nil, err
	}
	id, ok := dir.names[base]
	if ok && c.live.nodes[id].dir {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	if !ok {
		id = c.live.nextID
		c.do(crashOp{kind: opCreate, dir: dir.id, name: base})
	}
	return &crashFile{fs: c, node: id, name: name}, nil
}

// Remove implements FS.
func (c *Crash) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remove(name)
}

func (c *Crash) remove(name string) error {
	dir, base, err := c.live.parent("remove", name)
	if err != nil {
		return err
	}
	id, ok := dir.names[base]
	if !ok {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if n := c.live.nodes[id]; n.dir && len(n.names) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	c.do(crashOp{kind: opRemove, dir: dir.id, name: base})
	return nil
}

// RemoveAll implements FS: an operation for each name, deepest first.
func (c *Crash) RemoveAll(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removeAll(name)
}

func (c *Crash) removeAll(name string) error {
	n, err := c.live.lookup("remove", name)
	if err != nil {
		return nil // nothing there
	}
	if n.dir {
		for _, child := range sortedNames(n.names) {
			if err := c.removeAll(path.Join(name, child)); err != nil {
				return err
			}
		}
	}
	return c.remove(name)
}

// Rename implements FS.
func (c *Crash) Rename(oldname, newname string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, oldBase, err := c.live.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, newBase, err := c.live.parent("rename", newname)
	if err != nil {
		return err
	}
	id, ok := from.names[oldBase]
	if !ok {
		return pathError("rename", oldname, fs.ErrNotExist)
	}
	if old, ok := to.names[newBase]; ok {
		if n := c.live.nodes[old]; n.dir && len(n.names) > 0 {
			return pathError("rename", newname, syscall.ENOTEMPTY)
		}
	}
	c.do(crashOp{kind: opRename, node: id, dir: from.id, name: oldBase, toDir: to.id, toName: newBase})
	return nil
}

// MkdirAll implements FS.
func (c *Crash) MkdirAll(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.live.nodes[rootID]
	for _, part := range splitPath(name) {
		id, ok := at.names[part]
		if !ok {
			id = c.live.nextID
			c.do(crashOp{kind: opMkdir, dir: at.id, name: part})
		}
		if at = c.live.nodes[id]; !at.dir {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
	}
	return nil
}

// ReadDir implements FS.
func (c *Crash) ReadDir(name string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.live.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	return sortedNames(n.names), nil
}

// Stat implements FS.
func (c *Crash) Stat(name string) (fs.FileInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.live.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return crashInfo{name: path.Base(name), size: int64(len(n.data)), dir: n.dir}, nil
}

// SyncDir implements FS.
func (c *Crash) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.live.lookup("open", name)
	if err != nil {
		return err
	}
	if !n.dir {
		return pathError("fsync", name, syscall.ENOTDIR)
	}
	c.do(crashOp{kind: opSyncDir, dir: n.id})
	return nil
}

// Lock implements FS. Locks die with a cut.
func (c *Crash) Lock(name string) (io.Closer, error) {
	f, err := c.OpenRW(name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.Join(splitPath(name), "/")
	if c.locks[key] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	c.locks[key] = true
	return &crashLock{File: f, fs: c, key: key}, nil
}

type crashLock struct {
	File
	fs   *Crash
	key  string
	once sync.Once
}

// Close lets go of the lock.
func (l *crashLock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.key)
	})
	return l.File.Close()
}

// OpenVolume implements FS.
func (c *Crash) OpenVolume(dir string) (Volume, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.live.lookup("open", dir); err != nil {
		return nil, err
	}
	return crashVolume{c}, nil
}

type crashVolume struct{ fs *Crash }

// Sync implements Volume.
func (v crashVolume) Sync() (bool, error) {
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	if v.fs.noSyncFS {
		return false, nil
	}
	v.fs.do(crashOp{kind: opSyncAll})
	return true, nil
}

// Whole implements Volume.
func (v crashVolume) Whole() bool {
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	return !v.fs.noSyncFS
}

// Covers implements Volume: there is only one.
func (v crashVolume) Covers(string) (bool, error) { return true, nil }

// Free implements Volume.
func (v crashVolume) Free() (int64, error) {
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	if v.fs.capacity == 0 {
		return 1 << 40, nil
	}
	return max(0, v.fs.capacity-v.fs.live.bytes()), nil
}

// Close implements Volume.
func (v crashVolume) Close() error { return nil }
