package streams

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/broker/group"
)

// client is a member as the protocol has it: it has what it was assigned until it has given it up, and says in heartbeats what it has.
type client struct {
	id, process string
	epoch       int32
	has, wanted Assignment
	ticket      string // its heartbeat that is not answered yet
	lost        bool   // that answer will not reach it
	dead        bool   // it sends nothing any more
	sure        bool   // the coordinator that it heard last is still it
}

// once is a task that was a client's, and another's since.
type once struct {
	client string
	task   Task
}

func (c *client) heartbeat(t *Topology) Heartbeat {
	if c.epoch == Joining {
		return joining(c.id, c.process, words())
	}
	h := owning(c.id, c.epoch, t, c.has)
	h.RebalanceMs = 20_000
	return h
}

// hear takes an answer in.
func (c *client) hear(t *rapid.T, reply Reply) {
	switch {
	case errors.Is(reply.Err, ErrFencedEpoch), errors.Is(reply.Err, group.ErrUnknownMember):
		c.epoch, c.has, c.wanted = 0, Assignment{}, Assignment{} // abandons all and joins again
	case errors.Is(reply.Err, group.ErrNotAvailable):
	case reply.Err != nil:
		t.Fatalf("%s heard %v", c.id, reply.Err)
	default:
		c.epoch, c.sure = reply.Epoch, true
		if reply.Assigned {
			c.wanted = reply.Assignment
		}
		c.take()
	}
}

// take begins to have what it is assigned and does not have to give up something for first.
func (c *client) take() {
	if c.has.within(c.wanted) {
		c.has = c.wanted
	}
}

// In any history of joins, leaves, failures, lost answers, lost changes and moves of the coordinator: no task is active in two clients, none is in
// one process in two roles; whoever has a task may commit its offsets in the epoch that it knows, unless the coordinator has moved meanwhile, and
// who had one that has been another's since may not in any epoch in which it had it, even if it has it again; what is remembered of a member is no
// more than it has; and when all that ends, everybody soon has what the group's target gives it, and every task is somebody's.
func TestOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, "lines", 3)
		r.w.Standbys = rapid.IntRange(0, 2).Draw(t, "standbys")
		r.w.Delay = time.Duration(rapid.IntRange(0, 3).Draw(t, "delay")) * time.Second
		r.w.Interval = time.Duration(rapid.IntRange(0, 1).Draw(t, "interval")) * time.Second
		r.held = true
		var clients []*client
		had := map[once]int32{}  // the last epoch in which a client had a task
		lost := map[once]int32{} // of those, what has been another's since
		check := func() {
			active, held := map[Task]string{}, map[place]string{}
			for _, c := range clients {
				for _, task := range c.has.Active {
					if o, twice := active[task]; twice {
						t.Fatalf("%v is active in %s and in %s", task, o, c.id)
					}
					active[task] = c.id
					for at, epoch := range had {
						if at.task == task && at.client != c.id {
							lost[at] = epoch
							delete(had, at)
						}
					}
					had[once{c.id, task}] = c.epoch
				}
				if m := r.g.members[c.id]; m != nil && c.sure {
					for _, task := range c.has.Active {
						if !m.hadIn(c.epoch, task) {
							t.Fatalf("%s may not commit offsets of %v in epoch %d, its member is in %d", c.id, task, c.epoch, m.epoch)
						}
					}
				}
				for _, list := range []Tasks{c.has.Active, c.has.Standby} {
					for _, task := range list {
						if o, twice := held[place{c.process, task}]; twice {
							t.Fatalf("%v is twice in process %s: in %s and in %s", task, c.process, o, c.id)
						}
						held[place{c.process, task}] = c.id
					}
				}
			}
			for _, m := range r.g.order {
				for task := range m.grants {
					if !m.owns().Active.Has(task) {
						t.Fatalf("it is remembered when %s was given %v, which it has no more", m.id, task)
					}
				}
			}
			for at, epoch := range lost {
				if m := r.g.members[at.client]; m != nil && m.hadIn(epoch, at.task) {
					t.Fatalf("%s may commit offsets of %v in epoch %d, and it has been another's since: its member is in %d", at.client, at.task, epoch, m.epoch)
				}
			}
		}
		answered := func() {
			for _, c := range clients {
				if reply, ok := r.replies[c.ticket]; ok && c.ticket != "" {
					c.ticket = ""
					r.make(reply)
					if !c.lost && !c.dead {
						c.hear(t, reply)
					}
					c.lost = false
				}
			}
			check()
		}
		thrownOut := func() { // whose time was up, and who knows: its own clock is no slower
			for _, c := range clients {
				if r.g.members[c.id] == nil {
					c.epoch, c.has, c.wanted = 0, Assignment{}, Assignment{}
				}
			}
		}
		send := func(c *client) {
			if c.ticket == "" && !c.dead {
				c.ticket = r.beat(c.heartbeat(r.g.topology))
				answered()
			}
		}
		n := 0
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			var c *client
			if len(clients) > 0 {
				c = rapid.SampledFrom(clients).Draw(t, "client")
			}
			switch step := rapid.IntRange(0, 17).Draw(t, "step"); {
			case step < 2 && len(clients) < 6:
				n++
				clients = append(clients, &client{id: fmt.Sprint("m", n), process: fmt.Sprint("p", rapid.IntRange(0, 2).Draw(t, "process"))})
			case step == 2 && r.change != nil:
				r.fail()
				for _, c := range clients {
					c.sure = false
				}
				answered()
			case step == 3 && r.change == nil: // another coordinator
				r.fail()
				for _, c := range clients {
					c.sure = false
				}
				answered()
			case step == 4: // time passes: whoever is dead for long enough has been thrown out when it has nothing any more
				r.pass(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
				thrownOut()
				answered()
			case step < 9:
				r.release()
				answered()
			case step == 9: // other standbys
				r.w.Standbys = rapid.IntRange(0, 2).Draw(t, "standbys")
			case c == nil:
			case step == 10 && c.ticket == "" && !c.dead && c.epoch > 0: // it leaves
				c.has, c.wanted, c.dead = Assignment{}, Assignment{}, true // given up first
				r.beat(beating(c.id, Leaving))
			case step == 11:
				c.dead = true
			case step == 12:
				c.lost = c.ticket != ""
			case step < 15:
				if !c.has.within(c.wanted) { // gives up what it must
					c.has = c.has.and(c.wanted)
					c.take()
				}
			default:
				send(c)
			}
			check()
			clients = slices.DeleteFunc(clients, func(c *client) bool { return c.dead && r.g.members[c.id] == nil && c.ticket == "" })
		}

		// Peace: who is dead goes, the others go on.
		r.held = false
		r.release()
		answered()
		for round := range 40 {
			if round < 8 { // the dead have only this time
				r.pass(12 * time.Second)
				r.release()
				thrownOut()
			}
			clients = slices.DeleteFunc(clients, func(c *client) bool { return c.dead && r.g.members[c.id] == nil })
			for _, c := range clients {
				c.lost = false
				send(c)
				c.has = c.has.and(c.wanted)
				c.take()
				check()
			}
			r.pass(100 * time.Millisecond)
		}
		if len(clients) == 0 {
			return
		}
		if r.g.State() != Stable {
			t.Fatalf("the group is %v: %+v", r.g.State(), r.g.Describe(&r.w))
		}
		active := 0
		for _, c := range clients {
			if m := r.g.members[c.id]; m == nil || !c.has.equal(m.target) || c.epoch != r.g.epoch {
				t.Fatalf("%s has %v in epoch %d: %+v", c.id, c.has, c.epoch, m)
			}
			active += len(c.has.Active)
		}
		if active != 6 {
			t.Fatalf("%d tasks of 6 are active", active)
		}
	})
}
