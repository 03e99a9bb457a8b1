package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// How far compaction has come is kept in a file of the log's directory, written in place and not flushed: one that is lost or
// torn costs a pass over what was clean already.
//
//	magic "QANATCLN" · version uint32 · offset int64 · CRC32C of all before uint32   (big endian)
const (
	cleanedMagic   = "QANATCLN"
	cleanedVersion = 1
	cleanedSize    = 8 + 4 + 8 + 4
)

// CleanedTo is up to where compaction has come: below it no key has two records, but for those whose older one lies in the bucket.
func (l *Log) CleanedTo() kafka.Offset { return max(kafka.Offset(l.cleaned.Load()), l.Start()) }

// SetCleanedTo notes how far compaction has come.
func (l *Log) SetCleanedTo(at kafka.Offset) error {
	l.shape.Lock()
	defer l.shape.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	return l.setCleanedTo(min(at, l.DurableEnd()))
}

func (l *Log) setCleanedTo(at kafka.Offset) error {
	be := binary.BigEndian
	b := append(make([]byte, 0, cleanedSize), cleanedMagic...)
	b = be.AppendUint32(b, cleanedVersion)
	b = be.AppendUint64(b, uint64(at))
	b = be.AppendUint32(b, crc32.Checksum(b, castagnoli))
	f, err := l.env.FS.OpenRW(filepath.Join(l.dir, cleanedName))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("note how far the log is compacted: %w", err)
	}
	l.cleaned.Store(int64(at))
	return nil
}

// uncleanFrom takes back what was noted about offsets that are about to be cut off. The caller makes it durable. shape is held.
func (l *Log) uncleanFrom(at kafka.Offset) error {
	if kafka.Offset(l.cleaned.Load()) <= at {
		return nil
	}
	return l.setCleanedTo(at)
}

// loadCleaned reads what SetCleanedTo has noted.
func (o *opening) loadCleaned() {
	b, err := vfs.ReadFile(o.env.FS, filepath.Join(o.dir, cleanedName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	be := binary.BigEndian
	switch {
	case err != nil:
	case len(b) != cleanedSize || string(b[:8]) != cleanedMagic || crc32.Checksum(b[:cleanedSize-4], castagnoli) != be.Uint32(b[cleanedSize-4:]):
		err = errBadState
	case be.Uint32(b[8:]) != cleanedVersion:
		err = fmt.Errorf("version %d: %w", be.Uint32(b[8:]), ErrNewer)
	default:
		o.cleaned.Store(int64(min(kafka.Offset(be.Uint64(b[12:])), o.End())))
	}
	if err != nil {
		o.env.Log.Warn("how far the log is compacted cannot be read: it is compacted anew", "partition", o.partition.String(), "error", err)
	}
}
