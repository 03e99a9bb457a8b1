// Package aside keeps a state machine that breaks a rule of its own from taking others with it.
//
// Such a machine panics. Its state is in the image, so that a broker that ended of it would leave it to the next one, which would end of it, too, and
// after that the next: one group, one transactional id or one share would take the cluster. A panic that only the connection survives is no better,
// as the machine's lock would be held for ever, and with it everything else behind that lock. So what is in memory of the machine goes, which is what
// a restart would do; who waits for it is sent away; and for a while nobody is let in. Then it is made from the image again.
package aside

import (
	"maps"
	"sync"
	"time"
)

// For is how long nobody is let in: whoever keeps breaking a machine has the broker write a line a minute, with a stack.
const For = time.Minute

// Contain runs f under a lock. When f panics, broken is run under the same lock, with what it panicked with and on its stack, and the panic's value is
// returned. nil: f has returned.
func Contain(mu sync.Locker, f func(), broken func(panicked any)) (panicked any) {
	mu.Lock()
	defer mu.Unlock()
	defer func() {
		if panicked = recover(); panicked != nil {
			broken(panicked)
		}
	}()
	f()
	return nil
}

// Set is the machines that are set aside, by name. The zero value is empty. It is guarded by its owner's lock.
type Set[K comparable] struct{ until map[K]time.Time }

// Add sets a machine aside.
func (s *Set[K]) Add(k K, now time.Time) {
	if s.until == nil {
		s.until = map[K]time.Time{}
	}
	maps.DeleteFunc(s.until, func(_ K, until time.Time) bool { return !now.Before(until) }) // nobody may ask for those again
	s.until[k] = now.Add(For)
}

// Has tells whether a machine is set aside, and forgets one that has been for long enough.
func (s *Set[K]) Has(k K, now time.Time) bool {
	until, ok := s.until[k]
	if ok && !now.Before(until) {
		delete(s.until, k)
		return false
	}
	return ok
}
