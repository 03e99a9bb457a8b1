package index

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// minFree is the space that must be left on the volume for a write to be
// tried. Badger writes memtable logs and tables through memory maps of sparse
// files: a page that finds no space there kills the process (SIGBUS). A flush
// takes 8 MiB and the compaction that may follow it some 50 MiB for a while.
const minFree = 96 << 20

// badgerOptions are Badger's, tuned small: defaults hold 474 MiB for two
// million keys, these 15 MiB. SyncWrites stays off: the index is a cache.
// Block checksums are verified on read, because a bad block must be a miss here
// and not a wrong answer.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(64). // compact keeps them far below
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithCompression(options.None).
		WithBlockSize(16 << 10).
		WithValueThreshold(1 << 10).
		WithValueLogFileSize(16 << 20).
		WithNumCompactors(0). // see compact
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithSyncWrites(false).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithLogger(badgerLog{log})
}

// openStore opens Badger in dir/badger. What does not open is removed and made
// anew, and so is what killed the process while it was opened last time: the
// marker lies beside the store for just so long.
func openStore(dir string, log *slog.Logger) (*badger.DB, error) {
	store, marker := filepath.Join(dir, "badger"), filepath.Join(dir, "opening")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create index directory: %w", err)
	}
	_, err := os.Stat(marker)
	switch {
	case err == nil:
		log.Warn("index did not survive its last opening and is made anew", "dir", store)
		if err := os.RemoveAll(store); err != nil {
			return nil, fmt.Errorf("remove index: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look for index marker: %w", err)
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		return nil, fmt.Errorf("write index marker: %w", err)
	}
	db, err := tryBadger(store, log)
	if err != nil && !lockedByAnother(err) {
		log.Warn("index does not open and is made anew", "dir", store, "error", err)
		if err := os.RemoveAll(store); err != nil {
			return nil, fmt.Errorf("remove index: %w", err)
		}
		db, err = tryBadger(store, log)
	}
	if err != nil {
		return nil, fmt.Errorf("open index: %w", errors.Join(err, os.Remove(marker)))
	}
	if err := os.Remove(marker); err != nil {
		return nil, errors.Join(fmt.Errorf("remove index marker: %w", err), db.Close())
	}
	return db, nil
}

// tryBadger opens Badger; what it panics with on damaged files is an error.
func tryBadger(dir string, log *slog.Logger) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("badger panicked: %v", p)
		}
	}()
	if err := checkTables(dir); err != nil {
		return nil, err
	}
	return badger.Open(badgerOptions(dir, log))
}

// compact merges tables once there are a few. Badger's own compactors would look for work twenty times a second each, for
// ever: most of what an idle broker did. Only the writer makes tables, so it looks, after it has written; a round makes
// at most a few.
func compact(db *badger.DB) error {
	const few = 3
	if db.Levels()[0].NumTables < few {
		return nil
	}
	if err := db.Flatten(1); err != nil {
		return fmt.Errorf("compact index: %w", err)
	}
	return nil
}

// lockedByAnother tells whether a live process has the directory: then it is not ours to remove.
// Badger has no sentinel for it.
func lockedByAnother(err error) bool {
	return strings.Contains(err.Error(), "Cannot acquire directory lock")
}

// badgerLog passes Badger's messages on. What it calls information is of no
// interest to an operator.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error("badger", "message", message(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger", "message", message(f, a)) }
func (l badgerLog) Infof(string, ...any)        {}
func (l badgerLog) Debugf(string, ...any)       {}

func message(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
