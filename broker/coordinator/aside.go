package coordinator

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/group"
)

// A group that breaks a rule of its own is set aside; see package aside.

var errAside = fmt.Errorf("%w: the group broke a rule of its own and is set aside; the broker's log says which, see \"group set aside\"", group.ErrNotAvailable)

// locked runs f on the group under its lock. A panic of f goes on to the caller once the group is set aside: a request's connection is closed for it.
func (c *Coordinator) locked(name string, f func(e *entry, now time.Time) error) (err error) {
	s := c.shardOf(name)
	if p := c.contained(s, name, func() { err = c.enter(s, name, time.Now(), f) }); p != nil {
		panic(p)
	}
	return err
}

// enter finds the group and runs f on it. Under s.mu.
func (c *Coordinator) enter(s *shard, name string, now time.Time, f func(e *entry, now time.Time) error) error {
	if err := c.Serving(); err != nil { // again: what is parked after the end would never be answered
		return err
	}
	if err := s.serves(); err != nil {
		return err
	}
	e, err := c.find(s, name, now)
	if err != nil {
		return err
	}
	return f(e, now)
}

// guarded runs f under the lock of a shard, on behalf of one group of it, and carries out the effects. A panic of f sets the group aside, and no more.
func (c *Coordinator) guarded(s *shard, name string, f func(now time.Time, out *effects)) {
	var out effects
	if p := c.contained(s, name, func() { f(time.Now(), &out) }); p == nil {
		c.deliver(name, &out)
	}
}

// contained runs f under the lock of a shard, on behalf of one group of it. What f panics with is returned, and the group is set aside.
func (c *Coordinator) contained(s *shard, name string, f func()) (panicked any) {
	var sent *effects
	defer func() {
		if sent != nil { // here, where the lock is free: what is answered may come back for it
			c.deliver(name, sent)
		}
	}()
	return aside.Contain(&s.mu, f, func(panicked any) { sent = c.setAside(s, name, panicked) })
}

// setAside follows a panic of a group, on the goroutine that recovered from it. It returns what those are told who waited in it. Under s.mu.
func (c *Coordinator) setAside(s *shard, name string, panicked any) *effects {
	c.said.Say(slog.LevelError, "group set aside", nil, "group set aside: it broke a rule of its own, and is loaded again in a minute; this is a fault of Qanat's, please report it",
		slog.String("group", name), slog.Any("panic", panicked), slog.String("stack", string(debug.Stack())))
	s.aside.Add(name, time.Now())
	out := &effects{}
	e := s.groups[name]
	if e == nil {
		return out
	}
	func() {
		defer func() { _ = recover() }() // it is broken: whom it still tells is told, the others' sessions or requests time out
		e.g.abort(time.Now(), errAside, out)
	}()
	e.dropped = true
	c.forget(e)
	return out
}
