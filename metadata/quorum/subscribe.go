package quorum

import (
	"sync"
	"sync/atomic"

	"github.com/qanat-io/qanat/metadata/image"
)

// subscribers are told of changes, each by a goroutine of its own. What one
// has not heard yet is folded, so that a slow one costs memory in proportion
// to what changed, not to how often.
type subscribers struct {
	mu      sync.Mutex
	list    []*subscriber
	closed  bool
	running sync.WaitGroup
}

type subscriber struct {
	call func(old, new *image.Image, ch Changes)
	wake chan struct{} // capacity 1; closed at the end

	mu     sync.Mutex
	latest *image.Image // of the changes folded
	folded image.Folder
}

// add starts a subscriber at the image of the moment. Holding mu keeps publish
// from running between the look at the image and the entry into the list.
func (s *subscribers) add(current *atomic.Pointer[image.Image], call func(old, new *image.Image, ch Changes)) *image.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := current.Load()
	if s.closed {
		return start
	}
	sub := &subscriber{call: call, wake: make(chan struct{}, 1), latest: start}
	s.list = append(s.list, sub)
	s.running.Go(func() { sub.run(start) })
	return start
}

// publish is called after next is visible to everyone.
func (s *subscribers) publish(next *image.Image, changes Changes) {
	if changes.Empty() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for _, sub := range s.list {
		sub.mu.Lock()
		sub.latest = next
		sub.folded.Add(changes)
		sub.mu.Unlock()
		select {
		case sub.wake <- struct{}{}:
		default: // it has not yet looked at what it was woken for
		}
	}
}

// close ends all subscribers and waits for the calls that run.
func (s *subscribers) close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		for _, sub := range s.list {
			close(sub.wake)
		}
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (sub *subscriber) run(old *image.Image) {
	for range sub.wake {
		sub.mu.Lock()
		next, changes := sub.latest, sub.folded.Take()
		sub.mu.Unlock()
		if changes.Empty() {
			continue
		}
		sub.call(old, next, changes)
		old = next
	}
}
