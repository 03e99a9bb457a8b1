// Package inbox carries what became of a coordinator's proposals from the goroutines that learn it, which must not block, to the one that settles it.
package inbox

import "sync"

// Box is a queue from many goroutines to one. It has no bound of its own: what is in it is what is in flight, which its owner bounds.
// Safe for concurrent use.
type Box[T any] struct {
	wake   chan struct{}
	mu     sync.Mutex
	notes  []T
	closed bool // nobody reads any more
}

// New returns an empty box.
func New[T any]() *Box[T] { return &Box[T]{wake: make(chan struct{}, 1)} }

// Wake has something when there may be something to take. It stays the same channel.
func (b *Box[T]) Wake() <-chan struct{} { return b.wake }

// Add leaves a note, and does not block. It returns false when the box is closed: nobody will read it.
func (b *Box[T]) Add(note T) bool {
	b.mu.Lock()
	open := !b.closed
	if open {
		b.notes = append(b.notes, note)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // a signal that is pending already says the same
	}
	return open
}

// Take empties the box, and returns what was in it in the order in which it came.
func (b *Box[T]) Take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := b.notes
	b.notes = nil
	return notes
}

// Close takes what is left, and has the box take nothing more.
func (b *Box[T]) Close() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := b.notes
	b.notes, b.closed = nil, true
	return notes
}
