package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/qanat-io/qanat/tier/vfs"
)

// openLog opens the log that Raft's entries are in. meta is its small database, which it leaves open when it is closed. That
// reads its file through memory, so that one which was cut short is a bus error: here, an error like others.
func openLog(dir string, meta types.MetaStore, logger hclog.Logger) (store *wal.WAL, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			store, err = nil, fmt.Errorf("open metadata log %s: %v: %s", dir, fault, damagedLog)
		}
	}()
	if err := forget(dir); err != nil {
		return nil, fmt.Errorf("open metadata log %s: %w", dir, err)
	}
	files := segment.NewFiler(dir, fs.New())
	if err = settleTail(dir, meta, files); err == nil {
		store, err = wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(segmentBytes), wal.WithLogger(logger),
			wal.WithSegmentFiler(segmentFiles{files}))
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("open metadata log %s: %w: free space on its volume", dir, err)
	case err != nil:
		return nil, fmt.Errorf("open metadata log %s: %w: %s", dir, err, damagedLog)
	}
	return store, nil
}

// forget drops what the page cache has of the log: when the process before ended because the log could not be written, the cache has
// entries that the disk has not, and that this node would count as stored.
func forget(dir string) error {
	var disk vfs.OS
	names, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		f, err := disk.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Forget(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// settleTail leaves the file that is written to as raft-wal v0.4.0 takes it for granted, and does not see to it. A full one whose
// process ended before the next was begun is followed by it: rotation runs in the background, and is not looked for when the log is
// opened. What a broken write left behind the last commit is zeroed: an index there counts as the file's seal though the batch that it
// ends was never stored, and pieces of entries could count as entries once the next write has covered a part of them. Either seal has
// every further entry refused, at every start: "segment is sealed".
func settleTail(dir string, meta types.MetaStore, files types.SegmentFiler) error {
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) == 0 {
		return err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	w, err := files.RecoverTail(*tail)
	if errors.Is(err, os.ErrNotExist) {
		return nil // not begun yet
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, segment.FileName(*tail)), os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	sealed, indexStart, err := settleFile(f, *tail, w)
	last := w.LastIndex()
	if err := errors.Join(err, f.Close(), w.Close()); err != nil || !sealed {
		return err
	}
	now := time.Now()
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, last, indexStart
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1, SizeLimit: segmentBytes, Codec: tail.Codec, CreateTime: now,
	})
	state.NextSegmentID++
	return meta.CommitState(state)
}

// frameBytes is the size of the header that each of a file's frames (entries, commits, an index) begins with: 4 bytes of type, and 4 of
// the length of what follows, which is padded to a multiple of as much. A commit has a checksum for a length, and nothing follows.
const frameBytes = 8

// settleFile says whether the tail's last commit holds its index, and where; if not, what is behind that commit is zeroed.
func settleFile(f *os.File, tail types.SegmentInfo, w types.SegmentWriter) (sealed bool, indexStart uint64, err error) {
	length := func(frame int64) (int64, error) {
		var b [frameBytes]byte
		_, err := f.ReadAt(b[:], frame)
		return int64(binary.LittleEndian.Uint32(b[frameBytes/2:])), err
	}
	last := w.LastIndex()
	if begun, start, err := w.Sealed(); err != nil {
		return false, 0, err
	} else if begun {
		// Entries count as recovered with their commit, and an index is as long as the entries that its commit makes.
		if n, err := length(int64(start) - frameBytes); err != nil || last != 0 && n == 4*int64(last-tail.BaseIndex+1) {
			return err == nil, start, err
		}
	}
	var end int64 // the file's header, too, is stored with the first commit
	if last != 0 {
		entry, err := w.(*segment.Writer).OffsetForFrame(last)
		if err != nil {
			return false, 0, err
		}
		n, err := length(int64(entry))
		if err != nil {
			return false, 0, err
		}
		end = int64(entry) + frameBytes + (n+frameBytes-1)/frameBytes*frameBytes + frameBytes
	}
	return false, 0, zeroFrom(f, end)
}

// zeroFrom stores zeros for whatever else f has from an offset on.
func zeroFrom(f *os.File, offset int64) error {
	zeros, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for wrote := false; ; {
		n, err := f.ReadAt(b, offset)
		if !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := f.WriteAt(zeros[:n], offset); err != nil {
				return err
			}
			wrote = true
		}
		offset += int64(n)
		switch {
		case err == nil:
		case err != io.EOF:
			return err
		case wrote:
			return f.Sync()
		default:
			return nil
		}
	}
}

// damagedLog is what a person may do.
const damagedLog = "if its files are damaged this broker must not vote on what it has forgotten: where others have the metadata, " +
	"start it with an empty directory under the same node.id, and it is taken in anew"

// segmentFiles opens the log's files, those among them that raft-wal v0.4.0 cannot read. When a follower's log is cut, because
// another leader's has other entries, raft-wal seals the file that was written to without the index that sealed files end
// with, and says so in its database: IndexStart is 0. It reads on for as long as the process lives, and never again: "sealed segment
// has no index block", upon which Raft panics at every start. The entries are all there: the file is read through, as one that was
// not sealed is.
type segmentFiles struct{ types.SegmentFiler }

// Open implements types.SegmentFiler, for files that are sealed.
func (s segmentFiles) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart != 0 {
		return s.SegmentFiler.Open(info)
	}
	w, err := s.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	if last := w.LastIndex(); last < info.MaxIndex {
		err := fmt.Errorf("%w: the file from %d on ends at %d, not %d", types.ErrCorrupt, info.BaseIndex, last, info.MaxIndex)
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}
