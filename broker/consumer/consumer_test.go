package consumer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
)

// A member that is alone gets everything at once, and is told only once what it has.
func TestAlone(t *testing.T) {
	r := newRig(t, "a", 3)
	reply := r.say(joining("m1", "a", "not there"))
	r.wants(reply, 1, "a", 0, 1, 2)
	if reply.MemberID != "m1" || reply.Interval != 5*time.Second {
		t.Errorf("%+v", reply)
	}
	r.is(Stable, 1)
	changes := r.changes
	r.wants(r.say(beating("m1", 1)), 1)
	r.wants(r.say(beating("m1", 1, "a", 0, 1, 2)), 1)
	if r.changes != changes {
		t.Error("heartbeats that change nothing were written")
	}
	whole := joining("m1", "a", "not there")
	whole.Epoch, whole.Owned = 1, set("a", 0)
	r.wants(r.say(whole), 1, "a", 0, 1, 2) // whoever says everything is told everything
}

// Partitions go from one member to another only when the first says that it has given them up.
func TestHandOver(t *testing.T) {
	r := newRig(t, "a", 4)
	r.wants(r.say(joining("m1", "a")), 1, "a", 0, 1, 2, 3)
	r.wants(r.say(joining("m2", "a")), 2, nil)
	r.is(Reconciling, 2)
	r.wants(r.say(beating("m1", 1)), 1, "a", 0, 1) // asked to give up two
	r.wants(r.say(beating("m2", 2)), 2)
	r.wants(r.say(beating("m1", 1, "a", 0, 1, 2)), 1) // one of them still is its own
	r.wants(r.say(beating("m2", 2)), 2)
	r.wants(r.say(beating("m1", 1, "a", 0, 1)), 2)
	r.wants(r.say(beating("m2", 2)), 2, "a", 2, 3)
	r.is(Stable, 2)
}

// A member learns of what it has only when that is durable; and what others wait for gathers into one change meanwhile.
func TestAnswersWaitForDurability(t *testing.T) {
	r := newRig(t, "a", 4)
	r.held = true
	first := r.beat(joining("m1", "a"))
	var more []string
	for i := range 20 {
		more = append(more, r.beat(joining(fmt.Sprint("n", i), "a")))
	}
	if len(r.replies) > 0 {
		t.Fatalf("answered before it is durable: %v", r.replies)
	}
	r.release()
	if _, ok := r.replies[first]; !ok || len(r.replies) != 1 {
		t.Fatalf("answers: %v", r.replies)
	}
	r.release()
	for _, ticket := range more {
		r.wants(r.replies[ticket], 2, nil) // one epoch for all of them
	}
	if r.changes != 2 {
		t.Errorf("%d changes", r.changes)
	}
	r.release()
	r.is(Reconciling, 2)
}

// What could not be made durable never was: who waits is told so, and the group goes on from before.
func TestFailedChange(t *testing.T) {
	r := newRig(t, "a", 2)
	r.wants(r.say(joining("m1", "a")), 1, "a", 0, 1)
	r.held = true
	ticket := r.beat(joining("m2", "a"))
	r.fail()
	if got := r.replies[ticket]; !errors.Is(got.Err, group.ErrNotAvailable) {
		t.Fatalf("%+v", got)
	}
	r.held = false
	r.is(Stable, 1)
	r.wants(r.say(beating("m1", 1)), 1)
	r.wants(r.say(joining("m2", "a")), 2, nil)
}

// Another coordinator goes on where this one stopped: no new epoch, no partition moves.
func TestAnotherCoordinator(t *testing.T) {
	r := newRig(t, "a", 4)
	r.say(joining("m1", "a"))
	r.say(joining("m2", "a"))
	r.wants(r.say(beating("m1", 1)), 1, "a", 0, 1)
	r.load()
	r.is(Reconciling, 2)
	r.wants(r.say(beating("m1", 1)), 1)
	r.wants(r.say(beating("m1", 1, "a", 0, 1)), 2)
	r.load()
	r.wants(r.say(beating("m2", 2)), 2, "a", 2, 3)
	r.load()
	r.is(Stable, 2)
	r.wants(r.say(beating("m2", 2)), 2)
	r.is(Stable, 2)
}

// Nothing durable of a member outlives it, when one of its id comes before it is deleted.
func TestLeavesAndComesBack(t *testing.T) {
	r := newRig(t, "a", 1)
	r.wants(r.say(joining("m1", "a")), 1, "a", 0)
	r.held = true
	r.beat(joining("m0", "a")) // is on its way meanwhile
	r.beat(beating("m1", Leaving))
	r.beat(joining("m1", "a"))
	r.beat(beating("m0", r.g.members["m0"].epoch))
	r.held = false
	r.release()
	if m := r.g.members["m1"]; m == nil || len(m.target) > 0 || len(r.g.members["m0"].target) == 0 {
		t.Fatalf("%+v: the partition is to be m0's", m)
	}
	r.fail()
	if m := r.g.members["m1"]; m == nil || len(m.target) > 0 {
		t.Fatalf("%+v: it has the target of who was there before", m)
	}
}

// As many members as a group may have, of ids of any length, come and go in one Change each. When all of a group that was too large had gone, no
// command could hold their keys, and the group was loaded again, with them, for ever.
func TestAllComeAndGoInOneChange(t *testing.T) {
	for _, length := range []int{6, 36, 1000, 32767} {
		limits := DefaultLimits()
		g := New(&limits, time.UnixMilli(0), 1)
		for {
			m := &member{id: fmt.Sprintf("%0*d", length, len(g.order)), epoch: 1 << 30, previous: 1 << 30, state: unreleased, rebalance: 1 << 31 * time.Millisecond}
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

// The answer that brought a new epoch was lost: the member comes with the one before, and is told again.
func TestLostAnswers(t *testing.T) {
	r := newRig(t, "a", 2)
	r.say(joining("m1", "a"))
	r.wants(r.say(joining("m1", "a")), 1, "a", 0, 1) // its join
	r.say(joining("m2", "a"))
	r.say(beating("m1", 1, "a", 0, 1))
	r.wants(r.say(beating("m1", 1, "a", 0)), 2)
	r.wants(r.say(beating("m1", 1, "a", 0)), 2) // the same once more
	for _, h := range []Heartbeat{
		beating("m1", 1),            // it does not say what it owns
		beating("m1", 1, "a", 0, 1), // it owns what it gave up
		beating("m1", 3, "a", 0),
		joining("m1", "a"),
	} {
		if got := r.say(h); !errors.Is(got.Err, ErrFencedEpoch) {
			t.Errorf("%+v: %+v", h, got)
		}
	}
}

// Whoever is silent for a session, or keeps what it shall give up beyond its rebalance timeout, is out, and the others get what it had.
func TestTimeouts(t *testing.T) {
	r := newRig(t, "a", 2)
	r.say(joining("m1", "a"))
	r.pass(44 * time.Second)
	r.say(joining("m2", "a"))
	r.pass(time.Second)
	r.is(Assigning, 3)
	if got := r.say(beating("m1", 1)); !errors.Is(got.Err, group.ErrUnknownMember) {
		t.Fatalf("%+v", got)
	}
	r.wants(r.say(beating("m2", 2)), 3, "a", 0, 1)

	r.say(joining("m3", "a"))
	r.wants(r.say(beating("m2", 3)), 3, "a", 0)
	for range 5 {
		r.pass(10 * time.Second)
		r.wants(r.say(beating("m2", 3, "a", 0, 1)), 3)
		r.wants(r.say(beating("m3", 4)), 4)
	}
	r.pass(10 * time.Second)
	if got := r.say(beating("m2", 3)); !errors.Is(got.Err, group.ErrUnknownMember) {
		t.Fatalf("%+v", got)
	}
	r.wants(r.say(beating("m3", 4)), 5, "a", 0, 1)
}

// A member that leaves is gone at once; the last one leaves an empty group whose epochs go on.
func TestLeave(t *testing.T) {
	r := newRig(t, "a", 2)
	r.say(joining("m1", "a"))
	r.say(joining("m2", "a"))
	r.wants(r.say(beating("m1", -1)), -1)
	r.wants(r.say(beating("m2", 2)), 3, "a", 0, 1)
	r.wants(r.say(beating("m2", -1)), -1)
	r.is(Empty, 4)
	if !r.g.Idle() || len(r.parts) != 1 {
		t.Errorf("idle %v, kept %q", r.g.Idle(), r.parts)
	}
	r.load()
	r.wants(r.say(joining("m3", "a")), 5, "a", 0, 1)
	for _, h := range []Heartbeat{beating("m1", -1), beating("m1", 2)} {
		if got := r.say(h); !errors.Is(got.Err, group.ErrUnknownMember) {
			t.Errorf("%+v", got)
		}
	}
}

// A static member's place is kept while its process is away, under another member id too; while it is there nobody takes it.
func TestStaticMembers(t *testing.T) {
	r := newRig(t, "a", 4)
	r.wants(r.say(static("m1", "i1", "a")), 1, "a", 0, 1, 2, 3)
	r.say(static("m2", "i2", "a"))
	r.say(beating("m1", 1, "a", 0, 1, 2, 3))
	r.say(beating("m1", 1, "a", 0, 1))
	r.wants(r.say(beating("m2", 2)), 2, "a", 2, 3)

	if got := r.say(static("m3", "i2", "a")); !errors.Is(got.Err, ErrUnreleasedInstance) {
		t.Fatalf("%+v", got)
	}
	away := static("m2", "i2")
	away.Epoch = LeavingAWhile
	r.wants(r.say(away), LeavingAWhile)
	r.load()
	r.wants(r.say(beating("m1", 2)), 2) // nothing moves
	r.wants(r.say(static("m3", "i2", "a")), 2, "a", 2, 3)
	r.is(Stable, 2)
	old := beating("m2", 2)
	old.InstanceID = static("", "i2").InstanceID
	if got := r.say(old); !errors.Is(got.Err, group.ErrFencedInstance) {
		t.Fatalf("%+v", got)
	}
	away.MemberID = "m3"
	r.say(away)
	r.pass(30 * time.Second)
	r.say(beating("m1", 2))
	r.pass(20 * time.Second) // it does not come back
	r.wants(r.say(beating("m1", 2)), 3, "a", 0, 1, 2, 3)
}

// Topics that come, grow or go begin an epoch for whoever subscribes to them, and for nobody else.
func TestTopicsChange(t *testing.T) {
	r := newRig(t, "a", 1)
	h := joining("m1")
	regex := "a|b.*"
	h.Regex = &regex
	r.wants(r.say(h), 1, "a", 0)
	r.topic("c", 1)
	r.topic("xb", 1) // a regular expression matches whole names
	r.wants(r.say(beating("m1", 1)), 1)
	r.topic("bb", 2)
	r.wants(r.say(beating("m1", 1)), 2, "a", 0, "bb", 0, 1)
	r.topic("a", 3)
	r.load()
	r.wants(r.say(beating("m1", 2)), 3, "a", 0, 1, 2, "bb", 0, 1)
	if !r.g.Subscribed("bbb") || !r.g.Subscribed("a") || r.g.Subscribed("c") {
		t.Error("subscribed to something else")
	}
	for _, broken := range []string{"a)(", "a)|(?:b", strings.Repeat(".{0,999}", 500)} { // the last one would take minutes
		bad := beating("m1", 3)
		bad.Regex = &broken
		if got := r.say(bad); !errors.Is(got.Err, ErrInvalidRegex) {
			t.Fatalf("%+v", got)
		}
	}
	r.wants(r.say(beating("m1", 3)), 3)
}

// The assignor is what most members ask for.
func TestAssignor(t *testing.T) {
	r := newRig(t, "a", 2, "b", 2)
	name, other := "range", "best"
	h := joining("m1", "a", "b")
	h.Assignor = &other
	if got := r.say(h); !errors.Is(got.Err, ErrUnsupportedAssignor) {
		t.Fatalf("%+v", got)
	}
	h.Assignor = &name
	r.say(h)
	if d := r.g.Describe(); d.Assignor != "range" {
		t.Errorf("%+v", d)
	}
}

// Heartbeats that contradict themselves are refused.
func TestInvalidHeartbeats(t *testing.T) {
	r := newRig(t, "a", 2)
	empty := ""
	for name, h := range map[string]Heartbeat{
		"no id":             {RebalanceMs: 1, HasTopics: true, HasOwned: true, NeedMemberID: true},
		"owns and joins":    {MemberID: "m", RebalanceMs: 1, HasTopics: true, HasOwned: true, Owned: set("a", 0)},
		"no subscription":   {MemberID: "m", RebalanceMs: 1, HasOwned: true},
		"no timeout":        {MemberID: "m", RebalanceMs: -1, HasTopics: true, HasOwned: true},
		"away, no instance": {MemberID: "m", Epoch: -2},
		"epoch":             {MemberID: "m", Epoch: -3},
		"empty instance":    {MemberID: "m", InstanceID: &empty, RebalanceMs: 1, HasTopics: true, HasOwned: true},
	} {
		if got := r.say(h); !errors.Is(got.Err, ErrInvalidRequest) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if r.g.Exists() {
		t.Error("a group came of it")
	}
}

// A commit that a new epoch has overtaken is refused although its partitions are still the member's, or taken although they are not, or were another's
// in between (KIP-1251).
func TestCommitsOfAnEpochBefore(t *testing.T) {
	r := newRig(t, "a", 4)
	commit := func(id string, epoch int32, want error, partitions ...any) {
		t.Helper()
		var offsets []command.OffsetCommit
		for _, p := range set(append([]any{"a"}, partitions...)...) {
			offsets = append(offsets, command.OffsetCommit{Partition: p, Offset: 1})
		}
		if err := r.g.Commit(r.now, group.Identity{MemberID: id, Generation: epoch, Offsets: offsets}); !errors.Is(err, want) {
			t.Errorf("%s commits %v in epoch %d: %v, want %v", id, partitions, epoch, err, want)
		}
	}
	r.say(joining("m1", "a"))
	r.say(joining("m2", "a"))
	r.say(beating("m1", 1)) // asked to give up 2 and 3
	commit("m1", 1, nil, 0, 3)
	r.wants(r.say(beating("m1", 1, "a", 0, 1)), 2)
	r.wants(r.say(beating("m2", 2)), 2, "a", 2, 3)
	commit("m1", 1, nil, 0, 1)
	commit("m1", 1, ErrStaleEpoch, 0, 3)
	commit("m1", 0, ErrStaleEpoch, 0)
	commit("m1", 3, ErrStaleEpoch, 0)
	commit("m2", 1, ErrStaleEpoch, 2)
	commit("m2", 2, nil, 2)
	r.say(beating("m2", Leaving))
	r.wants(r.say(beating("m1", 2)), 3, "a", 0, 1, 2, 3)
	commit("m1", 1, nil, 0, 1)
	commit("m1", 1, ErrStaleEpoch, 2) // it was m2's in between
	commit("m1", 2, ErrStaleEpoch, 2)
	commit("m1", 3, nil, 2)
	r.load() // by another coordinator
	commit("m1", 1, ErrStaleEpoch, 0)
	commit("m1", 3, nil, 0)
}

// Who may commit and fetch offsets is decided by the member's epoch.
func TestOffsetsByEpoch(t *testing.T) {
	r := newRig(t, "a", 2)
	who := func(id string, epoch int32) group.Identity { return group.Identity{MemberID: id, Generation: epoch} }
	if err := r.g.Commit(r.now, who("", -1)); err != nil {
		t.Error(err)
	}
	r.say(joining("m1", "a"))
	for _, c := range []struct {
		id    string
		epoch int32
		want  error
	}{{"m1", 1, nil}, {"m1", 0, ErrStaleEpoch}, {"m2", 1, group.ErrUnknownMember}, {"", -1, group.ErrUnknownMember}} {
		if err := r.g.Commit(r.now, who(c.id, c.epoch)); !errors.Is(err, c.want) {
			t.Errorf("commit of %q in %d: %v", c.id, c.epoch, err)
		}
	}
	old := group.Identity{MemberID: "m1", Generation: 1, Old: true}
	if err := r.g.Commit(r.now, old); !errors.Is(err, ErrOldRequest) {
		t.Error(err)
	}
	r = migrated(t)
	if err := r.g.Commit(r.now, group.Identity{MemberID: "c1", Generation: 5, Old: true}); err != nil {
		t.Errorf("a member that speaks the classic protocol: %v", err)
	}
	r = newRig(t, "a", 2)
	r.say(joining("m1", "a"))
	if err := r.g.CheckFetch("", -1); err != nil {
		t.Error(err)
	}
	if err := r.g.CheckFetch("m1", 9); !errors.Is(err, ErrStaleEpoch) {
		t.Error(err)
	}
	if err := r.g.CheckDelete(); !errors.Is(err, group.ErrNonEmpty) {
		t.Error(err)
	}
	if rule, _ := r.g.OffsetExpiry(); rule != group.Unsubscribed {
		t.Error(rule)
	}
}

// A group that is full takes no more members; those it has go on.
func TestFull(t *testing.T) {
	r := newRig(t, "a", 2)
	r.limits.MaxSize = 1
	r.say(joining("m1", "a"))
	if got := r.say(joining("m2", "a")); !errors.Is(got.Err, group.ErrMaxSize) {
		t.Fatalf("%+v", got)
	}
	r.wants(r.say(beating("m1", 1)), 1)
}

// A heartbeat that changes nothing would allocate.
func TestHeartbeatAllocatesNothing(t *testing.T) {
	r := newRig(t, "a", 2)
	r.say(joining("m1", "a"))
	h, w := beating("m1", 1), r.world()
	if n := testing.AllocsPerRun(100, func() {
		var out Effects
		if reply, done := r.g.Heartbeat(r.now, &h, w, nil, &out); !done || reply.Err != nil {
			t.Fatal(reply)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
