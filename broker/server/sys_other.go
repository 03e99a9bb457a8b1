//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
)

// Elsewhere every connection takes the portable path, which needs none of these.

type rawWrite struct{}

func rawConn(net.Conn) syscall.RawConn { return nil }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}

func (r *reader) tryRead(uintptr) bool   { return true }
func (r *reader) tryHangup(uintptr) bool { return true }
func (c *conn) sendRaw(bool) error       { return errors.ErrUnsupported }
func (c *conn) writeRaw(uintptr) bool    { return true }
