//go:build unix

package secure

import (
	"io"
	"os"

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

func endOf(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func writeOnce(fd uintptr, p []byte) { _, _ = unix.Write(int(fd), p) }
