package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/qanat-io/qanat/tier/segment"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// recoveryPoint says how far one log is known to be on disk: nothing below
// point needs to be looked at after a crash, and nothing below it may be missing.
type recoveryPoint struct {
	partition kafka.Partition
	clean     bool         // written by Close
	resetting bool         // a Reset to point was under way: every file of the log is void
	gone      bool         // the log was deleted
	start     kafka.Offset // files wholly below it are left over from a release
	point
	facts                       // of the segment, up to point
	epochs []segment.EpochStart // those that begin in the segment, below point, and the one before; after a reset all
}

// recoveryFile keeps the recovery points of all logs of a volume: a header,
// then records, the last of a partition being the one that counts. It only
// grows, by whole batches of records, until it is written anew beside itself and
// renamed. A torn end is ignored: what it said was not relied on yet.
//
// Invariants:
//   - a point is written after what it promises was flushed;
//   - whatever takes back a promise (truncate, reset, delete) writes its lower
//     point, and syncs it, before it touches the log.
//
// Format (big endian), golden in testdata/recovery.golden, drawn in docs/formats-local.md.
type recoveryFile struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	mu      sync.Mutex
	file    vfs.File
	size    int64
	live    map[kafka.Partition]recoveryPoint
	known   bool  // the file was there and whole: a partition without a point was never flushed
	compact int64 // size at which to write it anew
	buf     []byte
	failed  error
}

const (
	recoveryMagic   = "QANATREC"
	recoveryVersion = 1
	recoveryHeader  = 16
	recordPrefix    = 8 // length, CRC32C
	recordFixed     = 4 + 4 + 16 + 7*8

	recordClean     = 1 << 0
	recordResetting = 1 << 1
	recordGone      = 1 << 2

	compactAtLeast = 1 << 20
	maxRecord      = 16 << 20
)

// openRecovery reads the file and writes it anew, without what is no longer needed.
func openRecovery(fsys vfs.FS, dir string, log *slog.Logger) (*recoveryFile, error) {
	r := &recoveryFile{fs: fsys, dir: dir, log: log, live: make(map[kafka.Partition]recoveryPoint)}
	b, err := readFile(fsys, filepath.Join(dir, recoveryName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read recovery points: %w", err)
	default:
		if r.known, err = r.load(b); err != nil {
			return nil, err
		}
	}
	if err := r.rewrite(); err != nil {
		return nil, fmt.Errorf("write recovery points: %w", err)
	}
	return r, nil
}

// load reads records up to the first that is not whole. ok is false when not even the header is.
func (r *recoveryFile) load(b []byte) (ok bool, err error) {
	be := binary.BigEndian
	if len(b) < recoveryHeader || string(b[:8]) != recoveryMagic || be.Uint32(b[12:]) != crc32.Checksum(b[:12], castagnoli) {
		r.log.Error("recovery points are unreadable: all segments will be scanned", "bytes", len(b))
		return false, nil
	}
	if v := be.Uint32(b[8:]); v != recoveryVersion {
		return false, fmt.Errorf("recovery points version %d: %w", v, ErrNewer)
	}
	b = b[recoveryHeader:]
	for {
		p, rest, ok := decodeRecord(b)
		if !ok {
			return true, nil
		}
		r.keep(p)
		b = rest
	}
}

func (r *recoveryFile) keep(p recoveryPoint) {
	if p.gone {
		delete(r.live, p.partition)
		return
	}
	r.live[p.partition] = p
}

// get returns a partition's point. trusted is false when the absence of a point means nothing.
func (r *recoveryFile) get(p kafka.Partition) (point recoveryPoint, ok, trusted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	point, ok = r.live[p]
	return point, ok, r.known
}

// put writes one point. It is not durable before the next sync.
func (r *recoveryFile) put(p recoveryPoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = appendRecord(r.buf[:0], p)
	if err := r.write(); err != nil {
		return fmt.Errorf("write recovery point: %w", err)
	}
	r.keep(p)
	return nil
}

// checkpoint writes the points that the logs have reached. A log's point is taken under the same lock
// that put holds, so that a lower one, put by a truncation, is never followed by an older, higher one.
func (r *recoveryFile) checkpoint(logs []*Log) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = r.buf[:0]
	for _, l := range logs {
		if p, changed := l.reached(r.live[l.partition]); changed {
			r.buf = appendRecord(r.buf, p)
			r.live[l.partition] = p
		}
	}
	if err := r.write(); err != nil {
		return fmt.Errorf("write recovery points: %w", err)
	}
	if r.size < r.compact {
		return nil
	}
	if err := r.rewrite(); err != nil {
		return fmt.Errorf("rewrite recovery points: %w", err)
	}
	return nil
}

// write appends buf. What a failed write left behind is cut off, so that it can never be taken for records.
func (r *recoveryFile) write() error {
	if r.failed != nil {
		return r.failed
	}
	if len(r.buf) == 0 {
		return nil
	}
	if _, err := r.file.WriteAt(r.buf, r.size); err != nil {
		if cutErr := r.file.Truncate(r.size); cutErr != nil {
			r.failed = errors.Join(err, cutErr)
		}
		return err
	}
	r.size += int64(len(r.buf))
	return nil
}

// rewrite replaces the file by one with the live points only. The new name is durable before anything is added to it.
func (r *recoveryFile) rewrite() error {
	be := binary.BigEndian
	b := append(make([]byte, 0, recoveryHeader+len(r.live)*(recordPrefix+recordFixed+epochLen)), recoveryMagic...)
	b = be.AppendUint32(b, recoveryVersion)
	b = be.AppendUint32(b, crc32.Checksum(b, castagnoli))
	for _, p := range r.live {
		b = appendRecord(b, p)
	}
	temp := filepath.Join(r.dir, recoveryTemp)
	f, err := r.fs.OpenRW(temp)
	if err != nil {
		return err
	}
	if err := r.replace(f, temp, b); err != nil {
		return errors.Join(err, f.Close())
	}
	old := r.file
	r.file, r.size, r.compact = f, int64(len(b)), max(compactAtLeast, 4*int64(len(b)))
	if old != nil {
		return old.Close()
	}
	return nil
}

func (r *recoveryFile) replace(f vfs.File, temp string, b []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		r.failed = err
		return err
	}
	if err := r.fs.Rename(temp, filepath.Join(r.dir, recoveryName)); err != nil {
		return err
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		r.failed = err // which of the two files a crash would leave is not known any more
		return err
	}
	return nil
}

// sync makes what was put durable, where no volume sync does.
func (r *recoveryFile) sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	return r.file.Sync()
}

func (r *recoveryFile) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file.Close()
}

func appendRecord(b []byte, p recoveryPoint) []byte {
	be := binary.BigEndian
	at := len(b)
	var flags uint32
	if p.clean {
		flags |= recordClean
	}
	if p.resetting {
		flags |= recordResetting
	}
	if p.gone {
		flags |= recordGone
	}
	b = append(b, make([]byte, recordPrefix)...)
	b = be.AppendUint32(b, flags)
	b = be.AppendUint32(b, uint32(p.partition.Index))
	b = append(b, p.partition.Topic[:]...)
	b = be.AppendUint64(b, uint64(p.start))
	b = be.AppendUint64(b, uint64(p.offset))
	b = be.AppendUint64(b, uint64(p.base))
	b = be.AppendUint64(b, uint64(p.pos))
	b = be.AppendUint64(b, uint64(p.created))
	b = be.AppendUint64(b, uint64(p.maxTimestamp))
	b = be.AppendUint64(b, uint64(p.maxAt))
	b = appendEpochs(b, p.epochs)
	payload := b[at+recordPrefix:]
	be.PutUint32(b[at:], uint32(len(payload)))
	be.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// decodeRecord cuts the first record off b; ok is false when there is no whole one.
func decodeRecord(b []byte) (p recoveryPoint, rest []byte, ok bool) {
	be := binary.BigEndian
	if len(b) < recordPrefix {
		return p, nil, false
	}
	n := int64(be.Uint32(b))
	if n < recordFixed || n > maxRecord || n > int64(len(b)-recordPrefix) || (n-recordFixed)%epochLen != 0 {
		return p, nil, false
	}
	payload := b[recordPrefix : recordPrefix+n]
	if crc32.Checksum(payload, castagnoli) != be.Uint32(b[4:]) {
		return p, nil, false
	}
	flags := be.Uint32(payload)
	p.clean, p.resetting, p.gone = flags&recordClean != 0, flags&recordResetting != 0, flags&recordGone != 0
	p.partition.Index = int32(be.Uint32(payload[4:]))
	copy(p.partition.Topic[:], payload[8:])
	f := payload[24:]
	p.start = kafka.Offset(be.Uint64(f))
	p.offset = kafka.Offset(be.Uint64(f[8:]))
	p.base = kafka.Offset(be.Uint64(f[16:]))
	p.pos = int64(be.Uint64(f[24:]))
	p.created = int64(be.Uint64(f[32:]))
	p.maxTimestamp = int64(be.Uint64(f[40:]))
	p.maxAt = kafka.Offset(be.Uint64(f[48:]))
	p.epochs = decodeEpochs(f[56:])
	return p, b[recordPrefix+n:], true
}
