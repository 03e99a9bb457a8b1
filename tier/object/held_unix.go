//go:build unix && !solaris && !aix

package object

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes flock's exclusive lock, which the kernel drops with the process, or returns errLocked at once.
func lock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return err
	}
	if errors.Is(lockErr, unix.EWOULDBLOCK) {
		return errLocked
	}
	return os.NewSyscallError("flock", lockErr)
}
