package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

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
	unknown   bool         // the log exists, and its point was lost: nothing is known of it
	start     kafka.Offset // files wholly below it are left over from a release
	point
	facts                       // of the segment, up to point
	epochs []segment.EpochStart // those that begin in the segment, below point, and the one before; after a reset all
}

// recoveryFile keeps the recovery points of all logs of a volume: a header,
// then records, the last of a partition being the one that counts. It only
// grows, by whole batches of records, until it is written anew beside itself and
// renamed.
//
// A torn end is ignored: what it said was not relied on yet. Damage is told from
// it by what the file says of itself: the header, how much of it was synced before it got its name; every
// record, how much was when it was written. Where bytes below that are bad, all points that a
// lost record may have replaced are void, and their logs are scanned: an older point
// may promise what a truncation took back, and a log without any would seem never flushed.
//
// Invariants:
//   - a point is written after what it promises was flushed;
//   - whatever takes back a promise (truncate, reset, delete) writes its lower
//     point, and syncs it, before it touches the log;
//   - a log whose point is not known has a record that says so, as long as it exists and has no other.
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
	compact int64 // size at which to write it anew
	buf     []byte
	failed  error

	// place is how far the file is written, synced how far of that is durable: both are of a file, which their upper bits count.
	place  atomic.Uint64
	synced atomic.Uint64
}

const (
	recoveryMagic   = "QANATREC"
	recoveryVersion = 2
	recoveryHeader  = 8 + 4 + 8 + 4
	recordPrefix    = 8 // length, CRC32C
	recordFixed     = 8 + 8 + 4 + 4 + 16 + 7*8

	recordClean     = 1 << 0
	recordResetting = 1 << 1
	recordGone      = 1 << 2
	recordUnknown   = 1 << 3

	placeBits = 40 // of place and synced: the position; the file is rewritten long before

	compactAtLeast = 1 << 20
	maxRecord      = 16 << 20
)

// openRecovery reads the file and writes it anew, without what is no longer needed.
func openRecovery(fsys vfs.FS, dir string, log *slog.Logger) (*recoveryFile, error) {
	r := &recoveryFile{fs: fsys, dir: dir, log: log, live: make(map[kafka.Partition]recoveryPoint)}
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, recoveryName))
	whole := false
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read recovery points: %w", err)
	default:
		if whole, err = r.load(b); err != nil {
			return nil, err
		}
	}
	if !whole {
		if err := r.findUnknown(); err != nil {
			return nil, fmt.Errorf("look for logs whose recovery points are lost: %w", err)
		}
	}
	if err := r.rewrite(); err != nil {
		return nil, fmt.Errorf("write recovery points: %w", err)
	}
	return r, nil
}

// load reads the records. whole is false when there are points that it cannot know of; those that it keeps are good all the same.
func (r *recoveryFile) load(b []byte) (whole bool, err error) {
	be := binary.BigEndian
	if len(b) < recoveryHeader || string(b[:8]) != recoveryMagic {
		r.log.Error("recovery points are unreadable: all segments will be scanned", "bytes", len(b))
		return false, nil
	}
	switch v := be.Uint32(b[8:]); {
	case v > recoveryVersion:
		return false, fmt.Errorf("recovery points version %d: %w", v, ErrNewer)
	case v < recoveryVersion:
		r.log.Warn("recovery points are an earlier release's: all segments will be scanned, once", "version", v)
		return false, nil
	}
	if be.Uint32(b[20:]) != crc32.Checksum(b[:20], castagnoli) {
		r.log.Error("recovery points are unreadable: all segments will be scanned", "bytes", len(b))
		return false, nil
	}
	points, bad, synced := readRecords(b, int64(be.Uint64(b[12:])))
	// What lies behind from is known; damage is bad bytes below synced, a torn end those behind.
	from, end := int64(0), int64(len(b))
	for _, at := range bad {
		if at < synced {
			from = at
		} else {
			end = min(end, at)
		}
	}
	for _, p := range points {
		if from < p.at && p.at < end {
			r.keep(p.recoveryPoint)
		}
	}
	if from > 0 {
		r.log.Error("recovery points are damaged: logs whose points are in doubt will be scanned", "position", from, "bytes", len(b), "known", len(r.live))
	}
	return from == 0, nil
}

// recorded is a point and where its record begins.
type recorded struct {
	recoveryPoint
	at int64
}

// readRecords finds every whole record, where the bytes between them begin, and how far the file was once durable, which the
// caller knows as the header tells it.
func readRecords(b []byte, synced int64) (points []recorded, bad []int64, durable int64) {
	pos, good := int64(recoveryHeader), true
	for pos < int64(len(b)) {
		p, next, promised, ok := decodeRecord(b, pos)
		switch {
		case ok:
			points = append(points, recorded{p, pos})
			synced = max(synced, promised)
			pos = next
		default:
			if good {
				bad = append(bad, pos)
			}
			pos++
		}
		good = ok
	}
	if pos < synced {
		bad = append(bad, pos) // cut short
	}
	return points, bad, synced
}

// findUnknown notes the logs that are there and have no point. Their directories are laid out as the package says.
func (r *recoveryFile) findUnknown() error {
	topics, err := r.fs.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, name := range topics {
		topic, err := kafka.ParseTopicID(name)
		if err != nil {
			continue
		}
		partitions, err := r.fs.ReadDir(filepath.Join(r.dir, name))
		if err != nil {
			return err
		}
		for _, name := range partitions {
			index, err := strconv.ParseInt(name, 10, 32)
			if err != nil {
				continue // one on its way out
			}
			p := kafka.Partition{Topic: topic, Index: int32(index)}
			if _, ok := r.live[p]; !ok {
				r.live[p] = recoveryPoint{partition: p, unknown: true, facts: noFacts}
			}
		}
	}
	return nil
}

func (r *recoveryFile) keep(p recoveryPoint) {
	if p.gone {
		delete(r.live, p.partition)
		return
	}
	r.live[p.partition] = p
}

// get returns a partition's point. trusted is false when the absence of a point means nothing; else the log was never flushed.
func (r *recoveryFile) get(p kafka.Partition) (point recoveryPoint, ok, trusted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	point, ok = r.live[p]
	if point.unknown {
		return recoveryPoint{}, false, false
	}
	return point, ok, true
}

// put writes one point. It is not durable before the next sync.
func (r *recoveryFile) put(p recoveryPoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = r.record(r.buf[:0], p)
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
			r.buf = r.record(r.buf, p)
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
	r.place.Add(uint64(len(r.buf)))
	return nil
}

// record appends p's record, which is to be written at the end of the file with what buf holds.
func (r *recoveryFile) record(buf []byte, p recoveryPoint) []byte {
	return appendRecord(buf, p, r.size+int64(len(buf)), int64(r.synced.Load()&(1<<placeBits-1)))
}

// written is what a volume sync that begins now covers; settled says that it has.
func (r *recoveryFile) written() uint64 { return r.place.Load() }

// settled is described at written. That the file was replaced meanwhile makes it say nothing.
func (r *recoveryFile) settled(covered uint64) {
	for {
		was := r.synced.Load()
		if covered <= was || covered>>placeBits != was>>placeBits || r.synced.CompareAndSwap(was, covered) {
			return
		}
	}
}

// rewrite replaces the file by one with the live points only. The new name is durable before anything is added to it.
func (r *recoveryFile) rewrite() error {
	be := binary.BigEndian
	b := append(make([]byte, 0, recoveryHeader+len(r.live)*(recordPrefix+recordFixed+epochLen)), make([]byte, recoveryHeader)...)
	for _, p := range r.live {
		b = appendRecord(b, p, int64(len(b)), 0)
	}
	copy(b, recoveryMagic)
	be.PutUint32(b[8:], recoveryVersion)
	be.PutUint64(b[12:], uint64(len(b)))
	be.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
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
	place := (r.place.Load()>>placeBits+1)<<placeBits | uint64(len(b))
	r.place.Store(place)
	r.synced.Store(place)
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
	covered := r.written()
	if err := r.file.Sync(); err != nil {
		return err
	}
	r.settled(covered)
	return nil
}

// close leaves a file behind of which every byte is durable and says so, unless the volume has failed.
func (r *recoveryFile) close(failed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if !failed && r.failed == nil {
		err = r.rewrite()
	}
	return errors.Join(err, r.file.Close())
}

// appendRecord appends the record of p that lies at pos, written when the file was durable up to synced.
func appendRecord(b []byte, p recoveryPoint, pos, synced int64) []byte {
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
	if p.unknown {
		flags |= recordUnknown
	}
	b = append(b, make([]byte, recordPrefix)...)
	b = be.AppendUint64(b, uint64(pos))
	b = be.AppendUint64(b, uint64(synced))
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

// decodeRecord reads the record at pos; ok is false when there is no whole one, written there. next is where it ends, synced
// what it says of the file.
func decodeRecord(file []byte, pos int64) (p recoveryPoint, next, synced int64, ok bool) {
	be := binary.BigEndian
	b := file[pos:]
	if len(b) < recordPrefix+recordFixed {
		return p, 0, 0, false
	}
	n := int64(be.Uint32(b))
	if n < recordFixed || n > maxRecord || n > int64(len(b)-recordPrefix) || (n-recordFixed)%epochLen != 0 {
		return p, 0, 0, false
	}
	payload := b[recordPrefix : recordPrefix+n]
	if int64(be.Uint64(payload)) != pos || crc32.Checksum(payload, castagnoli) != be.Uint32(b[4:]) {
		return p, 0, 0, false
	}
	synced = int64(be.Uint64(payload[8:]))
	f := payload[16:]
	flags := be.Uint32(f)
	p.clean, p.resetting, p.gone, p.unknown = flags&recordClean != 0, flags&recordResetting != 0, flags&recordGone != 0, flags&recordUnknown != 0
	p.partition.Index = int32(be.Uint32(f[4:]))
	copy(p.partition.Topic[:], f[8:])
	f = f[24:]
	p.start = kafka.Offset(be.Uint64(f))
	p.offset = kafka.Offset(be.Uint64(f[8:]))
	p.base = kafka.Offset(be.Uint64(f[16:]))
	p.pos = int64(be.Uint64(f[24:]))
	p.created = int64(be.Uint64(f[32:]))
	p.maxTimestamp = int64(be.Uint64(f[40:]))
	p.maxAt = kafka.Offset(be.Uint64(f[48:]))
	p.epochs = decodeEpochs(f[56:])
	return p, pos + recordPrefix + n, synced, true
}
