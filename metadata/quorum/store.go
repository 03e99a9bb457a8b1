package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// durableLog is Raft's log store on which an error is final: after a failed
// fsync a later success would be a lie, and Raft itself would go on trying.
type durableLog struct {
	raft.LogStore
	fail   func(error)
	broken atomic.Pointer[error]
}

// StoreLog implements raft.LogStore.
func (d *durableLog) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. It returns after the entries are fsynced.
func (d *durableLog) StoreLogs(ls []*raft.Log) error {
	return d.guard("append to", func() error { return d.LogStore.StoreLogs(ls) })
}

// DeleteRange implements raft.LogStore.
func (d *durableLog) DeleteRange(first, last uint64) error {
	return d.guard("truncate", func() error { return d.LogStore.DeleteRange(first, last) })
}

func (d *durableLog) guard(what string, f func() error) error {
	if err := d.broken.Load(); err != nil {
		return *err
	}
	if err := f(); err != nil {
		err = fmt.Errorf("%s metadata log: %w", what, err)
		d.broken.Store(&err)
		d.fail(err)
		return err
	}
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore: raft-wal takes no gaps, so
// Raft empties the log when it installs a snapshot.
func (d *durableLog) IsMonotonic() bool {
	m, ok := d.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// removeUnfinished deletes the snapshots that earlier processes were killed over. Raft only steps around them, and each may be as
// large as the metadata. The caller has the directory to itself.
func removeUnfinished(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp"))
	if err != nil {
		return fmt.Errorf("list unfinished metadata snapshots: %w", err)
	}
	for _, name := range list {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("remove an unfinished metadata snapshot: %w", err)
		}
	}
	return nil
}

// usableSnapshots lists only snapshots that the log continues. When the newest
// is damaged Raft falls back to an older one; where the log begins later than
// that ends, the state would have a hole. Better none: then Raft does not start.
type usableSnapshots struct {
	raft.SnapshotStore
	logs raft.LogStore
}

// List implements raft.SnapshotStore: newest first.
func (u usableSnapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := u.SnapshotStore.List()
	if err != nil {
		return nil, fmt.Errorf("list metadata snapshots: %w", err)
	}
	first, err := u.logs.FirstIndex()
	if err != nil {
		return nil, fmt.Errorf("find the metadata log's beginning: %w", err)
	}
	for i, s := range all {
		continued := first != 0 && s.Index+1 >= first
		if i > 0 && !continued {
			return all[:i], nil
		}
	}
	return all, nil
}

// makeSnapshots makes one whenever enough has been applied since the last.
func (q *Quorum) makeSnapshots(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.fsm.due:
			err := q.await(q.raft.Snapshot())
			switch {
			case err == nil, errors.Is(err, raft.ErrNothingNewToSnapshot):
			case errors.Is(err, raft.ErrRaftShutdown):
				return
			default:
				// The log keeps everything; the next one is tried when as much again was applied.
				q.log.Error("metadata snapshot failed", "error", err)
			}
		}
	}
}
