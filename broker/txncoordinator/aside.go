package txncoordinator

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
)

// A transactional id that breaks a rule of its own is set aside; see package aside. What is decided of it is carried out afterwards, by the sweep.

var errAside = fmt.Errorf("%w: the transactional id broke a rule of its own and is set aside; the broker's log says which, see \"transactional id set aside\"", ErrNotAvailable)

// guarded runs f under the lock of a shard, on behalf of one id of it, and makes the calls. A panic of f sets the id aside, and no more: everybody
// who waits for it is told.
func (c *Coordinator) guarded(s *shard, id string, f func(out *calls)) {
	var out calls
	aside.Contain(&s.mu, func() { f(&out) }, func(panicked any) { c.setAside(s, id, panicked, &out) })
	out.make()
}

// setAside follows a panic of an id. Under s.mu.
func (c *Coordinator) setAside(s *shard, id string, panicked any, out *calls) {
	c.said.Say(slog.LevelError, "transactional id set aside", nil, "transactional id set aside: it broke a rule of its own, and is loaded again in a minute; this is a fault of Qanat's, please report it",
		slog.String("transactional_id", id), slog.Any("panic", panicked), slog.String("stack", string(debug.Stack())))
	s.aside.Add(id, time.Now())
	if e := s.entries[id]; e != nil {
		c.dropEntry(e, errAside, out)
	}
}
