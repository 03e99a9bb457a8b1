package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/batch"
)

const (
	// At most so many answers are sent together: the first of them should not wait for the last.
	maxGather = 64

	// enough is how many encoded bytes leave before further answers are encoded: a client that sends a hundred questions and takes no answer
	// has one of them in memory, however large they are.
	enough = 256 << 10

	// keepBuffer is how large an outbox's buffer may be to be kept for the next answer.
	keepBuffer = 64 << 10
)

// outbox is answers on their way: encoded bytes, and the runs that go between them.
type outbox struct {
	requests []*request
	buf      []byte
	cuts     []wire.Cut // where runs belong in buf
	parts    []part     // what is still to be sent, in order; made of buf and cuts
	store    []part     // the array that parts is the rest of
	scratch  [][]byte   // of the writer
	sealed   sealed     // of TLS: ciphertext of what came before parts
}

// part is bytes, or n bytes of a file at pos.
type part struct {
	bytes []byte
	file  batch.FileView
	pos   int64
	n     int
}

var outboxes = sync.Pool{New: func() any { return &outbox{buf: make([]byte, 0, 512)} }}

func (o *outbox) free() {
	if cap(o.buf) > keepBuffer {
		return
	}
	o.reset()
	outboxes.Put(o)
}

// reset forgets everything, so that nothing is kept alive, but keeps the memory.
func (o *outbox) reset() {
	clear(o.requests)
	clear(o.cuts)
	clear(o.store)
	clear(o.scratch)
	o.requests, o.buf, o.cuts, o.store, o.scratch = o.requests[:0], o.buf[:0], o.cuts[:0], o.store[:0], o.scratch[:0]
	o.parts = nil
}

// flush sends all answers whose turn it is. The caller is the writer (it has set writing), and is none afterwards. Unless
// it may wait for the client, what the socket does not take at once is handed over.
func (c *conn) flush(wait bool) {
	for {
		if !c.out.pending() && !c.gather(wait) {
			return
		}
		done, err := c.send(wait)
		if err != nil {
			c.abortWrite(err)
			return
		}
		if !done {
			c.handOver()
			return
		}
		if !c.sent() {
			return
		}
	}
}

// handOver lets a goroutine be the writer, which may wait.
func (c *conn) handOver() {
	if !c.server.spawn(func() {
		defer func() {
			if p := recover(); p != nil {
				c.panicked(p)
			}
		}()
		c.flush(true)
	}) {
		c.abortWrite(errStopping)
	}
}

// pending tells whether something is still to be sent.
func (o *outbox) pending() bool {
	return o != nil && (len(o.parts) > 0 || len(o.sealed.rest) > 0)
}

// gather takes the answers at the head of the queue and encodes them. It returns false, and the caller is no writer any
// more, when there are none, or none that it may write.
func (c *conn) gather(wait bool) bool {
	if c.out == nil {
		c.out = outboxes.Get().(*outbox)
	}
	o := c.out
	o.reset()
	c.mu.Lock()
	for c.head != nil && c.head.answered && (wait || !c.head.heavy) && len(o.requests) < maxGather {
		x := c.head
		if c.head = x.next; c.head == nil {
			c.tail = nil
		}
		x.next = nil
		o.requests = append(o.requests, x)
		if x.reply.Close != nil {
			break // nothing goes out behind it
		}
	}
	switch {
	case len(o.requests) > 0:
		c.mu.Unlock()
		return c.encode(o)
	case c.head != nil && c.head.answered:
		c.mu.Unlock()
		c.handOver()
		return false
	}
	c.out = nil
	c.writing = false
	end := c.draining && c.inFlight == 0 && !c.closed
	c.mu.Unlock()
	o.free()
	if end {
		c.shutdown(errStopping)
	}
	return false
}

// encode makes bytes of what was gathered. It returns false when that went wrong, and the caller is no writer any more.
func (c *conn) encode(o *outbox) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.server.said.Say(slog.LevelError, "panic", c.client.Addr, "panic while encoding an answer", "panic", p, "stack", string(debug.Stack()))
			c.abortWrite(fmt.Errorf("%w: %v", errPanic, p))
			ok = false
		}
	}()
	for i, x := range o.requests {
		if len(o.buf) >= enough {
			c.putBack(o.requests[i:])
			clear(o.requests[i:])
			o.requests = o.requests[:i]
			break
		}
		start, cut := len(o.buf), len(o.cuts)
		switch r := &x.reply; {
		case r.Message != nil:
			o.buf = append(o.buf, 0, 0, 0, 0)
			o.buf = wire.AppendResponseHeader(o.buf, x.exchange.Key, x.flexible, x.exchange.CorrelationID)
			o.buf = r.Message.AppendTo(o.buf)
		case r.Fetch != nil:
			o.buf = append(o.buf, 0, 0, 0, 0)
			o.buf = wire.AppendResponseHeader(o.buf, x.exchange.Key, x.flexible, x.exchange.CorrelationID)
			o.buf, o.cuts = r.Fetch.AppendTo(o.buf, o.cuts)
		default: // nothing is sent; a Close comes after what is before it
			continue
		}
		x.sent = len(o.buf) - start
		for _, k := range o.cuts[cut:] {
			x.sent += k.Run.Len()
		}
		binary.BigEndian.PutUint32(o.buf[start:], uint32(x.sent-sizeLen))
	}
	o.split()
	return true
}

// putBack makes requests that were gathered the first of the queue again.
func (c *conn) putBack(requests []*request) {
	c.mu.Lock()
	closed := c.closed // and nobody looks at the queue any more
	if !closed {
		for _, x := range slices.Backward(requests) {
			if x.next, c.head = c.head, x; c.tail == nil {
				c.tail = x
			}
		}
	}
	c.mu.Unlock()
	if closed {
		for _, x := range requests {
			x.dropAnswer()
		}
	}
}

// split makes parts of the encoded bytes and the runs between them.
func (o *outbox) split() {
	from := 0
	for i := range o.cuts {
		k := &o.cuts[i]
		if k.At > from {
			o.store = append(o.store, part{bytes: o.buf[from:k.At]})
			from = k.At
		}
		if k.Run.Bytes != nil {
			o.store = append(o.store, part{bytes: k.Run.Bytes[:k.Run.N]})
		} else {
			o.store = append(o.store, part{file: k.Run.File, pos: k.Run.Pos, n: k.Run.N})
		}
	}
	if len(o.buf) > from {
		o.store = append(o.store, part{bytes: o.buf[from:]})
	}
	o.parts = o.store
}

// advance takes n sent bytes off the parts that hold bytes.
func (o *outbox) advance(n int) {
	for n > 0 {
		p := &o.parts[0]
		if n < len(p.bytes) {
			p.bytes = p.bytes[n:]
			return
		}
		n -= len(p.bytes)
		o.pop()
	}
}

// pop drops the first part.
func (o *outbox) pop() {
	o.parts[0] = part{}
	o.parts = o.parts[1:]
}

// sent ends the answers that were sent. It returns false when one of them was to close the connection; the caller is no
// writer any more then.
func (c *conn) sent() bool {
	s := c.server
	now := s.now()
	var end error
	for _, x := range c.out.requests {
		failed, throttled := x.reply.Close != nil, x.reply.Mute > 0
		if failed && end == nil {
			end = x.reply.Close
		}
		x.dropAnswer()
		s.observer.Request(RequestStats{Listener: c.client.Listener, Key: x.exchange.Key, Version: x.exchange.Version,
			Request: x.size, Response: x.sent, Total: time.Duration(now - x.began), Throttled: throttled, Failed: failed,
			ClientID: x.exchange.ClientID, Client: &c.client, Trace: x.exchange.Trace})
		if t := x.exchange.Trace; t != nil {
			x.exchange.Trace = nil
			c.freeTrace(t)
		}
	}
	n := len(c.out.requests)
	c.out.reset()
	c.mu.Lock()
	c.inFlight -= n
	c.wakeLocked()
	c.mu.Unlock()
	if end != nil {
		c.abortWrite(end)
		return false
	}
	return true
}

// abortWrite ends the connection from its writer, who is none afterwards.
func (c *conn) abortWrite(why error) {
	o := c.out
	c.out = nil
	if o != nil {
		for _, x := range o.requests {
			x.dropAnswer()
		}
		o.sealed.release()
		o.free()
	}
	c.stuckSince.Store(0)
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
	c.shutdown(why)
}

// send sends the outbox. It returns done=false when the socket is full and the caller may not wait.
func (c *conn) send(wait bool) (done bool, err error) {
	if !c.out.pending() {
		return true, nil
	}
	if c.raw == nil {
		if !wait {
			return false, nil
		}
		err = c.sendPortably()
	} else {
		err = c.sendRaw(wait)
	}
	if err != nil {
		if errors.Is(err, net.ErrClosed) || isReset(err) {
			err = errHangup
		}
		return false, err
	}
	if !c.out.pending() {
		c.stuckSince.Store(0)
		return true, nil
	}
	return false, nil
}

// sendPortably is for connections that are not TCP, or elsewhere than on Linux: files are copied.
func (c *conn) sendPortably() error {
	o := c.out
	for len(o.parts) > 0 {
		c.stuckSince.Store(c.server.now())
		p := &o.parts[0]
		if p.file == nil {
			if _, err := c.stream.Write(p.bytes); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			o.pop()
			continue
		}
		n, err := readPart(p)
		if err != nil {
			return err
		}
		_, err = c.stream.Write(n.B)
		n.Release()
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if p.n == 0 {
			o.pop()
		}
	}
	return nil
}

// readPart copies the next piece of a file part into a buffer, which the caller releases.
func readPart(p *part) (*wire.Frame, error) {
	const piece = 256 << 10
	f := wire.GetFrame(min(p.n, piece))
	n, err := p.file.ReadAt(f.B, p.pos)
	if n < len(f.B) {
		f.Release()
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read what is to be sent: %w", err)
	}
	p.pos += int64(n)
	p.n -= n
	return f, nil
}
