package consumer

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/wire/kafka"
)

// client is a consumer as the protocol has it: it owns what it was assigned until it has given it up, and says in heartbeats what it owns.
type client struct {
	id, instance string
	epoch        int32
	owns, wanted assign.Set
	topics       []string
	ticket       string // its heartbeat that is not answered yet
	lost         bool   // that answer will not reach it
	dead         bool   // it sends nothing any more; its partitions are whoever's when its session has ended
}

func (c *client) heartbeat() Heartbeat {
	h := Heartbeat{MemberID: c.id, Epoch: c.epoch, ClientID: "client", RebalanceMs: 20_000, Topics: c.topics, HasTopics: true, HasOwned: true, Owned: c.owns, NeedMemberID: true}
	if c.instance != "" {
		h.InstanceID = &c.instance
	}
	return h
}

// hear takes an answer in.
func (c *client) hear(t *rapid.T, reply Reply) {
	switch {
	case errors.Is(reply.Err, ErrFencedEpoch), errors.Is(reply.Err, group.ErrUnknownMember), errors.Is(reply.Err, group.ErrFencedInstance):
		c.epoch, c.owns, c.wanted = 0, nil, nil // abandons all and joins again
		if errors.Is(reply.Err, group.ErrFencedInstance) {
			c.dead = true
		}
	case errors.Is(reply.Err, group.ErrNotAvailable), errors.Is(reply.Err, ErrUnreleasedInstance):
	case reply.Err != nil:
		t.Fatalf("%s heard %v", c.id, reply.Err)
	default:
		c.epoch = reply.Epoch
		if reply.Assigned {
			c.wanted = reply.Assignment
		}
		c.take()
	}
}

// take begins to own what it is assigned and does not have to give up something for first.
func (c *client) take() {
	if c.owns.Within(c.wanted) {
		c.owns = c.wanted
	}
}

// In any history of joins, leaves, failures, lost answers, lost changes and moves of the coordinator: no partition is owned by two clients, and
// when all that ends, everybody soon has what the group's target gives it, and every partition is somebody's.
func TestOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, "a", 3, "b", 2)
		r.held = true
		var clients []*client
		n := 0
		check := func() {
			owned := map[kafka.Partition]string{}
			for _, c := range clients {
				for _, p := range c.owns {
					if o, twice := owned[p]; twice {
						t.Fatalf("%v is owned by %s and by %s", p, o, c.id)
					}
					owned[p] = c.id
				}
			}
		}
		answered := func() {
			for _, c := range clients {
				if reply, ok := r.replies[c.ticket]; ok && c.ticket != "" {
					c.ticket = ""
					if !c.lost && !c.dead {
						c.hear(t, reply)
					}
					c.lost = false
				}
			}
			check()
		}
		pick := func() *client {
			if len(clients) == 0 {
				return nil
			}
			return rapid.SampledFrom(clients).Draw(t, "client")
		}
		thrownOut := func() { // whose time was up, and who knows: its own clock is no slower
			for _, c := range clients {
				if r.g.members[c.id] == nil {
					c.epoch, c.owns, c.wanted = 0, nil, nil
				}
			}
		}
		send := func(c *client) {
			if c.ticket == "" && !c.dead {
				c.ticket = r.beat(c.heartbeat())
				answered()
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch c := pick(); rapid.IntRange(0, 19).Draw(t, "step") {
			case 0, 1:
				if len(clients) < 6 {
					n++
					c := &client{id: fmt.Sprint("m", n), topics: rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"b", "c"}}).Draw(t, "topics")}
					if rapid.Bool().Draw(t, "static") {
						c.instance = fmt.Sprint("i", n)
					}
					clients = append(clients, c)
				}
			case 2: // it leaves, for a while if it is static
				if c != nil && c.ticket == "" && !c.dead && c.epoch > 0 {
					h := c.heartbeat()
					if h.Epoch = Leaving; c.instance != "" {
						h.Epoch = LeavingAWhile
					}
					c.owns, c.wanted = nil, nil // given up first
					r.beat(h)
					if c.instance != "" { // another process takes its place
						n++
						clients = append(clients, &client{id: fmt.Sprint("m", n), instance: c.instance, topics: c.topics})
					}
					c.dead = true
				}
			case 3: // its process dies
				if c != nil && !c.dead {
					c.dead = true
				}
			case 4:
				if c != nil && c.ticket != "" {
					c.lost = true
				}
			case 5:
				if r.change != nil {
					r.fail()
					answered()
				}
			case 6: // another coordinator; what was under way has come through, or has not
				if r.change == nil {
					var out Effects
					r.g.Abort(r.now, group.ErrNotAvailable, &out)
					r.carry(&out)
					r.load()
					answered()
				}
			case 7: // time passes: whoever is dead for long enough has been thrown out when it owns nothing any more
				r.pass(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
				thrownOut()
				answered()
			case 8, 9, 10, 11:
				r.release()
				answered()
			case 12, 13:
				if c != nil && !c.owns.Within(c.wanted) { // gives up some, or all, of what it must
					c.owns = c.owns.And(c.wanted)
					c.take()
				}
			case 14:
				r.topic(rapid.SampledFrom([]string{"a", "c"}).Draw(t, "topic"), 4)
			default:
				if c != nil {
					send(c)
				}
			}
			check()
			clients = slices.DeleteFunc(clients, func(c *client) bool { return c.dead && r.g.members[c.id] == nil && c.ticket == "" })
		}

		// Peace: who is dead goes, the others go on.
		r.held = false
		r.release()
		answered()
		for round := range 40 {
			if round < 4 { // the dead have only these two minutes
				r.pass(12 * time.Second)
				r.release()
				thrownOut()
			}
			clients = slices.DeleteFunc(clients, func(c *client) bool { return c.dead && (r.g.members[c.id] == nil || round > 5) })
			for _, c := range clients {
				c.lost = false
				send(c)
				c.owns = c.owns.And(c.wanted)
				c.take()
				check()
			}
		}
		if len(clients) == 0 {
			return
		}
		if r.g.State() != Stable {
			t.Fatalf("the group is %v: %+v", r.g.State(), r.g.Describe())
		}
		for _, c := range clients {
			if m := r.g.members[c.id]; m == nil || !c.owns.Equal(m.target) || c.epoch != r.g.epoch {
				t.Fatalf("%s owns %v in epoch %d: %+v", c.id, c.owns, c.epoch, m)
			}
		}
	})
}
