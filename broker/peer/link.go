package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/wire"
)

const (
	// maxResponse bounds an answer: a replica's fetch with one large batch beyond its limit, and more than enough of anything else.
	maxResponse = 256 << 20

	// firstBytes is what is taken for an answer on its size's word alone: all of a replica's fetch but one of huge batches.
	// More is allocated as it arrives.
	firstBytes = 16 << 20

	// keptRequest bounds what a link keeps of its largest request.
	keptRequest = 1 << 20

	// writeTimeout is how long another broker may take nothing of what it is sent.
	writeTimeout = 10 * time.Second
)

// ErrSilent says that a broker has answered nothing on its connection within a request's time.
var ErrSilent = errors.New("no answer")

// link is one connection of a Client's. Requests go out in the order of send; answers are told apart by their numbers.
type link struct {
	nc        *Conn
	formatter *kmsg.RequestFormatter

	writing chan struct{} // holds a token while somebody writes; taken before mu
	buf     []byte

	mu       sync.Mutex
	waiting  map[int32]*call
	next     int32
	answers  int64 // read so far
	err      error // why it has ended; nil while it lives
	finished chan struct{}
}

// call is a request without an answer.
type call struct {
	flexible bool // the answer's header has tags
	done     chan struct{}
	frame    *wire.Frame // holds the answer; whoever made the call releases it
	body     []byte      // the part of frame behind the header; nil with err
	err      error
}

func newLink(nc *Conn, clientID string) *link {
	return &link{
		nc: nc, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)),
		writing: make(chan struct{}, 1), waiting: map[int32]*call{}, finished: make(chan struct{}),
	}
}

// run reads answers until the connection ends; ended is called then.
func (l *link) run(ended func()) {
	in := bufio.NewReaderSize(l.nc, 64<<10)
	var err error
	for err == nil {
		err = l.receive(in)
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the connection was closed: %w", err)
	}
	l.end(err)
	ended()
	close(l.finished)
}

func (l *link) receive(in *bufio.Reader) error {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head[:4])) - 4
	if size < 0 || size > maxResponse {
		return fmt.Errorf("an answer of %d bytes", size)
	}
	frame, err := readAnswer(in, int(size))
	if err != nil {
		return err
	}
	number := int32(binary.BigEndian.Uint32(head[4:]))
	l.mu.Lock()
	c := l.waiting[number]
	delete(l.waiting, number)
	known := c != nil || number >= 0 && number < l.next // else whoever waited has left
	l.answers++
	l.mu.Unlock()
	if c == nil {
		frame.Release()
		if !known {
			return fmt.Errorf("an answer to request %d, which was never sent", number)
		}
		return nil
	}
	c.take(frame)
	close(c.done)
	return nil
}

// take makes the frame the call's answer.
func (c *call) take(frame *wire.Frame) {
	body := frame.B
	if c.flexible {
		if len(body) == 0 || body[0] != 0 {
			frame.Release()
			c.err = errors.New("an answer whose header has tags") // no broker sends any
			return
		}
		body = body[1:]
	}
	c.frame, c.body = frame, body
}

// readAnswer reads n bytes. Beyond firstBytes it takes no more than twice what has arrived.
func readAnswer(in io.Reader, n int) (*wire.Frame, error) {
	f := wire.GetFrame(min(n, firstBytes))
	for read := 0; ; {
		m, err := io.ReadFull(in, f.B[read:])
		read += m
		if err != nil {
			f.Release()
			return nil, err
		}
		if read == n {
			return f, nil
		}
		larger := wire.GetFrame(min(n, 2*read))
		copy(larger.B, f.B)
		f.Release()
		f = larger
	}
}

// end fails all that wait and closes the connection.
func (l *link) end(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	_ = l.nc.Close() // it has ended, with whatever is left in it
	for _, c := range waiting {
		c.err = err
		close(c.done)
	}
}

// alive tells whether requests may be sent.
func (l *link) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil
}

// roundTrip sends a request and waits for its answer, whose frame the caller releases or leaves.
func (l *link) roundTrip(ctx context.Context, req kmsg.Request) (*call, error) {
	c := &call{flexible: req.IsFlexible(), done: make(chan struct{})}
	number, answers, err := l.send(ctx, req, c)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return c, c.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	_, waiting := l.waiting[number]
	delete(l.waiting, number)
	silent := l.answers == answers
	l.mu.Unlock()
	if !waiting { // the answer, or the connection's end, came first
		<-c.done
		return c, c.err
	}
	err = ctx.Err()
	if silent && errors.Is(err, context.DeadlineExceeded) {
		// Whoever is there takes requests and answers none: another connection may fare better, and this one's end is news.
		err = fmt.Errorf("%w: %w", ErrSilent, err)
		l.end(err)
	}
	return nil, err
}

// send writes a request. answers is how many had come when it was sent.
func (l *link) send(ctx context.Context, req kmsg.Request, c *call) (number int32, answers int64, err error) {
	select {
	case l.writing <- struct{}{}:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	defer func() { <-l.writing }()
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return 0, 0, l.err
	}
	number, answers = l.next, l.answers
	if l.next++; l.next < 0 {
		l.next = 0
	}
	l.waiting[number] = c
	l.mu.Unlock()
	l.buf = l.formatter.AppendRequest(l.buf[:0], req, number)
	if cap(l.buf) > keptRequest {
		defer func() { l.buf = nil }()
	}
	if err = l.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
		_, err = l.nc.Write(l.buf)
	}
	if err != nil {
		l.end(fmt.Errorf("write: %w", err))
		return 0, 0, err
	}
	return number, answers, nil
}

// answerTo undoes what Mux does: an answer's first byte says whether the rest is what was asked for or a refusal.
func answerTo(key int16, body []byte) ([]byte, error) {
	switch {
	case len(body) == 0:
		return nil, fmt.Errorf("%w: an empty answer to %s", errNotQanat, Name(key))
	case body[0] == statusOK:
		return body[1:], nil
	case body[0] == statusRefused:
		var r refusal
		if err := decoding.Unmarshal(body[1:], &r); err != nil {
			return nil, fmt.Errorf("refusal of %s: %w: %w", Name(key), errNotQanat, err)
		}
		return nil, &Refusal{Code: r.Code, Text: r.Text}
	}
	return nil, fmt.Errorf("%w: an answer of kind %d to %s", errNotQanat, body[0], Name(key))
}
