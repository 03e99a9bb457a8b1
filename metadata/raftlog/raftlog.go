package raftlog

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
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/qanat-io/qanat/tier/vfs"
)

// segmentBytes is the size at which raft-wal begins another file. Each is
// allocated whole at once: small enough that an idle broker's log takes
// little, large enough that a busy one's (some MiB/s) rotates every few seconds.
const segmentBytes = 8 << 20

// What a person may do when Open fails.
const (
	Damaged     = "if its files are damaged this broker must not vote on what it has forgotten: " + TakenInAnew + "; " + Alone
	TakenInAnew = "where others have the metadata, start it with an empty directory under the same node.id, and it is taken in anew"
	Alone       = "a broker that is alone needs its metadata directory back, whole, from a copy that was taken while it was stopped (docs/operations.md, metadata missing)"
)

// database is raft-wal's small database, which says which of the log's files count, and up to where.
const database = "wal-meta.db"

// Log is a raft.LogStore and a raft.StableStore. It is safe for concurrent use.
type Log struct {
	*wal.WAL
	meta *metadb.BoltMetaDB // raft-wal leaves it open when it is closed
}

// Open opens or creates the log in dir, which exists. The log's small database is read through memory, so that one which was
// cut short is a bus error: here, an error like others.
func Open(dir string, logger hclog.Logger) (l *Log, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	l = &Log{meta: &metadb.BoltMetaDB{}}
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("open metadata log %s: %s, its small database, is damaged: cut short, or written over (reading it ended with: %v): %s", dir, database, fault, Damaged)
		}
		if err != nil {
			l, err = nil, errors.Join(err, l.meta.Close())
		}
	}()
	if err := forget(dir); err != nil {
		return l, fmt.Errorf("open metadata log %s: %w", dir, err)
	}
	if err = settle(dir, l.meta); err == nil {
		l.WAL, err = wal.Open(dir, wal.WithMetaStore(l.meta), wal.WithSegmentSize(segmentBytes), wal.WithLogger(logger),
			wal.WithSegmentFiler(segmentFiles{segment.NewFiler(dir, fs.New())}))
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return l, fmt.Errorf("open metadata log %s: %w: free space on its volume", dir, err)
	case err != nil:
		return l, fmt.Errorf("open metadata log %s: %w: %s", dir, err, Damaged)
	}
	return l, nil
}

// Close closes the log and its database.
func (l *Log) Close() error { return errors.Join(l.WAL.Close(), l.meta.Close()) }

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

// settle checks every file of the log, and leaves the one that is written to as raft-wal v0.4.0 takes it for granted and does not see
// to it. A full one whose process ended before the next was begun is followed by it: rotation runs in the background, and is not looked
// for when the log is opened. What a broken write left behind the last commit is zeroed: an index there counts as the file's seal though
// the batch that it ends was never stored, and pieces of entries could count as entries once the next write has covered a part of
// them. Either seal has every further entry refused, at every start: "segment is sealed".
func settle(dir string, meta types.MetaStore) error {
	if err := accounted(dir, func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, database))
		return err == nil, ignoring(err, os.ErrNotExist)
	}); err != nil {
		return err // before Load, which would make an empty one
	}
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	if len(state.Segments) == 0 {
		return accounted(dir, func() (bool, error) { return false, nil })
	}
	for _, info := range state.Segments {
		found, err := settleFile(dir, info)
		if errors.Is(err, os.ErrNotExist) && info.SealTime.IsZero() {
			continue // not begun yet
		}
		if err != nil {
			return err
		}
		if info.SealTime.IsZero() && found.sealed() {
			state = followed(state, found)
			return meta.CommitState(state)
		}
	}
	return nil
}

// accounted fails where there are files of the log and no database that speaks of them: it is written before the first of them is
// made. raft-wal would begin a new log, and say "file exists".
func accounted(dir string, spoken func() (bool, error)) error {
	ok, err := spoken()
	if ok || err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s, its small database, is missing or empty, and %d of the log's files are there", types.ErrCorrupt, database, len(files))
}

// ignoring is err, unless it is what is to be ignored.
func ignoring(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// settleFile reads a file through. Of one that is written to, what is behind the last commit is zeroed.
func settleFile(dir string, info types.SegmentInfo) (contents, error) {
	f, err := os.OpenFile(filepath.Join(dir, segment.FileName(info)), os.O_RDWR, 0)
	if err != nil {
		return contents{}, err
	}
	found, err := readThrough(f, f.Name())
	switch {
	case err != nil:
	case !info.SealTime.IsZero():
		if last := info.BaseIndex + found.entries - 1; last < info.MaxIndex {
			err = fmt.Errorf("%w: %s ends at entry %d, not %d", types.ErrCorrupt, f.Name(), last, info.MaxIndex)
		}
	case !found.sealed():
		err = zeroFrom(f, found.end)
	}
	return found, errors.Join(err, f.Close())
}

// followed is the state with another file behind its last one, which is full.
func followed(state types.PersistentState, full contents) types.PersistentState {
	now := time.Now()
	tail := &state.Segments[len(state.Segments)-1]
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, tail.BaseIndex+full.entries-1, uint64(full.index)
	next := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1, SizeLimit: segmentBytes, Codec: tail.Codec, CreateTime: now,
	}
	state.Segments = append(state.Segments, next)
	state.NextSegmentID++
	return state
}

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
