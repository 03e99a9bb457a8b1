package quorum

import (
	"context"
	"sync"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
)

const (
	// entryBytes is what is coalesced into one Raft entry; a larger command goes alone.
	entryBytes = 512 << 10

	// queueCommands and queueBytes bound what waits. At the bound Propose
	// waits and ProposeAsync is refused.
	queueCommands = 1 << 16
	queueBytes    = 64 << 20
)

// proposal is one command on its way. done is called exactly once, unless it is dropped.
type proposal struct {
	body command.Body
	done func(result any, err error)
	at   time.Time // when it came
}

// queue holds what waits for the next entry, in order.
type queue struct {
	mu      sync.Mutex
	waiting []*proposal
	bytes   int
	closed  bool

	filled chan struct{} // capacity 1: there may be something to take
	room   chan struct{} // closed and replaced when something was taken
}

func newQueue() *queue {
	return &queue{filled: make(chan struct{}, 1), room: make(chan struct{})}
}

// offer takes p, or refuses it with ErrOverloaded or ErrClosed.
func (q *queue) offer(p *proposal) error {
	_, err := q.tryPut(p)
	return err
}

// put is offer that waits for room.
func (q *queue) put(ctx context.Context, p *proposal) error {
	for {
		room, err := q.tryPut(p)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryPut takes p. When there is no room the error is ErrOverloaded, and the
// channel is closed when it is worth trying again.
func (q *queue) tryPut(p *proposal) (room <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrClosed
	}
	n := p.body.Len()
	if len(q.waiting) >= queueCommands || len(q.waiting) > 0 && q.bytes+n > queueBytes {
		return q.room, ErrOverloaded
	}
	p.at = time.Now()
	q.waiting = append(q.waiting, p)
	q.bytes += n
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return nil, nil
}

// drop forgets p if it still waits; its done is then never called.
func (q *queue) drop(p *proposal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, w := range q.waiting {
		if w == p {
			q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
			q.bytes -= p.body.Len()
			q.freed()
			return
		}
	}
}

// take returns what fits into one entry, from the front; nothing when nothing waits.
func (q *queue) take() []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) {
		l := q.waiting[n].body.Len()
		if n > 0 && size+l > entryBytes {
			break
		}
		size += l
		n++
	}
	if n == 0 {
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.bytes -= size
	q.freed()
	return batch
}

// freed tells those who wait for room. mu is held.
func (q *queue) freed() {
	close(q.room)
	q.room = make(chan struct{})
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// close refuses all that comes; what waits is left to the proposer to fail.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.freed()
}
