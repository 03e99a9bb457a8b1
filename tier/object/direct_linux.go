package object

import (
	"os"

	"golang.org/x/sys/unix"
)

// setDirect lets f be written past the page cache, or no longer.
func setDirect(f *os.File, on bool) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var flagErr error
	err = raw.Control(func(fd uintptr) {
		var flags int
		if flags, flagErr = unix.FcntlInt(fd, unix.F_GETFL, 0); flagErr != nil {
			return
		}
		flags &^= unix.O_DIRECT
		if on {
			flags |= unix.O_DIRECT
		}
		_, flagErr = unix.FcntlInt(fd, unix.F_SETFL, flags)
	})
	if err == nil {
		err = os.NewSyscallError("fcntl", flagErr)
	}
	return err
}
