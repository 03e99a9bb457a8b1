package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/qanat-io/qanat/wire"
)

const (
	chunkSize = 32 << 10 // what one read may bring of small frames
	sizeLen   = 4        // a frame's size

	// minArrival is how fast a frame must arrive after its first ReadTimeout: the timeout again for so many bytes.
	minArrival = 2 << 20

	// tlsHandshake is how TLS begins, where the upper half of a frame's size would be: 369 MB.
	tlsHandshake = 0x1603

	// arrivesAtOnce is what of a large frame is read at a time: what a core's second-level cache still has when it is checked.
	arrivesAtOnce = 128 << 10

	// keepCharged is the size above which a request that does not keep its frame counts against the bounds all the same
	// until it is answered: its decoded form is as large. Smaller ones are bounded by MaxPipelined.
	keepCharged = 64 << 10
)

// chunks are *[chunkSize]byte, shared by all readers: an idle connection has none.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// reader takes frames off a connection. Small ones are cut out of a chunk that one system call filled; for one that is
// not all there, the rest is read straight into a buffer of its size.
type reader struct {
	c          *conn
	chunk      *[chunkSize]byte // nil while there is nothing to read
	begun      bool             // the first frame has begun as one
	first      [sizeLen]byte    // where a TLS connection waits for a frame, in place of a chunk
	start, end int              // what of the chunk is not yet used

	// For the system calls within the raw connection's wait; dst is nil to fill the chunk.
	dst      []byte
	n        int
	err      error
	readFn   func(fd uintptr) bool
	hangupFn func(fd uintptr) bool
	hungUp   bool
}

func (r *reader) init() {
	r.readFn = r.tryRead
	r.hangupFn = r.tryHangup
}

func (r *reader) free() {
	if r.chunk != nil {
		chunks.Put(r.chunk)
		r.chunk = nil
	}
}

// next reads and handles one request.
func (r *reader) next() error {
	c := r.c
	for r.end-r.start < sizeLen {
		if r.end > r.start && c.frameUntil.Load() == 0 {
			c.frameUntil.Store(c.server.now() + int64(c.server.cfg.ReadTimeout))
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
	size := int32(binary.BigEndian.Uint32(r.chunk[r.start:]))
	if !r.begun && c.tls == nil && size>>16 == tlsHandshake {
		return errTLS
	}
	r.begun = true
	if size < 0 || int(size) > c.server.cfg.MaxRequestBytes {
		return fmt.Errorf("%w: %d", errTooLarge, size)
	}
	if have := r.end - r.start - sizeLen; int(size) > have {
		return r.large(int(size))
	}
	c.frameUntil.Store(0)
	frame := r.chunk[r.start+sizeLen : r.start+sizeLen+int(size)]
	r.start += sizeLen + int(size)
	return r.small(frame)
}

// small handles a frame that lies in the chunk. Only what aliases it is copied.
func (r *reader) small(frame []byte) error {
	h, body, err := r.c.parse(frame)
	if err != nil {
		return err
	}
	if !h.Borrows() {
		if err := r.admit(0); err != nil {
			return err
		}
		if h.Aliases() {
			body = append([]byte(nil), body...)
		}
		return r.dispatch(&h, body, nil, 0, len(frame))
	}
	if err := r.admit(int64(len(frame))); err != nil {
		return err
	}
	f := wire.GetFrame(len(body))
	copy(f.B, body)
	return r.dispatch(&h, f.B, f, int64(len(frame)), len(frame))
}

// large reads a frame into a buffer of its own, once there is room for it within the bounds.
func (r *reader) large(size int) error {
	c := r.c
	c.frameUntil.Store(0) // the wait for room is not the client's fault
	if err := r.admit(int64(size)); err != nil {
		return err
	}
	cfg := &c.server.cfg
	c.frameUntil.Store(c.server.now() + int64(cfg.ReadTimeout)*int64(1+size/minArrival))
	f := wire.GetFrame(size)
	n := copy(f.B, r.chunk[r.start+sizeLen:r.end])
	r.start, r.end = 0, 0
	r.free()
	c.arrives(size, n)
	f.Arrival.Begin(f.B)
	for n < size {
		m, err := r.read(f.B[n:min(size, n+arrivesAtOnce)])
		if err != nil {
			f.Release()
			c.refund(int64(size))
			return err
		}
		n += m
		c.arriving.got.Store(int64(n))
		f.Arrival.Arrived(n)
	}
	c.arriving.since.Store(0)
	c.frameUntil.Store(0)
	h, body, err := c.parse(f.B)
	if err != nil {
		f.Release()
		c.refund(int64(size))
		return err
	}
	return r.dispatch(&h, body, f, int64(size), size)
}

// dispatch decodes a request, queues it and has it handled. It owns frame, which may be nil, and the charge.
func (r *reader) dispatch(h *wire.Header, body []byte, frame *wire.Frame, charge int64, size int) error {
	c := r.c
	req, err := h.Decode(body)
	if frame != nil && !h.Borrows() {
		if h.Aliases() {
			frame.Leave()
		} else {
			frame.Release()
		}
		frame = nil
	}
	if err != nil {
		if frame != nil {
			frame.Release()
		}
		c.refund(charge)
		c.server.observer.Request(RequestStats{Listener: c.client.Listener, Key: h.Key, Version: h.Version, Request: size, Failed: true, ClientID: string(h.ClientID), Client: &c.client})
		return err
	}
	if frame == nil && charge > 0 && charge <= keepCharged {
		c.refund(charge)
		charge = 0
	}
	x := &request{conn: c, frame: frame, charge: charge, size: size, flexible: h.Flexible(), began: c.server.now()}
	x.exchange = wire.Exchange{Client: &c.client, Key: h.Key, Version: h.Version, CorrelationID: h.CorrelationID, Request: req}
	if frame != nil {
		x.exchange.Arrival = &frame.Arrival
	}
	x.exchange.Own(x)
	if c.server.cfg.Traces {
		x.exchange.Trace = c.newTrace(c.server.at(x.began))
	}
	if string(h.ClientID) != c.lastClientID {
		c.lastClientID = string(h.ClientID)
	}
	x.exchange.ClientID = c.lastClientID
	c.lastRead.Store(x.began)
	if !c.enqueue(x) {
		x.abandon()
		return errHangup
	}
	c.handling.Store(x)
	defer c.handled(x)
	c.server.handler.Handle(&x.exchange)
	return nil
}

// newTrace is the one of the request before, mostly: the pool is emptied by one processor and filled by another, where readers and writers are not the same.
func (c *conn) newTrace(start time.Time) *wire.Trace {
	t := c.trace.Swap(nil)
	if t == nil {
		return wire.NewTrace(start)
	}
	t.Start = start
	return t
}

func (c *conn) freeTrace(t *wire.Trace) {
	t.Clear()
	if !c.trace.CompareAndSwap(nil, t) {
		t.Free()
	}
}

// handled follows Handle. When that panicked, whether anybody holds on to the request cannot be known: its frame is left
// to the garbage collector, and a later answer is ignored.
func (c *conn) handled(x *request) {
	c.handling.Store(nil)
	if p := recover(); p != nil {
		x.abandon()
		panic(p)
	}
}

// fill reads more into the chunk.
func (r *reader) fill() error {
	if r.start > 0 {
		if r.end > r.start {
			r.end = copy(r.chunk[:], r.chunk[r.start:r.end])
		} else {
			r.end = 0
		}
		r.start = 0
	}
	n, err := r.read(nil)
	r.end += n
	return err
}

// read reads into dst, or into the chunk's free end when dst is nil. It blocks until something is there. io.EOF and its
// like come out as errHangup.
func (r *reader) read(dst []byte) (int, error) {
	c := r.c
	r.dst, r.n, r.err = dst, 0, nil
	var err error
	switch {
	case c.tls == nil && c.raw != nil:
		if err = c.raw.Read(r.readFn); err == nil {
			err = r.err
		}
	case c.tls != nil && dst == nil && r.start == r.end:
		// It may wait here for long, and does so without a chunk. What has come with these bytes is read without waiting.
		r.free()
		r.start, r.end = 0, 0
		if r.n, err = c.stream.Read(r.first[:]); r.n > 0 {
			r.haveChunk()
			copy(r.chunk[:], r.first[:r.n])
		}
	default:
		if dst == nil {
			r.haveChunk()
			dst = r.chunk[r.end:]
		}
		r.n, err = c.stream.Read(dst)
	}
	if r.n > 0 {
		err = nil // it comes again
	}
	if err != nil {
		return 0, readError(err)
	}
	if r.n == 0 {
		return 0, errHangup
	}
	if c.frameUntil.Load() == 0 {
		c.lastRead.Store(c.server.now())
	}
	return r.n, nil
}

func (r *reader) haveChunk() {
	if r.chunk == nil {
		r.chunk = chunks.Get().(*[chunkSize]byte)
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isReset(err) {
		return errHangup
	}
	return fmt.Errorf("read: %w", err)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// admit waits until another request of n bytes (0: one that keeps none) is within the bounds, and takes the bytes. That the client was told
// to wait is one of them.
func (r *reader) admit(n int64) error {
	c := r.c
	for {
		c.mu.Lock()
		if c.closed || c.draining {
			c.mu.Unlock()
			return errStopping
		}
		if c.mutedUntil != 0 {
			if muted := time.Duration(c.mutedUntil - c.server.now()); muted > 0 {
				c.parked = true
				c.mu.Unlock()
				if err := r.parkFor(muted); err != nil {
					return err
				}
				continue
			}
			c.mutedUntil = 0
		}
		if c.inFlight < c.server.cfg.MaxPipelined && (c.bytes == 0 || c.bytes+n <= c.server.cfg.MaxBytesPerConnection) {
			c.bytes += n
			c.mu.Unlock()
			break
		}
		c.parked = true
		c.mu.Unlock()
		if err := r.park(); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	b := c.server.budgets.of(n)
	claim := b.acquire(n, c.wake)
	look := c.server.now() + int64(c.server.cfg.StallTimeout)
	for claim != nil && !b.granted(claim) {
		c.mu.Lock()
		c.parked = true
		c.mu.Unlock()
		// The grant may have come before parked was set, when waking did nothing: look once more.
		var err error
		if b.granted(claim) {
			err = r.unpark()
		} else {
			err = r.parkFor(c.server.cfg.StallTimeout)
		}
		if now := c.server.now(); err == nil && now >= look && b.isFirst(claim) {
			c.server.relieve(b, n)
			look = now + int64(c.server.cfg.StallTimeout)
		}
		if err != nil {
			b.drop(claim)
			c.release(n)
			return err
		}
	}
	return nil
}

// release takes n bytes off the connection's own count.
func (c *conn) release(n int64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	c.bytes -= n
	c.wakeLocked()
	c.mu.Unlock()
}

// refund returns what admit took.
func (c *conn) refund(n int64) {
	c.release(n)
	c.server.budgets.of(n).release(n)
}

// park waits until the connection is woken. Meanwhile nothing is read, and yet a client that hangs up is noticed: the
// system tells of that without a read. Where it cannot be asked, the sweeper or a write finds out.
func (r *reader) park() error {
	c := r.c
	var err error
	if c.raw != nil {
		r.hungUp = false
		err = c.raw.Read(r.hangupFn)
	} else {
		<-c.wakeups
	}
	if r.hungUp {
		return errHangup
	}
	if err != nil && !isTimeout(err) {
		return readError(err)
	}
	return r.unpark()
}

// parkFor is park for no longer than d.
func (r *reader) parkFor(d time.Duration) error {
	timer := time.AfterFunc(d, r.c.wake)
	defer timer.Stop()
	return r.park()
}

// unpark makes the connection fit for reading again: the deadline that woke it is taken back.
func (r *reader) unpark() error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked = false
	if c.draining || c.closed {
		return errStopping
	}
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return readError(err)
	}
	return nil
}
