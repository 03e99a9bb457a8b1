package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Decisions.
var (
	// ErrDamaged says that frames which were durable cannot be read: what they held may be missing in the files.
	ErrDamaged = errors.New("journal is damaged (where others have the partitions, empty the data directory; alone, move the file away, which may lose the last seconds before a crash)")
	// ErrNewer says that a later release wrote the journal.
	ErrNewer = errors.New("journal was written by a later release")
	// ErrNone says that there is no journal and that none can be made (on a full disk, say): nothing durable is in one.
	ErrNone = errors.New("there is no journal")
)

// Record is bytes of a log's segment, and where they lie.
type Record struct {
	Partition kafka.Partition
	Segment   kafka.Offset // its base
	Pos       int64        // in its file
	Bytes     []byte
}

// Config is the journal's settings. The zero value of each means the default beside it.
type Config struct {
	FirstBytes int64 // 2 MiB: of each half, to begin with
	MaxBytes   int64 // 32 MiB: of each half, once it was needed
	FrameBytes int   // 1 MiB: staged at most; of one append a sixteenth
}

func (c Config) withDefaults() Config {
	if c.FirstBytes == 0 {
		c.FirstBytes = 2 << 20
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 32 << 20
	}
	if c.FrameBytes == 0 {
		c.FrameBytes = 1 << 20
	}
	c.MaxBytes = max(c.MaxBytes, c.FirstBytes)
	return c
}

// Journal is described at the package. Stage is safe for concurrent use; everything else is for one goroutine at a time, but for what
// says otherwise.
type Journal struct {
	cfg    Config
	fs     vfs.FS
	log    *slog.Logger
	halves [2]*half
	at     int    // the half that is written to
	next   uint64 // generation of the half that is retired next
	seq    uint64 // of the next frame in halves[at]
	holds  atomic.Bool

	mu     sync.Mutex // guards staged
	staged *frame
	spare  *frame
}

// Open opens the journal in dir, or makes one. Replay must follow, then Retire.
//
// Errors: ErrNone, with which one can do without. After any other what is durable may be in the journal only: to go on would lose
// it, and a later replay would write it over what has been appended in its place.
func Open(fsys vfs.FS, dir string, cfg Config, log *slog.Logger) (*Journal, error) {
	j := &Journal{cfg: cfg.withDefaults(), fs: fsys, log: log, next: 1}
	var failed error
	none := true
	for i := range j.halves {
		h, err := openHalf(fsys, dir, name(i), j.cfg.FirstBytes)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("open journal %s: %w", filepath.Join(dir, name(i)), err))
			none = none && errors.Is(err, errNotMade)
			continue
		}
		none = none && !h.used()
		j.halves[i] = h
		j.next = max(j.next, h.generation+1)
	}
	if failed != nil {
		failed = errors.Join(failed, j.Close())
		if none {
			return nil, fmt.Errorf("%w: %w", ErrNone, failed)
		}
		return nil, failed
	}
	if j.halves[1].generation < j.halves[0].generation {
		j.at = 1
	}
	j.staged, j.spare = newFrame(j.cfg.FrameBytes), newFrame(j.cfg.FrameBytes)
	j.note()
	return j, nil
}

// Exists tells whether there is a journal in dir, or half of one.
func Exists(fsys vfs.FS, dir string) (bool, error) {
	for i := range 2 {
		if _, err := fsys.Stat(filepath.Join(dir, name(i))); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

func name(half int) string { return fmt.Sprintf("journal.%d", half) }

// note publishes whether there are frames.
func (j *Journal) note() { j.holds.Store(j.halves[0].used() || j.halves[1].used()) }

// Holds tells whether a replay would do anything. Safe for concurrent use.
func (j *Journal) Holds() bool { return j.holds.Load() }

// Replay calls apply with every record that a crash may have left in the journal only, oldest first. A record's bytes are its own until apply returns.
func (j *Journal) Replay(apply func(Record) error) error {
	for _, h := range j.oldestFirst() {
		if err := h.replay(apply); err != nil {
			return fmt.Errorf("replay %s: %w", h.path, err)
		}
	}
	return nil
}

func (j *Journal) oldestFirst() [2]*half {
	if j.halves[0].generation > j.halves[1].generation {
		return [2]*half{j.halves[1], j.halves[0]}
	}
	return j.halves
}

// Stage has bytes that were written at pos of a segment made durable by the next Write. It returns false when they are too many: then only a sync of
// all files makes them durable.
func Stage[B ~[]byte](j *Journal, p kafka.Partition, segment kafka.Offset, pos int64, bytes []B) bool {
	n := 0
	for _, b := range bytes {
		n += len(b)
	}
	if n > j.cfg.FrameBytes/16 { // large appends are better flushed where they are
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.staged.begin(p, segment, pos, n) {
		return false
	}
	for _, b := range bytes {
		j.staged.buf = append(j.staged.buf, b...)
	}
	return true
}

// Drop forgets what is staged: a sync of all files begins.
func (j *Journal) Drop() { j.swap().reset() }

// swap takes the staged frame. It is good until the next swap.
func (j *Journal) swap() *frame {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.staged
	j.staged, j.spare = j.spare, f
	j.staged.reset()
	return f
}

// Write makes durable what is staged, and returns how many bytes it took. n is negative when there is no room: then it is forgotten, and the caller
// syncs all files. turned says that the other half is full now, and wants to be cleaned.
func (j *Journal) Write() (n int64, turned bool, err error) {
	f := j.swap()
	defer f.reset()
	if f.empty() {
		return 0, false, nil
	}
	n = f.padded()
	if !j.halves[j.at].fits(n) {
		if turned, err = j.turn(n); !turned || err != nil {
			return -1, false, err
		}
	}
	if err := j.halves[j.at].add(f, j.seq); err != nil {
		return -1, turned, err
	}
	j.seq++
	j.holds.Store(true)
	return n, turned, nil
}

// turn goes on in the other half, if a frame of n bytes has room there.
func (j *Journal) turn(n int64) (ok bool, err error) {
	full, other := j.halves[j.at], j.halves[1-j.at]
	if other.used() || !other.fits(n) {
		return false, nil
	}
	if other.generation <= full.generation { // a replay goes by them
		if err := j.retire(other); err != nil {
			return false, err
		}
	}
	j.at, j.seq = 1-j.at, 0
	return true, nil
}

// Crowded tells that there is not much room left: a sync of all files that has just been made should be followed by Retire.
func (j *Journal) Crowded() bool {
	h := j.halves[j.at]
	return j.halves[1-j.at].used() || h.end > h.size.Load()/2
}

// Retire makes all frames void, durably. All files have been synced since they were staged.
func (j *Journal) Retire() error {
	for _, h := range j.oldestFirst() {
		if h.used() {
			if err := j.retire(h); err != nil {
				return err
			}
		}
	}
	j.at, j.seq = 0, 0
	if j.halves[1].generation < j.halves[0].generation {
		j.at = 1
	}
	j.note()
	return nil
}

// Full is the half that is not written to, as long as it has frames: sync all files, then Clean it.
func (j *Journal) Full() (generation uint64, ok bool) {
	h := j.halves[1-j.at]
	return h.generation, h.used()
}

// Clean retires the half that Full has told of, unless that has happened meanwhile.
func (j *Journal) Clean(generation uint64) error {
	h := j.halves[1-j.at]
	if h.generation != generation || !h.used() {
		return nil
	}
	err := j.retire(h)
	j.note()
	return err
}

func (j *Journal) retire(h *half) error {
	if err := h.retire(j.next); err != nil {
		return fmt.Errorf("retire %s: %w", h.path, err)
	}
	j.next++
	return nil
}

// Grow makes the half that is not written to larger, if it is void and free says that there is much space. It may run beside Stage and Write, which
// take the half for full meanwhile; nothing else.
func (j *Journal) Grow(lock sync.Locker, free func() (int64, error)) error {
	const share = 16 // of the free space at most
	lock.Lock()
	h := j.halves[1-j.at]
	size := h.size.Load()
	to := j.cfg.MaxBytes
	space, err := free()
	if err != nil || to <= size || h.used() || (to-size)*share > space {
		lock.Unlock()
		return err
	}
	h.busy = true
	lock.Unlock()
	err = h.grow(j.fs, to)
	lock.Lock()
	h.busy = false
	lock.Unlock()
	if err != nil {
		return fmt.Errorf("grow %s: %w", h.path, err)
	}
	return nil
}

// Close closes the files.
func (j *Journal) Close() error {
	var err error
	for _, h := range j.halves {
		if h != nil {
			err = errors.Join(err, h.file.Close())
		}
	}
	return err
}
