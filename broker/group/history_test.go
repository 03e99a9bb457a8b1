package group

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// client is one simulated member: what it knows, and the request it waits for.
type client struct {
	name       string
	id         string
	instance   string
	generation int32
	leads      bool
	joining    string // ticket
	syncing    string
	syncID     string // the id it syncs as
}

// history is a group among clients who do anything in any order, with persists that are told late or refused.
type history struct {
	*rig
	clients []*client
	last    int32 // the highest generation seen
	tickets []string
	ids     int
}

func (h *history) newID(c *client) string { h.ids++; return fmt.Sprintf("%s-%d", c.name, h.ids) }

func (h *history) act(t *rapid.T) {
	c := rapid.SampledFrom(h.clients).Draw(t, "client")
	switch rapid.IntRange(0, 9).Draw(t, "act") {
	case 0, 1, 2:
		meta := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "meta")
		q := request(c.id, protocols("range", meta, "sticky", ""))
		q.InstanceID, q.NewMemberID = c.instance, h.newID(c)
		q.RequireKnownID, q.SkipAssignment = rapid.Bool().Draw(t, "known"), rapid.Bool().Draw(t, "skip")
		q.Rebalance = time.Duration(rapid.IntRange(0, 20).Draw(t, "rebalance")) * time.Second
		if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
			q.MemberID = "" // restarted
		}
		c.joining = h.join(q)
		h.tickets = append(h.tickets, "j"+c.joining)
	case 3, 4, 5:
		var as []string
		if c.leads {
			for _, m := range h.g.order {
				as = append(as, m.id, "work of "+m.id)
			}
		}
		c.syncID = c.id
		c.syncing = h.sync(c.id, c.generation, as...)
		h.tickets = append(h.tickets, "s"+c.syncing)
	case 6:
		_ = h.g.Heartbeat(h.now, Identity{MemberID: c.id, InstanceID: c.instance, Generation: c.generation})
	case 7:
		err := h.g.Commit(h.now, Identity{MemberID: c.id, InstanceID: c.instance, Generation: c.generation})
		if err == nil && c.id != "" && c.generation > 0 && (h.g.members[c.id] == nil || h.g.generation != c.generation) {
			t.Fatalf("commit of %+v accepted in generation %d", c, h.g.generation)
		}
	case 8:
		h.leave(Leaver{MemberID: c.id, InstanceID: c.instance})
	case 9:
		h.pass(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
	}
}

// learn lets clients read their answers.
func (h *history) learn(t *rapid.T) {
	for _, c := range h.clients {
		if j, ok := h.joins[c.joining]; ok && c.joining != "" {
			c.joining = ""
			switch {
			case errors.Is(j.Err, ErrMemberIDRequired):
				c.id = j.MemberID
			case errors.Is(j.Err, ErrUnknownMember), errors.Is(j.Err, ErrFencedInstance):
				c.id, c.generation, c.leads = "", -1, false
			case j.Err == nil:
				c.id, c.generation, c.leads = j.MemberID, j.Generation, j.Members != nil
			}
		}
		if s, ok := h.syncs[c.syncing]; ok && c.syncing != "" {
			c.syncing = ""
			if s.Err == nil && string(s.Assignment) != "" && c.instance == "" && string(s.Assignment) != "work of "+c.syncID {
				t.Fatalf("%s was assigned %q", c.syncID, s.Assignment)
			}
		}
	}
	if h.g.generation < h.last {
		t.Fatalf("generation fell from %d to %d", h.last, h.g.generation)
	}
	h.last = h.g.generation
}

// In any history the counts stay true, generations only grow, a member gets its own work, a stable group that is
// loaded from what it made durable has the same members, and when time passes everything parked is answered and an
// abandoned group is empty and idle.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{rig: newRig(t)}
		h.g.limits.MaxSize = 4
		for i := range 5 {
			c := &client{name: fmt.Sprint("c", i), generation: -1}
			if i >= 3 {
				c.instance = fmt.Sprint("i", i)
			}
			h.clients = append(h.clients, c)
		}
		for range rapid.IntRange(1, 120).Draw(rt, "steps") {
			h.held = rapid.IntRange(0, 3).Draw(rt, "held") == 0
			h.act(rt)
			if rapid.IntRange(0, 2).Draw(rt, "release") == 0 {
				var err error
				if rapid.IntRange(0, 4).Draw(rt, "refuse") == 0 {
					err = ErrNotAvailable
				}
				h.release(err)
			}
			h.learn(rt)
			if h.g.State() == Stable && len(h.g.swaps) == 0 && len(h.keep) == 0 && h.saved != nil {
				h.compareLoaded(rt)
			}
		}
		h.held = false
		h.release(nil)
		h.pass(time.Hour)
		for _, ticket := range h.tickets {
			_, joined := h.joins[ticket[1:]]
			_, synced := h.syncs[ticket[1:]]
			if !joined && !synced {
				rt.Fatalf("%s is parked for ever; group is %s", ticket, h.g.State())
			}
		}
		if !h.g.Idle() || h.g.Size() > 0 {
			rt.Fatalf("abandoned group is %s with %d members", h.g.State(), h.g.Size())
		}
	})
}

func (h *history) compareLoaded(t *rapid.T) {
	g, err := Load(h.g.limits, h.now, h.saved)
	if err != nil {
		t.Fatal(err)
	}
	if g.generation > h.g.generation {
		t.Fatalf("durable generation %d is ahead of %d", g.generation, h.g.generation)
	}
	if g.generation == h.g.generation && g.State() == Stable {
		for id, m := range g.members {
			if mine := h.g.members[id]; mine != nil && string(mine.assignment) != string(m.assignment) {
				t.Fatalf("durable assignment of %s is %q, told %q", id, m.assignment, mine.assignment)
			}
		}
	}
}
