package hot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Every name that this package gives to a file or directory.
const (
	logSuffix     = ".log"       // <base>.log: batches and nothing else
	stateSuffix   = ".state"     // <base>.state: what was known when the segment began
	damagedSuffix = ".damaged"   // <base>.damaged, empty: the segment is damaged
	cleanedSuffix = ".cleaned"   // <base>.cleaned: what is to replace segments, being written (rewrite.go)
	swapSuffix    = ".swap"      // <base>.swap: the same, whole: it replaces them
	deletedSuffix = ".deleted"   // a log's directory on its way out
	quarantineDir = "quarantine" // in a log's directory: segments set aside because of damage
	cleanedName   = "cleaned"    // in a log's directory: up to where compaction has come
	owedName      = "owed"       // in a log's directory: what the journal held and its files did not take (owed.go)
	recoveryName  = "recovery"   // in the data directory: recovery points of all logs
	recoveryTemp  = "recovery.new"
)

// fileName is the base offset in 20 digits, so that names sort as offsets do.
func fileName(base kafka.Offset, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// listing is what a log's directory holds.
type listing struct {
	logs, states []kafka.Offset // ascending
	condemned    []kafka.Offset
	cleaned      []kafka.Offset
	swaps        []kafka.Offset
}

func parseNames(names []string) listing {
	var l listing
	for _, name := range names {
		if base, ok := parseName(name, logSuffix); ok {
			l.logs = append(l.logs, base)
		} else if base, ok := parseName(name, stateSuffix); ok {
			l.states = append(l.states, base)
		} else if base, ok := parseName(name, damagedSuffix); ok {
			l.condemned = append(l.condemned, base)
		} else if base, ok := parseName(name, cleanedSuffix); ok {
			l.cleaned = append(l.cleaned, base)
		} else if base, ok := parseName(name, swapSuffix); ok {
			l.swaps = append(l.swaps, base)
		}
	}
	slices.Sort(l.logs)
	slices.Sort(l.states)
	return l
}

func parseName(name, suffix string) (kafka.Offset, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return kafka.Offset(n), err == nil && n >= 0
}

// RemoveDeleted removes what interrupted deletions left below root, which holds
// logs' directories at one or two levels (<topic id>/<partition>). Call it before any log is opened.
func RemoveDeleted(fsys vfs.FS, root string) error { return removeDeleted(fsys, root, 2) }

func removeDeleted(fsys vfs.FS, dir string, levels int) error {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for deleted logs: %w", err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, deletedSuffix) {
			if err := fsys.RemoveAll(path); err != nil {
				return fmt.Errorf("remove deleted log: %w", err)
			}
			continue
		}
		if levels == 1 {
			continue
		}
		info, err := fsys.Stat(path)
		if err != nil {
			return fmt.Errorf("look for deleted logs: %w", err)
		}
		if info.IsDir() {
			if err := removeDeleted(fsys, path, levels-1); err != nil {
				return err
			}
		}
	}
	return nil
}
