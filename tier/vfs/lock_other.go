//go:build !unix || solaris || aix

package vfs

import (
	"errors"
	"os"
)

// lockFile refuses: two brokers on one directory would destroy it, so no lock means no broker.
func lockFile(*os.File) error { return errors.ErrUnsupported }
