package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/qanat-io/qanat/broker/secure"
	"github.com/qanat-io/qanat/wire"
)

// TLS on connections. The handshake is the reader's, before anything else. Then answers are encrypted by whoever is the
// writer, into memory, and the ciphertext goes out by the same system calls as answers on a plain connection do: never more
// than one sealPiece is encrypted that the socket has not taken.

// handshake makes the connection's handshake and finds out who the client is. What goes wrong is told of here.
func (c *conn) handshake() error {
	s := c.server
	s.enterHandshake(c)
	err := c.nc.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	if err == nil {
		err = c.tls.Handshake()
	}
	if err == nil {
		c.client.Principal, err = c.shake.Principal(c.tls.ConnectionState())
	}
	if err == nil {
		err = c.nc.SetDeadline(time.Time{})
	}
	last := s.leaveHandshake(c)
	if !last {
		err = errCrowded
	}
	cause := secure.Explain(err, secure.Listener)
	s.observer.Handshake(c.client.Listener, cause)
	if err != nil {
		level := slog.LevelWarn
		if cause.Quiet {
			level = slog.LevelDebug
		}
		s.said.Say(level, c.client.Listener+": "+cause.Text, c.client.Addr, "no TLS with a client", "listener", c.client.Listener, "cause", cause.Text, "error", err)
		return fmt.Errorf("%w: %w", errShaking, err)
	}
	c.shake = nil
	c.collect()
	c.mu.Lock()
	c.secured = true
	c.mu.Unlock()
	return nil
}

// collect lets the writer send ciphertext itself, where it can.
func (c *conn) collect() {
	if c.raw != nil {
		c.tls.Collect()
	}
}

// enterHandshake makes room: who holds connections open and says nothing holds up himself alone.
func (s *Server) enterHandshake(c *conn) {
	var oldest *conn
	s.mu.Lock()
	if len(s.shaking) >= s.cfg.MaxHandshakes {
		for other := range s.shaking {
			if oldest == nil || other.number < oldest.number {
				oldest = other
			}
		}
		delete(s.shaking, oldest)
	}
	s.shaking[c] = struct{}{}
	s.mu.Unlock()
	if oldest != nil {
		oldest.shutdown(fmt.Errorf("%w: %w", errShaking, errCrowded))
	}
}

// leaveHandshake returns false when the connection was cut off to make room.
func (s *Server) leaveHandshake(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.shaking[c]
	delete(s.shaking, c)
	return ok || s.stopping
}

// sealed is ciphertext, and the frame that it lies in.
type sealed struct {
	rest  []byte // what the socket has not taken
	frame *wire.Frame
}

func (s *sealed) release() {
	s.rest = nil
	if s.frame != nil {
		s.frame.Release()
		s.frame = nil
	}
}

const (
	record   = 16 << 10        // plaintext of a TLS record at most
	overhead = 64              // of a record, and more: header, nonce, tag
	pieces   = 7               // records in a system call
	piece    = pieces * record // with its overhead it fits a frame of 128 KiB
)

// seal encrypts the next piece of what is to be sent.
func (c *conn) seal() error {
	o := c.out
	want := 0
	for i := range o.parts {
		if want += len(o.parts[i].bytes) + o.parts[i].n; want >= piece {
			want = piece
			break
		}
	}
	plain := wire.GetFrame(want)
	defer plain.Release()
	if err := o.take(plain.B); err != nil {
		return err
	}
	o.sealed.frame = wire.GetFrame(want + (want/record+1)*overhead)
	before := c.tls.Take(o.sealed.frame.B)
	_, err := c.tls.Write(plain.B)
	o.sealed.rest = c.tls.Take(nil)
	if len(before) > 0 { // the reader's: an answer to a new key of the client's
		o.sealed.rest = append(before, o.sealed.rest...)
	}
	return err
}

// take moves the next len(to) bytes of the parts, which have as many, into to.
func (o *outbox) take(to []byte) error {
	for len(to) > 0 {
		p := &o.parts[0]
		if p.file == nil {
			n := copy(to, p.bytes)
			to = to[n:]
			o.advance(n)
			continue
		}
		n := min(len(to), p.n)
		if got, err := p.file.ReadAt(to[:n], p.pos); got < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read what is to be sent: %w", err)
		}
		to = to[n:]
		p.pos += int64(n)
		if p.n -= n; p.n == 0 {
			o.pop()
		}
	}
	return nil
}
