package quorum

import (
	"errors"
	"fmt"
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
	if err = finishRotation(dir, meta, files); err == nil {
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

// finishRotation begins the log's next file when the last one is full and its process ended before it could: raft-wal v0.4.0 rotates
// in the background, after the entry that fills a file is stored, and does not look for this when it opens the log: "segment is sealed", to
// every entry, at every start.
func finishRotation(dir string, meta types.MetaStore, files types.SegmentFiler) error {
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
	full, indexStart, err := w.Sealed()
	last := w.LastIndex()
	if err := errors.Join(err, w.Close()); err != nil || !full {
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
