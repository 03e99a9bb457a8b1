package secure

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Conn is a TLS connection. Until Collect it is like any other. Afterwards nothing is sent any more by Write, which
// encrypts and keeps the ciphertext; whoever calls Take has to send it, in the order of the calls. So the writer of a
// connection makes one system call for many records, and none that could block.
type Conn struct {
	*tls.Conn
	below *below
}

// below is what crypto/tls reads from and writes to.
type below struct {
	net.Conn
	raw syscall.RawConn // nil: Conn is no socket

	// The reader's: what has been read and crypto/tls has not asked for yet. A connection that waits has no buffer.
	chunk      *[chunkSize]byte
	start, end int
	readFn     func(fd uintptr) bool
	readN      int
	readErr    error

	mu         sync.Mutex
	collecting bool
	// sealed is collected ciphertext that nobody has taken.
	//
	// Invariant: len(sealed) <= mostSealed.
	sealed []byte
	full   bool // more was to be collected: nothing is read any more
}

// mostSealed bounds what is collected and not taken. The writer writes pieces that are smaller; but crypto/tls writes as well, while it reads: each time
// that the other end asks for new keys (RFC 8446, 4.6.3), which it may do without end, and without ever taking an answer. Where nothing is collected
// the socket holds that up.
const mostSealed = 256 << 10

// ErrKeyUpdates ends a connection whose other end asks for new keys and takes no answer.
var ErrKeyUpdates = errors.New("the other end asks for new keys again and again, and takes no answer")

// chunkSize is what one system call may read: several records.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// Server is the listener's end of a connection. The handshake is the caller's to make.
func Server(nc net.Conn, c *tls.Config) *Conn {
	b := newBelow(nc)
	return &Conn{Conn: tls.Server(b, c), below: b}
}

// Client is the dialer's end.
func Client(nc net.Conn, c *tls.Config) *Conn {
	b := newBelow(nc)
	return &Conn{Conn: tls.Client(b, c), below: b}
}

func newBelow(nc net.Conn) *below {
	b := &below{Conn: nc}
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			b.raw = raw
			b.readFn = b.tryRead
		}
	}
	return b
}

// Below is the connection that carries the ciphertext.
func (c *Conn) Below() net.Conn { return c.below.Conn }

// First is the first byte that the other end has sent, which stays to be read: from the connection that is returned.
func First(nc net.Conn) (byte, net.Conn, error) {
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			b, err := peek(raw)
			return b, nc, err
		}
	}
	r := &replay{Conn: nc, rest: make([]byte, 1)}
	_, err := io.ReadFull(nc, r.rest)
	return r.rest[0], r, err
}

// replay is a connection of which something was read.
type replay struct {
	net.Conn
	rest []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Read says why a connection ends that was ended for its key updates, where crypto/tls says what came of that.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.below.isFull() {
		err = ErrKeyUpdates
	}
	return n, err
}

// Collect keeps ciphertext from now on. To be called after the handshake, before anything is written. Between two calls of Take less than mostSealed
// is to be written.
func (c *Conn) Collect() {
	c.below.mu.Lock()
	defer c.below.mu.Unlock()
	c.below.collecting = true
}

// Take returns the ciphertext that was collected, and continues in spare, whose content is overwritten.
func (c *Conn) Take(spare []byte) []byte {
	b := c.below
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.sealed
	b.sealed = spare[:0]
	return taken
}

// Read implements net.Conn for crypto/tls.
func (b *below) Read(p []byte) (int, error) {
	if b.isFull() { // crypto/tls keeps the error of its own write for the next one, and would go on reading
		return 0, ErrKeyUpdates
	}
	if b.start == b.end {
		if b.raw == nil {
			return b.Conn.Read(p)
		}
		if err := b.raw.Read(b.readFn); err != nil {
			return 0, &net.OpError{Op: "read", Net: "tcp", Source: b.LocalAddr(), Addr: b.RemoteAddr(), Err: err}
		}
		if b.readErr != nil || b.readN == 0 {
			b.giveBack()
			return 0, endOf(b.readErr)
		}
		b.start, b.end = 0, b.readN
	}
	n := copy(p, b.chunk[b.start:b.end])
	if b.start += n; b.start == b.end {
		b.giveBack()
	}
	return n, nil
}

func (b *below) isFull() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full
}

func (b *below) giveBack() {
	if b.chunk != nil {
		chunks.Put(b.chunk)
		b.chunk = nil
	}
	b.start, b.end = 0, 0
}

// Write implements net.Conn for crypto/tls.
func (b *below) Write(p []byte) (int, error) {
	b.mu.Lock()
	if b.collecting {
		if b.full = b.full || len(b.sealed)+len(p) > mostSealed; b.full {
			b.mu.Unlock()
			return 0, ErrKeyUpdates
		}
		b.sealed = append(b.sealed, p...)
		b.mu.Unlock()
		return len(p), nil
	}
	b.mu.Unlock()
	return b.Conn.Write(p)
}

// Farewell says to the other end that nothing follows, if that can be done at once. It is for a connection that collects, is about
// to be closed, and on which nobody is sending.
func (c *Conn) Farewell() {
	b := c.below
	if b.raw == nil || c.CloseWrite() != nil || b.SetWriteDeadline(time.Time{}) != nil { // CloseWrite leaves one that has passed
		return
	}
	if last := c.Take(nil); len(last) > 0 {
		// Without waiting, and whatever comes of it: the connection ends now.
		_ = b.raw.Write(func(fd uintptr) bool { writeOnce(fd, last); return true })
	}
}
