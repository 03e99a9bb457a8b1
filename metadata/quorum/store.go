package quorum

import (
	"context"
	"errors"
	"fmt"
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
