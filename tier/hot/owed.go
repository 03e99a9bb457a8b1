package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/journal"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What the journal held of a log whose segments the disk does not give is kept in the log's directory, since the journal is void once all other
// logs have theirs. The log does not open before its segments have taken it. Nothing is appended meanwhile, so it stays true.
//
// Format: records one behind the other, each as drawn in docs/formats-local.md. The file is whole: it was flushed before the journal was retired.

// owing is what is owed to one log.
type owing struct {
	file   vfs.File
	size   int64
	reason error
}

const owedFixed = 4 + 4 + 8 + 8 // crc, length, segment, position

// owe begins the file anew: what an interrupted start has left of it comes again.
func (r *redoing) owe(p kafka.Partition, reason error) (*owing, error) {
	f, err := r.fs.OpenRW(filepath.Join(Dir(r.dir, p), owedName))
	if err != nil {
		return nil, fmt.Errorf("keep what the journal holds of %s, whose segments do not take it (%w): %w", p, reason, err)
	}
	r.owed[p] = &owing{file: f, reason: reason} // closed with the others
	return r.owed[p], f.Truncate(0)
}

func (o *owing) add(rec journal.Record) error {
	be := binary.BigEndian
	b := make([]byte, 4, owedFixed+len(rec.Bytes))
	b = be.AppendUint32(b, uint32(len(rec.Bytes)))
	b = be.AppendUint64(b, uint64(rec.Segment))
	b = be.AppendUint64(b, uint64(rec.Pos))
	b = append(b, rec.Bytes...)
	be.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	if _, err := o.file.WriteAt(b, o.size); err != nil {
		return err
	}
	o.size += int64(len(b))
	return nil
}

// owedRecord takes the first record off b.
func owedRecord(b []byte) (rec journal.Record, rest []byte, err error) {
	be := binary.BigEndian
	if len(b) < owedFixed {
		return rec, nil, fmt.Errorf("%w: %d bytes of a record that is owed", errBadBatch, len(b))
	}
	n := int64(be.Uint32(b[4:]))
	if n > int64(len(b)-owedFixed) {
		return rec, nil, fmt.Errorf("%w: %d bytes of a record of %d that is owed", errBadBatch, len(b), n)
	}
	whole := b[:owedFixed+n]
	if crc32.Checksum(whole[4:], castagnoli) != be.Uint32(whole) {
		return rec, nil, fmt.Errorf("%w: checksum of a record that is owed", errBadBatch)
	}
	rec = journal.Record{Segment: kafka.Offset(be.Uint64(b[8:])), Pos: int64(be.Uint64(b[16:])), Bytes: whole[owedFixed:]}
	return rec, b[len(whole):], nil
}

// payOwed writes what is owed to a log into its segments, and forgets it. Both are durable before anything is appended.
func (f *Flusher) payOwed(dir string, p kafka.Partition) error {
	path := filepath.Join(dir, owedName)
	b, err := vfs.ReadFile(f.fs, path)
	if err != nil {
		return fmt.Errorf("read what the journal held of the log: %w", err)
	}
	r := newRedoing(f.fs, f.dir)
	defer r.close()
	for len(b) > 0 {
		var rec journal.Record
		if rec, b, err = owedRecord(b); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		rec.Partition = p
		if err := r.apply(rec); err != nil {
			return fmt.Errorf("write what the journal held into segment %d: %w", rec.Segment, err)
		}
	}
	if err := f.barrier(r.syncers(), []string{dir}); err != nil {
		return err
	}
	if err := f.fs.Remove(path); err != nil {
		return err
	}
	return f.barrier(nil, []string{dir})
}

func (r *redoing) syncers() (list []syncer) {
	for _, f := range r.files {
		if f != nil {
			list = append(list, f)
		}
	}
	return list
}

// SetAside moves all files of a log that does not open (ErrUnreadable) into its directory's quarantine, for a person to look at: the
// next Open begins it anew. To be called where others have the log. Nothing of it may be open.
func SetAside(env Env, dir string, p kafka.Partition) error {
	if env.Index != nil {
		env.Index.DropPartition(p)
	}
	// First the point, then the files: a point without its files is damage.
	if err := env.Flusher.recovery.put(recoveryPoint{partition: p, gone: true, facts: noFacts}); err != nil {
		return err
	}
	if err := env.Flusher.barrier(nil, []string{dir}); err != nil {
		return err
	}
	names, err := env.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	aside := filepath.Join(dir, quarantineDir)
	if err := env.FS.MkdirAll(aside); err != nil {
		return err
	}
	for _, name := range names {
		if name == quarantineDir {
			continue
		}
		if err := env.FS.Rename(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return env.Flusher.barrier(nil, []string{aside, dir})
}
