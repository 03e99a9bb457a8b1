//go:build !linux && !darwin

package vfs

import (
	"errors"
	"os"
)

// freeBytes is not known here.
func freeBytes(*os.File) (int64, error) { return 0, errors.ErrUnsupported }
