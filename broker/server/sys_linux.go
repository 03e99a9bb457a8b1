package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn gives the connection's descriptor for system calls of our own, which plain TCP allows.
func rawConn(nc net.Conn) syscall.RawConn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}

// tryRead reads once, and says false to be called again when there is something to read. It takes a chunk only for the
// moment of the call unless the call brings something: that is why an idle connection costs no buffer.
func (r *reader) tryRead(fd uintptr) bool {
	dst := r.dst
	if dst == nil {
		r.haveChunk()
		dst = r.chunk[r.end:]
	}
	for {
		n, err := unix.Read(int(fd), dst)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if r.dst == nil && r.end == r.start {
				r.start, r.end = 0, 0
				r.free()
			}
			return false
		case err != nil:
			r.n, r.err = 0, err
		default:
			r.n, r.err = n, nil
		}
		return true
	}
}

// tryHangup says true when the other end has hung up, without reading. The runtime asks for EPOLLRDHUP on every socket
// and calls again when anything changes.
func (r *reader) tryHangup(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(fds[:], 0); err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
		r.hungUp = true
		return true
	}
	return false
}

// rawWrite is the state of a system call's wait: whether it may, and what came of it.
type rawWrite struct {
	wait bool
	err  error
}

// sendRaw sends the outbox until it is empty, or until the socket is full if it must not wait.
func (c *conn) sendRaw(wait bool) error {
	c.rw = rawWrite{wait: wait}
	if err := c.raw.Write(c.writeFn); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if c.rw.err != nil {
		return fmt.Errorf("write: %w", c.rw.err)
	}
	return nil
}

// writeRaw is called by the raw connection, and says false to be called again when the socket has room.
func (c *conn) writeRaw(fd uintptr) bool {
	for c.out.pending() {
		n, err := c.writeOnce(int(fd))
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if c.rw.wait && c.stuckSince.Load() == 0 {
				c.stuckSince.Store(c.server.now())
			}
			return !c.rw.wait
		case err != nil:
			c.rw.err = err
			return true
		case n > 0:
			if c.rw.wait {
				c.stuckSince.Store(0)
			}
		}
	}
	return true
}

// maxSendfile bounds one call, so that progress shows.
const maxSendfile = 4 << 20

// writeOnce makes one system call.
func (c *conn) writeOnce(fd int) (n int, err error) {
	o := c.out
	if c.tls != nil {
		return c.writeSealed(fd)
	}
	if p := &o.parts[0]; p.file != nil {
		in, ok := p.file.Descriptor()
		if !ok {
			return 0, o.materialize()
		}
		offset := p.pos
		n, err = unix.Sendfile(fd, in, &offset, min(p.n, maxSendfile))
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return 0, fmt.Errorf("a file ends %d bytes before what is to be sent of it: %w", p.n, io.ErrUnexpectedEOF)
		}
		p.pos += int64(n)
		if p.n -= n; p.n == 0 {
			o.pop()
		}
		return n, nil
	}
	if len(o.parts) == 1 {
		n, err = unix.Write(fd, o.parts[0].bytes)
	} else {
		n, err = o.writev(fd)
	}
	if err != nil {
		return 0, err
	}
	o.advance(n)
	return n, nil
}

// writeSealed encrypts what comes next, unless ciphertext is left, and makes one system call.
func (c *conn) writeSealed(fd int) (n int, err error) {
	o := c.out
	if len(o.sealed.rest) == 0 {
		if err := c.seal(); err != nil {
			return 0, err
		}
	}
	if n, err = unix.Write(fd, o.sealed.rest); err != nil {
		return 0, err
	}
	if o.sealed.rest = o.sealed.rest[n:]; len(o.sealed.rest) == 0 {
		o.sealed.release()
	}
	return n, nil
}

// writev sends the byte parts before the next file. If one follows, the kernel holds a last small packet back for it.
func (o *outbox) writev(fd int) (int, error) {
	const maxParts = 64 // of at most 1024 that the system takes
	o.scratch = o.scratch[:0]
	flags := 0
	for i := range o.parts {
		if o.parts[i].file != nil {
			flags = unix.MSG_MORE
			break
		}
		if len(o.scratch) == maxParts {
			break
		}
		o.scratch = append(o.scratch, o.parts[i].bytes)
	}
	return unix.SendmsgBuffers(fd, o.scratch, nil, nil, flags)
}

// materialize replaces the first part, of a file without a descriptor, by bytes of it.
func (o *outbox) materialize() error {
	p := &o.parts[0]
	f, err := readPart(p)
	if err != nil {
		return err
	}
	b := append([]byte(nil), f.B...)
	f.Release()
	if p.n == 0 {
		o.parts[0] = part{bytes: b}
		return nil
	}
	o.parts = append([]part{{bytes: b}}, o.parts...)
	return nil
}
