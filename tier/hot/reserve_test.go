package hot

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/qanat-io/qanat/tier/vfs"
)

// rooms is a file system that remembers up to where room was asked for a segment, and what one was cut to last.
type rooms struct {
	vfs.FS
	asked, cut atomic.Int64
}

func (r *rooms) OpenRW(name string) (vfs.File, error) {
	f, err := r.FS.OpenRW(name)
	if err != nil || filepath.Ext(name) != logSuffix {
		return f, err
	}
	return roomyFile{f, r}, nil
}

type roomyFile struct {
	vfs.File
	of *rooms
}

func (f roomyFile) Allocate(size int64) error { f.of.asked.Store(size); return f.File.Allocate(size) }
func (f roomyFile) Truncate(size int64) error { f.of.cut.Store(size); return f.File.Truncate(size) }

// False if it failed: "room is reserved ahead of a segment that grows, never far ahead, none for one that does not, and
// what is not used is given back when the segment ends or the log is closed".
func TestRoomAhead(t *testing.T) {
	const size = 64 << 10
	fsys := &rooms{FS: vfs.NewCrash()}
	w := newWorld(t, fsys, Config{SegmentBytes: 8 << 20})
	end := func() int64 { return w.log.view.Load().tail.end.pos }
	for end() < 1<<20 {
		w.append(1, size)
	}
	if n := fsys.asked.Load(); n != 0 {
		t.Errorf("%d bytes reserved for a log of %d", n, end())
	}
	for end() < 7<<20 {
		w.append(1, size)
		if ahead := fsys.asked.Load() - end(); ahead < 0 || ahead > max(1<<20, end()/4) || fsys.asked.Load() > 8<<20 {
			t.Fatalf("%d bytes reserved ahead of %d", ahead, end())
		}
	}
	ended := end()
	w.must(w.log.Roll())
	if n := fsys.cut.Load(); n != ended {
		t.Errorf("a sealed segment of %d bytes was cut to %d", ended, n)
	}
	for end() < 2<<20 {
		w.append(1, size)
	}
	before := content(t, w.log, 1<<20)
	ended = end()
	w.must(w.log.Close())
	if n := fsys.cut.Load(); n != ended {
		t.Errorf("a closed log's segment of %d bytes was cut to %d", ended, n)
	}
	w.restart(Config{SegmentBytes: 8 << 20})
	if !sameBatches(content(t, w.log, 1<<20), before) {
		t.Error("what is read is not what was appended")
	}
}
