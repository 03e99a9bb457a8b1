package hot

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// handle is an open file and who still uses it. It is closed when the last one
// lets go, so that a run may be sent while its segment is deleted or the log closed.
// It is a batch.FileView and a batch.Holder, so that a Run costs no allocation.
type handle struct {
	vfs.File
	refs atomic.Int64 // 0: closed for good
	log  *slog.Logger
	late *late // of an active segment's, where there is a journal; see late.go
}

func newHandle(f vfs.File, log *slog.Logger) *handle {
	h := &handle{File: f, log: log}
	h.refs.Store(1)
	return h
}

// newTailFile is a handle for a file that is appended to.
func (l *Log) newTailFile(f vfs.File) *handle {
	h := newHandle(f, l.env.Log)
	if l.env.Flusher.journal != nil {
		h.late = &late{all: &l.env.Flusher.late}
		h.late.from.Store(noneLate)
	}
	return h
}

// acquire takes a reference; it fails when the file is closed already.
func (h *handle) acquire() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release implements batch.Holder.
func (h *handle) Release() {
	switch n := h.refs.Add(-1); {
	case n == 0:
		if err := h.File.Close(); err != nil {
			h.log.Warn("close segment", "error", err)
		}
	case n < 0:
		panic("hot: a segment's file was released twice")
	}
}

// localSegment is one file of batches. The last one of a log is active: its
// size and facts grow, and its tail knows more (tail.go). The others are
// sealed: next, size and bytes never change again.
type localSegment struct {
	base kafka.Offset

	next   atomic.Int64 // the offset after the last; of the active one, as last published
	size   atomic.Int64
	sealed atomic.Bool
	bad    atomic.Bool           // condemned: see Check
	gone   atomic.Bool           // rewritten: its file's name may be another's
	facts  atomic.Pointer[facts] // of a sealed one; nil until somebody asked

	// entries is the index while it is in the cache of recent ones; nil: ask index.Index.
	entries atomic.Pointer[[]segment.IndexEntry]
	hints   [4]atomic.Pointer[border] // borders where earlier reads ended
	hintAt  atomic.Uint32
	repeats repeats

	mu   sync.Mutex // guards path, opening, and scanning for entries
	path string
	file atomic.Pointer[handle]
}

// border is where a batch begins, or the last one ends.
type border struct {
	offset kafka.Offset
	pos    int64
}

func newSegment(dir string, base kafka.Offset) *localSegment {
	s := &localSegment{base: base, path: filepath.Join(dir, fileName(base, logSuffix))}
	s.next.Store(int64(base))
	return s
}

// acquire returns the open file, opening it when nobody has it open. The caller releases it. Of a condemned segment there is none.
func (s *localSegment) acquire(env *Env) (*handle, error) {
	if s.bad.Load() {
		return nil, errCondemned
	}
	if h := s.file.Load(); h != nil && h.acquire() {
		return h, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.file.Load(); h != nil && h.acquire() {
		return h, nil
	}
	f, err := s.open(env.FS.Open)
	if err != nil {
		return nil, err
	}
	h := newHandle(f, env.Log)
	s.file.Store(h)
	return h, nil
}

// open opens the segment's file, which is no other's: whoever rewrites it says so before the name changes hands. mu is held.
func (s *localSegment) open(open func(string) (vfs.File, error)) (vfs.File, error) {
	f, err := open(s.path)
	if s.gone.Load() {
		if err == nil {
			err = f.Close()
		}
		return nil, errors.Join(errReplaced, err)
	}
	return f, err
}

// seal ends the segment at b.
func (s *localSegment) seal(b border, f facts) {
	s.size.Store(b.pos)
	s.next.Store(int64(b.offset))
	s.facts.Store(&f)
	s.sealed.Store(true)
}

// repeats notices that the same place is read again and again, as by a client whose checksum says that it is damaged.
type repeats struct{ last, times atomic.Int64 }

// suspicious is how many reads of one place in a row make somebody look.
const suspicious = 16

func (r *repeats) read(from kafka.Offset) (look bool) {
	if r.last.Load() != int64(from) {
		r.last.Store(int64(from))
		r.times.Store(0)
		return false
	}
	return r.times.Add(1)%suspicious == 0
}

// hint remembers a border.
func (s *localSegment) hint(b border) {
	s.hints[s.hintAt.Add(1)%uint32(len(s.hints))].Store(&b)
}

// hinted finds a remembered border exactly at offset.
func (s *localSegment) hinted(offset kafka.Offset) (border, bool) {
	if offset == s.base {
		return border{offset: offset}, true
	}
	for i := range s.hints {
		if b := s.hints[i].Load(); b != nil && b.offset == offset {
			return *b, true
		}
	}
	return border{}, false
}

// readFull fills p from r; the end of the file before that is io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
