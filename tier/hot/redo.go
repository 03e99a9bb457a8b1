package hot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The flusher's use of the journal: small rounds go there (writeJournal), large ones and those with new names flush the volume, which a journal that
// is crowded waits for, too. See docs/decisions/0005-journal.md.

// openJournal opens the journal and writes into the logs' files what a crash has left in it only. Afterwards it is void.
func (f *Flusher) openJournal(cfg journal.Config) error {
	whole := f.volume.Whole()
	if !whole {
		if there, err := journal.Exists(f.fs, f.dir); !there {
			return err // without it nothing could stand in for the flush of each file, and none is made
		}
	}
	j, err := journal.Open(f.fs, f.dir, cfg, f.log)
	if errors.Is(err, journal.ErrNone) {
		f.log.Warn("no journal: every flush is one of the whole volume", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.redo(j); err != nil {
		return errors.Join(err, j.Close())
	}
	if !whole {
		return j.Close()
	}
	f.journal = j
	return nil
}

// redo replays the journal.
func (f *Flusher) redo(j *journal.Journal) error {
	if !j.Holds() {
		return nil
	}
	r := newRedoing(f.fs, f.dir)
	defer r.close()
	if err := j.Replay(r.redo); err != nil {
		return err
	}
	f.log.Info("journal replayed", "records", r.records, "missing", r.missing)
	for p, owed := range r.owed {
		if owed == nil {
			continue
		}
		f.log.Error("segments do not take what the journal held: it is kept beside them", "partition", p.String(), "file", filepath.Join(Dir(f.dir, p), owedName), "error", owed.reason)
	}
	if err := r.sync(f.volume); err != nil {
		return fmt.Errorf("flush what the journal held: %w", err)
	}
	return j.Retire()
}

// redoing writes records into segments.
type redoing struct {
	fs               vfs.FS
	dir              string
	files            map[string]*redoFile       // nil: not there
	owed             map[kafka.Partition]*owing // of those seen; nil: nothing
	buf              []byte
	records, missing int
}

func newRedoing(fsys vfs.FS, dir string) *redoing {
	return &redoing{fs: fsys, dir: dir, files: make(map[string]*redoFile), owed: make(map[kafka.Partition]*owing)}
}

// redo makes a segment hold the record, or keeps the record for a log of which the disk does not give a segment: one bad place is
// no reason not to start.
func (r *redoing) redo(rec journal.Record) error {
	r.records++
	owed, seen := r.owed[rec.Partition]
	if !seen {
		// What a start that was cut short has kept of the log is in the journal still: nothing opened the log since.
		r.owed[rec.Partition] = nil
		if err := r.fs.Remove(filepath.Join(Dir(r.dir, rec.Partition), owedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if owed == nil {
		err := r.apply(rec)
		if !errors.Is(err, syscall.EIO) {
			return err
		}
		if owed, err = r.owe(rec.Partition, err); err != nil {
			return err
		}
	}
	return owed.add(rec)
}

// sync makes durable what was written.
func (r *redoing) sync(volume vfs.Volume) error {
	ok, err := volume.Sync()
	if err != nil || ok {
		return err
	}
	for _, f := range r.files {
		if f != nil {
			err = errors.Join(err, f.Sync())
		}
	}
	for p, o := range r.owed {
		if o != nil {
			err = errors.Join(err, o.file.Sync(), r.fs.SyncDir(Dir(r.dir, p)))
		}
	}
	return err
}

type redoFile struct {
	vfs.File
	size int64
}

// apply makes a segment hold the record. One that is not there was never acknowledged, nor was a record that does not follow what is there: what
// lies between was on its way by another flush. It is written also where it is found: the disk may not have what the page cache
// has, when the process before ended because it could not be written.
func (r *redoing) apply(rec journal.Record) error {
	f, err := r.open(rec)
	if err != nil || f == nil || rec.Pos > f.size {
		return err
	}
	end := rec.Pos + int64(len(rec.Bytes))
	missing := f.size < end
	if !missing {
		r.buf = append(r.buf[:0], rec.Bytes...)
		if err := readFull(f, r.buf, rec.Pos); err != nil {
			return err
		}
		missing = !bytes.Equal(r.buf, rec.Bytes)
	}
	if missing {
		r.missing++
	}
	if _, err := f.WriteAt(rec.Bytes, rec.Pos); err != nil {
		return err
	}
	f.size = max(f.size, end)
	return nil
}

func (r *redoing) open(rec journal.Record) (*redoFile, error) {
	path := filepath.Join(Dir(r.dir, rec.Partition), fileName(rec.Segment, logSuffix))
	if f, ok := r.files[path]; ok {
		return f, nil
	}
	if _, err := r.fs.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			r.files[path] = nil
			return nil, nil
		}
		return nil, err
	}
	file, err := r.fs.OpenRW(path)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &redoFile{file, size}
	r.files[path] = f
	return f, nil
}

// Dir is where a partition's log lies below the flusher's directory.
func Dir(root string, p kafka.Partition) string {
	return filepath.Join(root, p.Topic.String(), strconv.Itoa(int(p.Index)))
}

func (r *redoing) close() {
	for _, f := range r.files {
		if f != nil {
			_ = f.Close() // synced, or given up
		}
	}
	for _, o := range r.owed {
		if o != nil {
			_ = o.file.Close()
		}
	}
}

// stage gives the journal what was written. It returns false when it is too much, or there is no journal.
func (f *Flusher) stage(p kafka.Partition, segment kafka.Offset, pos int64, batches []batch.View) bool {
	return f.journal != nil && journal.Stage(f.journal, p, segment, pos, batches)
}

// writeJournal makes the items durable by one write. done is false when the volume is to be flushed instead. disk is held.
func (f *Flusher) writeJournal() (done bool, err error) {
	if f.journal == nil {
		return false, nil
	}
	for i := range f.items {
		if item := &f.items[i]; item.names || item.unstaged {
			return false, nil
		}
	}
	n, turned, err := f.journal.Write()
	f.journaled += max(n, 0)
	if turned || f.journaled > writeBackEvery {
		f.journaled = 0
		select {
		case f.cleaning <- struct{}{}:
		default:
		}
	}
	return n >= 0, err
}

func (f *Flusher) holdsJournal() bool { return f.journal != nil && f.journal.Holds() }

// voidJournal makes the journal say nothing any more about any file, so that files may be cut and removed.
func (f *Flusher) voidJournal() error {
	if !f.holdsJournal() {
		return nil
	}
	return f.barrier(nil, nil)
}

// Written back is in pieces, each waited for: the disk takes what comes in order, and a round would wait for all that is before it.
const (
	writeBackPiece = 128 << 10
	writeBackEvery = 4 << 20  // journaled
	writeBackLeast = 64 << 10 // of one log, where nothing presses
)

// writeBack writes to the disk what the journal has kept from it, but for the last page of each log, and for logs with less than least.
func (f *Flusher) writeBack(least int64) error {
	f.mu.Lock()
	logs := make([]*Log, 0, len(f.open))
	for l := range f.open {
		logs = append(logs, l)
	}
	f.mu.Unlock()
	for _, l := range logs {
		if err := l.writeBack(least); err != nil {
			return f.fail(err)
		}
	}
	return nil
}

func (l *Log) writeBack(least int64) error {
	t := l.view.Load().tail
	from, to := t.cleaned.Load(), t.file.written(t.seg.size.Load())&^(vfs.Alignment-1)
	if to-from < max(least, 1) || !t.file.acquire() {
		return nil
	}
	defer t.file.Release()
	for ; from < to; from += writeBackPiece {
		if err := t.file.WriteBack(from, min(writeBackPiece, to-from)); err != nil {
			return err
		}
	}
	t.cleaned.Store(to)
	return nil
}

// lighten flushes what the journal has kept from the files, while rounds go on: whoever holds disk next has little left to flush.
func (f *Flusher) lighten() error {
	if !f.holdsJournal() {
		return nil
	}
	if err := f.late.write(); err != nil {
		return f.fail(err)
	}
	if err := f.writeBack(0); err != nil {
		return err
	}
	if _, err := f.cleaner.Sync(); err != nil {
		return f.fail(err)
	}
	return nil
}

// runCleaning writes back what was journaled, little by little. Each time a half of the journal is full it flushes the volume and makes that half
// void, and larger.
func (f *Flusher) runCleaning(ctx context.Context) {
	for {
		select {
		case <-f.cleaning:
		case <-ctx.Done():
			return
		}
		if f.clean() != nil {
			return // the flush has failed, which everybody has been told of
		}
	}
}

func (f *Flusher) clean() error {
	f.disk.Lock()
	generation, ok := f.journal.Full()
	f.disk.Unlock()
	if !ok {
		return f.writeBack(writeBackLeast)
	}
	if err := f.lighten(); err != nil {
		return err
	}
	f.disk.Lock()
	err := f.err()
	if err == nil {
		if err = f.journal.Clean(generation); err != nil {
			err = f.fail(err)
		}
	}
	f.disk.Unlock()
	if err != nil {
		return err
	}
	if err := f.journal.Grow(&f.disk, f.volume.Free); err != nil {
		f.log.Warn("journal stays as small as it is", "error", err)
	}
	return nil
}
