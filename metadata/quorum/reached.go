package quorum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/qanat-io/qanat/metadata/raftlog"
)

// reachedFile says, beside the log, how far this node had applied it: when it was stopped, or, of a process that was killed, up to
// a second before. A log that ends earlier has lost its end: raft-wal takes a file that was cut, or is missing, for one whose end was
// never written, and the node would go on from an older snapshot, and vote, as if nothing had been answered since.
const reachedFile = "reached.json"

// reachedBytes is the file's size: JSON and padding, so that it can be written over in place, which one sector does not tear.
const reachedBytes = 32

// reachedEvery is how often it is written over while entries are applied.
const reachedEvery = time.Second

type reached struct {
	Index uint64 `json:"index"`
}

// keepReached notes, every while, how far this node has come. Not durably, which would cost flushes: a process that is killed leaves
// what it wrote, and of a power cut an older note is left, which is true too.
func (q *Quorum) keepReached(ctx context.Context) {
	tick := time.NewTicker(reachedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			q.noteReached(overwrite)
		}
	}
}

// noteReached writes how far this node has come. What was applied is committed, so it is in the log or in a snapshot, durably.
// A note that cannot be written (on a full disk, say) leaves the older one.
func (q *Quorum) noteReached(write func(dir, name string, b []byte) error) {
	q.noting.Lock()
	defer q.noting.Unlock()
	now := reached{q.raft.AppliedIndex()}
	if q.failed.Load() != nil || now.Index <= q.reached {
		return // a start that was broken off has not come as far as the one before
	}
	b, err := json.Marshal(now)
	if err == nil {
		err = write(q.cfg.Dir, reachedFile, fmt.Appendf(nil, "%-*s\n", reachedBytes-1, b))
	}
	if err != nil {
		q.log.Warn("note how far the metadata log reached", "error", err)
		return
	}
	q.reached = now.Index
}

// overwrite writes over a file of the same size in place, and makes it first, durably, if there is none.
func overwrite(dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(b)) {
		return writeDurably(dir, name, b)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// checkReached refuses a log that ends before what this node had applied.
func (q *Quorum) checkReached(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	path := filepath.Join(q.cfg.Dir, reachedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was applied yet
	}
	if err != nil {
		return fmt.Errorf("read how far the metadata log reached: %w", err)
	}
	var want reached
	if err := json.Unmarshal(b, &want); err != nil {
		return fmt.Errorf("%w: %s: %w: remove it, if the log is whole", ErrFormat, path, err)
	}
	q.reached = want.Index
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("look for the end of the metadata log: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list metadata snapshots: %w", err)
	}
	for _, s := range list {
		last = max(last, s.Index)
	}
	if last < want.Index {
		return fmt.Errorf("%w: the log in %s ends at entry %d, it had reached %d: %s; otherwise restore the files that were lost; to go on without what they held, remove %s",
			ErrLost, q.cfg.Dir, last, want.Index, raftlog.TakenInAnew, path)
	}
	return nil
}
