package datadir

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/qanat-io/qanat/tier/vfs"
)

// Used tells whether a broker has come as far as its partitions on this directory, at any time: it may hold records then, and what
// was right with the configuration once may be an outage now. A start that ended before was one that nobody has relied on.
func (d *Dir) Used(fsys vfs.FS) (bool, error) {
	switch _, err := fsys.ReadDir(d.Partitions()); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look whether the data directory was used: %w", err)
	}
	return true, nil
}
