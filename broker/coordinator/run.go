package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/qanat-io/qanat/metadata/image"
)

// turn is how many groups Run looks at before it looks at its inbox again.
const turn = 256

// Run loads the groups of this broker's shards once the quorum is ready, serves until ctx ends, and then answers everything
// that is parked. Call it once. An error means that the image holds a group that this release cannot read.
func (c *Coordinator) Run(ctx context.Context) error {
	err := c.run(ctx)
	// Not deferred: a panic under a shard's lock has to end the process. To stop would wait for that lock for ever, and the broker would
	// neither serve its groups nor leave them to others.
	c.stop()
	c.said.Flush()
	return err
}

func (c *Coordinator) run(ctx context.Context) error {
	if err := c.quorum.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("coordinator: %w", err)
	}
	if err := c.Follow(c.quorum.Image()); err != nil {
		return err
	}
	c.phase.Store(serving)

	sweep := time.NewTicker(max(c.cfg.CheckInterval, time.Second))
	defer sweep.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			c.sweep(ctx)
		case <-timer.C:
		case <-c.timers.wake:
		case <-c.inbox.Wake():
		}
		c.take()
		if next := c.advance(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// take tells groups what became of their proposals.
func (c *Coordinator) take() {
	for _, n := range c.inbox.Take() {
		e := n.e
		c.guarded(e.shard, e.name, func(now time.Time, out *effects) {
			e.persists--
			switch {
			case e.dropped:
				// Its parked requests have been answered.
			case n.deleted != nil:
				if n.err = c.settleDeletion(e, n.err); n.err != nil {
					c.settle(e, now, out)
				}
			case n.g == e.g: // else the group is of another protocol by now
				c.persisted(e, now, n, out)
				c.settle(e, now, out)
			}
		})
		if n.deleted != nil {
			n.deleted(n.err)
		}
	}
}

// persisted tells a machine what became of a state that it wanted kept. Under the shard's lock.
func (c *Coordinator) persisted(e *entry, now time.Time, n note, out *effects) {
	switch g := e.g.(type) {
	case classicGroup:
		g.Persisted(now, n.seq, n.err, &out.classic)
	case consumerGroup:
		if c.stored(e, now, n, out) {
			g.Persisted(now, n.seq, &out.consumer)
		}
	case shareGroup:
		if c.stored(e, now, n, out) {
			g.Persisted(n.seq, &out.share)
		}
	case streamsGroup:
		if c.stored(e, now, n, out) {
			g.Persisted(n.seq, &out.streams)
		}
	}
}

// stored tells whether a change of a group that is kept by parts is durable. One that is not, or of which nobody knows, has everybody who waits told
// to come again, and the group is made anew from the image: should the change come through after all, what is decided meanwhile is refused by the
// group's version, and this happens once more.
func (c *Coordinator) stored(e *entry, now time.Time, n note, out *effects) bool {
	if n.err == nil {
		if ig, ok := c.quorum.Image().Group(e.name); ok {
			e.version = ig.Version
		}
		return true
	}
	c.log.Warn("change of a group not stored: the group is loaded anew", "group", e.name, "type", e.g.kind(), "error", n.err)
	e.g.abort(now, n.err, out)
	if err := c.restore(e, now); err != nil {
		c.log.Error("group cannot be loaded", "group", e.name, "error", err)
		e.dropped = true
		c.forget(e)
	}
	return false
}

// settleDeletion forgets the group that is deleted, or takes the deletion back.
func (c *Coordinator) settleDeletion(e *entry, err error) error {
	if err == nil || errors.Is(err, image.ErrUnknownGroup) {
		c.forget(e)
		return nil
	}
	e.g.Revive()
	return err
}

// advance lets time pass for the groups whose deadline has come, and returns when the next one is due.
func (c *Coordinator) advance() (next time.Time) {
	es, next := c.timers.due(time.Now(), turn)
	for _, e := range es {
		c.guarded(e.shard, e.name, func(now time.Time, out *effects) {
			if e.shard.groups[e.name] != e {
				return
			}
			e.wake = time.Time{}
			e.g.advance(now, out)
			if e.quiet() && len(out.classic.Persists) == 0 {
				c.forget(e)
			} else {
				c.settle(e, now, out)
			}
		})
	}
	if len(es) > 0 {
		return time.Now() // what was just set may be earlier than next
	}
	return next
}

// stop answers everything that is parked and serves no more.
func (c *Coordinator) stop() {
	c.phase.Store(stopped)
	for i := range c.shards {
		s := &c.shards[i]
		var out effects
		s.mu.Lock()
		for _, e := range s.groups {
			e.g.abort(time.Now(), ErrStopped, &out)
		}
		s.mine = false
		s.mu.Unlock()
		c.deliver("", &out)
	}
	for _, n := range c.inbox.Close() {
		if n.deleted != nil {
			n.deleted(n.err)
		}
	}
}
