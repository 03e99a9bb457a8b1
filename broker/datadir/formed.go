package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/qanat-io/qanat/tier/vfs"
)

// formedFile is empty. It is there once the metadata quorum has answered for the
// first time: from then on a directory without metadata has lost it, and is not a new one.
const formedFile = "broker.formed"

// Formed tells whether the directory has had metadata.
func (d *Dir) Formed(fsys vfs.FS) (bool, error) {
	f, err := fsys.Open(filepath.Join(d.Path, formedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether the data directory is new: %w", err)
	}
	return true, f.Close()
}

// MarkFormed notes durably that the directory has metadata.
func (d *Dir) MarkFormed(fsys vfs.FS) error {
	if err := writeAtomic(fsys, filepath.Join(d.Path, formedFile), nil); err != nil {
		return fmt.Errorf("note that the metadata exists: %w", err)
	}
	return nil
}

// Strays is where partitions of topics that do not exist are set aside, each
// under its topic's id; absent when there are none.
func (d *Dir) Strays() string { return filepath.Join(d.Path, "strays") }
