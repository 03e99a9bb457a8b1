package streams

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
)

// One request would have tens of thousands of topics made, or a state kept that is too large to be stored.
func TestBoundsOfARequest(t *testing.T) {
	r := newRig(t, "lines", 3)
	many := words()
	for i := range r.limits.MaxInternal + 1 {
		many.Subtopologies[0].Changelogs = append(many.Subtopologies[0].Changelogs, InternalTopic{Name: fmt.Sprint("app-c-", i)})
	}
	if reply := r.say(joining("m1", "p1", many)); !errors.Is(reply.Err, ErrInvalidTopology) || r.g.Exists() || len(r.parts) > 0 {
		t.Errorf("a topology with %d internal topics: %v", r.limits.MaxInternal+1, reply.Err)
	}
	if reply := r.say(joining(strings.Repeat("m", maxMemberID+1), "p1", words())); !errors.Is(reply.Err, ErrInvalidRequest) || r.g.Exists() || len(r.parts) > 0 {
		t.Errorf("a member id of %d bytes: %v", maxMemberID+1, reply.Err)
	}
	if reply := r.say(joining(strings.Repeat("m", maxMemberID), "p1", words())); reply.Err != nil {
		t.Errorf("a member id of %d bytes: %v", maxMemberID, reply.Err)
	}
}

// As many members as a group may have, of ids of any length, come and go in one Change each. When all of a group that was too large had gone, no
// command could hold their keys, and the group was loaded again, with them, for ever.
func TestAllComeAndGoInOneChange(t *testing.T) {
	for _, length := range []int{6, 36, maxMemberID} {
		limits := DefaultLimits()
		g := New(&limits, time.UnixMilli(0), 1)
		for {
			m := &member{id: fmt.Sprintf("%0*d", length, len(g.order)), epoch: 1 << 30, previous: 1 << 30, state: unreleased, rebalance: 1 << 31 * time.Millisecond, topologyEpoch: 1 << 30}
			if g.bytes+m.bytes() > limits.MaxBytes {
				break
			}
			g.insert(m)
			g.save(m, metaDirt|currentDirt|targetDirt)
		}
		for step := range 2 {
			c := g.encode()
			if _, err := command.EncodeBody(command.ChangeGroup{Group: "g", Type: GroupType, Put: c.Put, Delete: c.Delete}); err != nil {
				t.Errorf("%d members with ids of %d bytes, step %d: %v", len(g.order), length, step, err)
			}
			g.unsaved = nil
			for _, m := range g.order {
				g.unsave(m)
			}
		}
	}
}
