package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// reachedFile says, beside the log, how far this node had applied it when it
// was last stopped. A log that ends earlier has lost its end: raft-wal takes a
// file that was cut, or is missing, for one whose end was never written, and the
// node would go on from an older snapshot as if nothing had been answered since.
const reachedFile = "reached.json"

type reached struct {
	Index uint64 `json:"index"`
}

// noteReached is called at the end, when nothing is applied any more. What was
// applied is committed, so it is in the log or in a snapshot, durably.
// A note that cannot be written (on a full disk, say) leaves the older one, which is true too.
func (q *Quorum) noteReached() {
	now := reached{q.raft.AppliedIndex()}
	if q.failed.Load() != nil || now.Index <= q.reached {
		return // a start that was broken off has not come as far as the one before
	}
	b, err := json.Marshal(now)
	if err == nil {
		err = writeDurably(q.cfg.Dir, reachedFile, append(b, '\n'))
	}
	if err != nil {
		q.log.Warn("note how far the metadata log reached", "error", err)
	}
}

// checkReached refuses a log that ends before what this node had applied.
func (q *Quorum) checkReached(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	path := filepath.Join(q.cfg.Dir, reachedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // never stopped cleanly
	}
	if err != nil {
		return fmt.Errorf("read how far the metadata log reached: %w", err)
	}
	var want reached
	if err := json.Unmarshal(b, &want); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFormat, path, err)
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
		return fmt.Errorf("%w: the log in %s ends at entry %d, it had reached %d: restore the files that were lost; to go on without what they held, remove %s",
			ErrLost, q.cfg.Dir, last, want.Index, path)
	}
	return nil
}
