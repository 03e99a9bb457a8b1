package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/qanat-io/qanat/tier/vfs"
)

const (
	headerMagic = "QANATJNL"
	version     = 1
	headerSize  = 8 + 4 + 8 + 4
	headers     = 2 // written in turns: a torn one leaves the other
	firstFrame  = headers * block
	growStep    = 128 << 10
)

// half is one of the journal's two files. Frames count only if they are of its generation, which its newest good header tells.
type half struct {
	path       string
	file       vfs.File // a write that has returned is durable
	generation uint64
	slot       int   // of the newest header
	end        int64 // where the next frame goes
	busy       bool  // being made larger
	size       atomic.Int64
	page       []byte // aligned, for headers
}

// errNotMade says that a half was not there, and is not now.
var errNotMade = errors.New("cannot be made")

// openHalf opens a half, or makes one. end is behind the last good frame.
func openHalf(fsys vfs.FS, dir, name string, size int64) (*half, error) {
	path := filepath.Join(dir, name)
	if _, err := fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeHalf(fsys, dir, name, size); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotMade, err)
		}
	} else if err != nil {
		return nil, err
	}
	file, err := vfs.OpenDurable(fsys, path)
	if err != nil {
		return nil, err
	}
	h := &half{path: path, file: file, page: vfs.Aligned(block), end: firstFrame}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return h, nil
}

// makeHalf makes an empty half under another name first: one that was never whole is never taken for a damaged one.
func makeHalf(fsys vfs.FS, dir, name string, size int64) error {
	temp := filepath.Join(dir, name+".new")
	f, err := fsys.OpenRW(temp)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, size), 0)
	}
	if err == nil {
		_, err = f.WriteAt(header(make([]byte, block), 0), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(temp)) // it may have filled the disk
	}
	if err := fsys.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// header fills a page: magic, version, generation, CRC32C.
func header(page []byte, generation uint64) []byte {
	be := binary.BigEndian
	copy(page, headerMagic)
	be.PutUint32(page[8:], version)
	be.PutUint64(page[12:], generation)
	be.PutUint32(page[20:], crc32.Checksum(page[:20], castagnoli))
	return page
}

func parseHeader(page []byte) (generation uint64, err error) {
	be := binary.BigEndian
	if string(page[:8]) != headerMagic || crc32.Checksum(page[:20], castagnoli) != be.Uint32(page[20:]) {
		return 0, fmt.Errorf("%w: it has no good header", ErrDamaged)
	}
	if v := be.Uint32(page[8:]); v > version {
		return 0, fmt.Errorf("%w (version %d)", ErrNewer, v)
	}
	return be.Uint64(page[12:]), nil
}

// load finds the newest header and the frames.
func (h *half) load() error {
	b, err := h.read()
	if err != nil {
		return err
	}
	h.size.Store(int64(len(b)) &^ (block - 1))
	if len(b) < firstFrame {
		return fmt.Errorf("%w: it has %d bytes", ErrDamaged, len(b))
	}
	found := errors.New("no header")
	for slot := range headers {
		generation, err := parseHeader(b[slot*block:])
		if errors.Is(err, ErrNewer) {
			return err
		}
		if err != nil {
			if found != nil {
				found = err
			}
			continue
		}
		if found != nil || generation > h.generation {
			h.generation, h.slot, found = generation, slot, nil
		}
	}
	if found != nil {
		return found
	}
	h.end, err = walk(b, h.generation, func(Record) error { return nil })
	return err
}

// read is the whole file. There is no more of it than a journal may be long.
func (h *half) read() ([]byte, error) {
	size, err := h.file.Size()
	if err != nil {
		return nil, err
	}
	b := vfs.Aligned(roundUp(int(size)))
	n, err := h.file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b[:min(int64(n), size)], nil
}

// walk calls with every record of the generation, and returns where the frames end.
func walk(b []byte, generation uint64, apply func(Record) error) (end int64, err error) {
	at, seq := firstFrame, uint64(0)
	for {
		records, is, size, ok := parseFrame(b[min(at, len(b)):], generation)
		if !ok || is != seq {
			break
		}
		for len(records) > 0 {
			var r Record
			if r, records, ok = nextRecord(records); !ok {
				return 0, fmt.Errorf("%w: the frame at %d has a good checksum and bad records", ErrDamaged, at)
			}
			if err := apply(r); err != nil {
				return 0, err
			}
		}
		at, seq = at+size, seq+1
	}
	for later := at; later+block <= len(b); later += block {
		if _, is, _, ok := parseFrame(b[later:], generation); ok {
			return 0, fmt.Errorf("%w: the frame at %d is not what was written, and there is one behind it, at %d (sequence %d). What brokers had acknowledged "+
				"in the seconds before the crash may be lost. To start all the same, move the file away", ErrDamaged, at, later, is)
		}
	}
	return int64(at), nil
}

func (h *half) replay(apply func(Record) error) error {
	if !h.used() {
		return nil
	}
	b, err := h.read()
	if err != nil {
		return err
	}
	_, err = walk(b, h.generation, apply)
	return err
}

// used tells whether there are frames that count.
func (h *half) used() bool { return h.end > firstFrame }

func (h *half) fits(n int64) bool { return !h.busy && h.end+n <= h.size.Load() }

// add writes a frame. It is durable when add returns.
func (h *half) add(f *frame, seq uint64) error {
	b := f.seal(h.generation, seq)
	if _, err := h.file.WriteAt(b, h.end); err != nil {
		return err
	}
	h.end += int64(len(b))
	return nil
}

// retire makes the frames void.
func (h *half) retire(generation uint64) error {
	slot := (h.slot + 1) % headers
	if _, err := h.file.WriteAt(header(h.page, generation), int64(slot)*block); err != nil {
		return err
	}
	h.generation, h.slot, h.end = generation, slot, firstFrame
	return nil
}

// grow writes zeros up to size: through the page cache and in pieces, since one large write, or a sync for each, would hold up the frames that are written to the
// other half meanwhile. The room counts when all of it is durable.
func (h *half) grow(fsys vfs.FS, size int64) error {
	f, err := fsys.OpenRW(h.path)
	if err != nil {
		return err
	}
	from := h.size.Load()
	zeros := make([]byte, growStep)
	for at := from; at < size && err == nil; at += growStep {
		n := min(growStep, size-at)
		if _, err = f.WriteAt(zeros[:n], at); err == nil {
			err = f.WriteBack(at, n)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(from))
	} else {
		h.size.Store(size)
	}
	return errors.Join(err, f.Close())
}
