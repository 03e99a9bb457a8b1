//go:build !unix || solaris || aix

package object

import (
	"errors"
	"os"
)

func lock(*os.File) error { return errors.ErrUnsupported }
