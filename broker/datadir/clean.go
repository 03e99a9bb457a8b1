package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/vfs"
)

// cleanFile is empty. It is there while no broker runs on the directory, if the last one has stopped in order: everything that
// it had acknowledged is on disk then, also of topics that do not flush before they acknowledge.
const cleanFile = "broker.clean"

// TakeClean tells whether the broker before this one has stopped in order, or there was none, and that holds no longer from now on.
func (d *Dir) TakeClean(fsys vfs.FS) (bool, error) {
	name := filepath.Join(d.Path, cleanFile)
	err := fsys.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return d.Created, nil
	}
	if err == nil {
		err = fsys.SyncDir(d.Path)
	}
	if err != nil {
		return false, fmt.Errorf("forget the last stop, %s: %w", name, err)
	}
	return true, nil
}

// MarkClean says, durably, that the broker has stopped in order. Nothing is written to the directory afterwards.
func (d *Dir) MarkClean(fsys vfs.FS) error {
	if err := writeAtomic(fsys, filepath.Join(d.Path, cleanFile), nil); err != nil {
		return fmt.Errorf("note the clean stop: %w", err)
	}
	return nil
}
