//go:build unix

package secure

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryRead reads once, and says false to be called again when there is something to read. The chunk is taken for the moment
// of the call only, unless the call brings something.
func (b *below) tryRead(fd uintptr) bool {
	if b.chunk == nil {
		b.chunk = chunks.Get().(*[chunkSize]byte)
	}
	for {
		n, err := unix.Read(int(fd), b.chunk[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			b.giveBack()
			return false
		case err != nil:
			b.readN, b.readErr = 0, os.NewSyscallError("read", err)
		default:
			b.readN, b.readErr = n, nil
		}
		return true
	}
}

// peek waits for a byte and leaves it there.
func peek(raw syscall.RawConn) (byte, error) {
	var b [1]byte
	var n int
	var err error
	if waiting := raw.Read(func(fd uintptr) bool {
		for {
			if n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK); err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	}); waiting != nil {
		return 0, waiting
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	return b[0], err
}

func endOf(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func writeOnce(fd uintptr, p []byte) { _, _ = unix.Write(int(fd), p) }
