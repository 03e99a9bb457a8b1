package txncoordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/aside"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

// Run serves until ctx ends. Call it once.
func (c *Coordinator) Run(ctx context.Context) error {
	err := c.run(ctx)
	c.stop() // not deferred: a panic of what is no id's own has to end the process
	c.said.Flush()
	return err
}

func (c *Coordinator) run(ctx context.Context) error {
	if err := c.quorum.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("transaction coordinator: %w", err)
	}
	c.senders.begin(ctx)
	c.phase.Store(serving)
	c.Follow(c.quorum.Image())
	sweep := time.NewTicker(c.cfg.Sweep)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			c.sweep(ctx)
		case <-c.inbox.Wake():
			for _, n := range c.inbox.Take() {
				c.take(n)
			}
		}
	}
}

// Follow brings the shards in line with an image that was published: what is decided in those that have come is carried out, who
// waits in those that have gone is sent away. It is given to the quorum as a subscriber.
func (c *Coordinator) Follow(m *image.Image) {
	c.following.Lock()
	defer c.following.Unlock()
	if c.phase.Load() != serving {
		return
	}
	came := map[*shard]bool{}
	for i := range c.shards {
		if s := &c.shards[i]; c.place(s, m.Coordinator(int32(i))) {
			came[s] = true
		}
	}
	if len(came) > 0 {
		c.resume(func(id string) bool { return came[c.shardOf(id)] })
	}
}

// place notes a shard's placement, and drops what is in flight in it unless it stays.
func (c *Coordinator) place(s *shard, now image.Coordinator) (came bool) {
	var out calls
	s.mu.Lock()
	if now.Epoch > s.placed.Epoch {
		s.placed, s.mine, s.aside = now, now.Broker == c.cfg.Node, aside.Set[string]{}
		came = s.mine
		c.drop(s, ErrNotCoordinator, &out)
	}
	s.mu.Unlock()
	out.make()
	return came
}

// drop forgets all entries of a shard, and answers whoever waits. Under s.mu.
func (c *Coordinator) drop(s *shard, err error, out *calls) {
	for _, e := range s.entries {
		c.dropEntry(e, err, out)
	}
}

// dropEntry forgets an entry, and answers whoever waits. Under the shard's lock.
func (c *Coordinator) dropEntry(e *entry, err error, out *calls) {
	e.dropped, e.marking = true, nil
	for _, p := range e.proposals {
		for _, answer := range p.answers {
			out.add(answer, err)
		}
	}
	for _, r := range e.parked {
		r.timer.Stop() // who comes too late for that finds nothing
		out.add(r.answer, err)
	}
	for _, r := range e.asking {
		out.add(r.answer, err)
	}
	e.proposals, e.parked, e.asking = nil, nil, nil
	delete(e.shard.entries, e.id)
	c.busy.Add(-1)
}

// resume carries out what is decided in the image and in nobody's hands.
func (c *Coordinator) resume(of func(id string) bool) {
	c.quorum.Image().Transactions(func(r *txn.Record) bool {
		if r.State.Decided() && of(r.ID) {
			c.with(r.ID, func(e *entry, _ *calls) {
				if e.idle() && e.record != nil && e.record.State.Decided() {
					c.mark(e, e.record)
				}
			})
		}
		return true
	})
}

// idle tells whether the record is the image's, and nothing happens to it.
func (e *entry) idle() bool { return len(e.proposals) == 0 && e.marking == nil && !e.broken }

// with runs f on an entry, if the id is coordinated here.
func (c *Coordinator) with(id string, f func(*entry, *calls)) {
	s := c.shardOf(id)
	c.guarded(s, id, func(out *calls) {
		if e, err := c.find(s, id); err == nil {
			f(e, out)
			c.settle(e)
		}
	})
}

// sweep ends transactions that have run out of time, forgets ids that nobody uses, and picks up what has been left over: a decision
// whose outcome was not known when it was proposed.
func (c *Coordinator) sweep(ctx context.Context) {
	now := c.nowMs()
	c.quorum.Image().Transactions(func(r *txn.Record) bool {
		timedOut, expired := txn.TimedOut(r, now), txn.Expired(r, now, c.cfg.Expiry.Milliseconds())
		if !timedOut && !expired && !r.State.Decided() {
			return ctx.Err() == nil
		}
		c.with(r.ID, func(e *entry, _ *calls) {
			switch old := e.record; {
			case !e.idle() || old == nil:
			case txn.TimedOut(old, now):
				c.log.Info("transaction ran out of time and is aborted", "transactional_id", old.ID, "producer", old.Producer, "epoch", old.Epoch, "timeout_ms", old.TimeoutMs)
				c.propose(e, txn.Fence(old, now))
			case txn.Expired(old, now, c.cfg.Expiry.Milliseconds()):
				c.forget(e)
			case old.State.Decided():
				c.mark(e, old)
			}
		})
		return ctx.Err() == nil
	})
}

// forget proposes that an id is forgotten. Under the shard's lock.
func (c *Coordinator) forget(e *entry) {
	p := &proposal{}
	e.proposals = append(e.proposals, p)
	d := command.DeleteTransaction{ID: e.id, Revision: e.record.Revision, Coordinator: e.shard.placed.Epoch}
	e.record = nil
	c.quorum.ProposeAsync(d, func(_ any, err error) { c.inbox.Add(note{e: e, p: p, err: outcome(err)}) })
}

// take settles what became of a proposal. What was applied comes in the order in which it was proposed.
func (c *Coordinator) take(n note) {
	e := n.e
	c.guarded(e.shard, e.id, func(out *calls) {
		if e.dropped {
			return
		}
		e.proposals = slices.DeleteFunc(e.proposals, func(p *proposal) bool { return p == n.p })
		if n.err != nil {
			e.broken = true
		}
		for _, answer := range n.p.answers {
			out.add(answer, n.err)
		}
		if n.err == nil && n.p.next != nil && n.p.next.State.Decided() {
			c.mark(e, n.p.next)
		}
		if e.broken && len(e.proposals) == 0 {
			e.broken, e.record = false, c.recorded(e.id)
			if e.record != nil && e.record.State.Decided() {
				c.mark(e, e.record)
			}
			c.again(e, out)
		}
		c.settle(e)
	})
}

func (c *Coordinator) stop() {
	c.phase.Store(stopped)
	for i := range c.shards {
		s := &c.shards[i]
		var out calls
		s.mu.Lock()
		c.drop(s, ErrNotCoordinator, &out)
		s.mine = false
		s.mu.Unlock()
		out.make()
	}
	c.inbox.Close()
	c.senders.wait()
}

// note is what became of a proposal. Whoever waits for an answer proposes once.
type note struct {
	e   *entry
	p   *proposal
	err error
}
