package group

import (
	"errors"
	"testing"
	"time"
)

// staticRig is a stable group of a leader with instance l and a follower with instance f.
func staticRig(t *testing.T) *rig {
	r := newRig(t)
	r.first("l-1", instance("l"))
	r.first("f-1", instance("f"))
	r.pass(10 * time.Second)
	r.syncAll(1, "l-1", "f-1")
	r.state(Stable, 1)
	return r
}

// KIP-345: a restarted static member takes its place back without a rebalance, once that is durable; the old process is fenced.
func TestStaticMemberReplaced(t *testing.T) {
	r := staticRig(t)
	r.held = true
	f := r.first("f-2", instance("f"))
	r.parkedJoin(f)
	r.release(nil)
	r.held = false
	if j := r.joined(f); j.Generation != 1 || j.MemberID != "f-2" || j.Leader != "l-1" || j.SkipAssignment {
		t.Fatalf("joined %+v", j)
	}
	r.state(Stable, 1)
	if got := r.synced(r.sync("f-2", 1)); got != "work of f-1" {
		t.Fatalf("assigned %q", got)
	}
	if err := r.g.Heartbeat(r.now, Identity{MemberID: "f-1", InstanceID: "f", Generation: 1}); !errors.Is(err, ErrFencedInstance) {
		t.Fatalf("heartbeat of the old process: %v", err)
	}
	if err := r.g.Commit(r.now, Identity{MemberID: "f-1", Generation: 1}); !errors.Is(err, ErrUnknownMember) {
		t.Fatalf("commit of the old process without its instance: %v", err)
	}
	if ticket := r.join(request("f-1", instance("f"))); !errors.Is(r.joins[ticket].Err, ErrFencedInstance) {
		t.Fatalf("join of the old process: %v", r.joins[ticket].Err)
	}
	back, err := Load(r.g.limits, r.now, r.saved)
	if err != nil || back.static["f"] != "f-2" {
		t.Fatalf("durable: %v, %v", back, err)
	}
}

// KIP-814: a replaced leader that can skip the assignment is told that it leads; one that cannot, is not.
func TestStaticLeaderReplaced(t *testing.T) {
	r := staticRig(t)
	j := r.joined(r.first("l-2", instance("l"), func(q *JoinRequest) { q.SkipAssignment = true }))
	if j.Leader != "l-2" || !j.SkipAssignment || len(j.Members) != 2 {
		t.Fatalf("v9: %+v", j)
	}
	j = r.joined(r.first("l-3", instance("l")))
	if j.Leader != "l-2" || j.SkipAssignment || j.Members != nil {
		t.Fatalf("v8: %+v", j)
	}
	if r.g.leader != "l-3" {
		t.Fatalf("leader %s", r.g.leader)
	}
}

// A replacement that could not be stored is taken back: the durable state names the old process.
func TestStaticReplacementNotStored(t *testing.T) {
	r := staticRig(t)
	r.held = true
	l := r.first("l-2", instance("l"), protocols("range", "newer"))
	r.release(ErrNotAvailable)
	if !errors.Is(r.joins[l].Err, ErrNotAvailable) {
		t.Fatalf("joined %+v", r.joins[l])
	}
	r.alive(1, "l-1")
	if r.g.leader != "l-1" || string(r.g.members["l-1"].metadata("range")) != "meta" {
		t.Fatal("the old process is not back in its place")
	}
}

// Two replacements in a row: the first is fenced, the second is answered when its own state is durable.
func TestStaticReplacedTwice(t *testing.T) {
	r := staticRig(t)
	r.held = true
	first := r.first("f-2", instance("f"))
	second := r.first("f-3", instance("f"))
	if !errors.Is(r.joins[first].Err, ErrFencedInstance) {
		t.Fatalf("first: %+v", r.joins[first])
	}
	keep := r.keep
	r.keep = keep[:1]
	r.release(nil)
	r.parkedJoin(second)
	r.keep = keep[1:]
	r.release(nil)
	if r.joined(second).MemberID != "f-3" {
		t.Fatal("second")
	}
}

// A replacement that changes the elected protocol, or that comes before the group is stable, rebalances.
func TestStaticReplacementRebalances(t *testing.T) {
	r := newRig(t)
	r.first("l-1", instance("l"), protocols("range", "", "sticky", ""))
	r.first("f-1", instance("f"), protocols("range", "", "sticky", ""))
	r.pass(10 * time.Second)
	waiting := r.sync("f-1", 1)
	f := r.first("f-2", instance("f"), protocols("range", "", "sticky", ""))
	if !errors.Is(r.syncs[waiting].Err, ErrFencedInstance) {
		t.Fatalf("parked sync of the old process: %+v", r.syncs[waiting])
	}
	r.state(PreparingRebalance, 1)
	r.join(request("l-1", instance("l"), protocols("range", "", "sticky", "")))
	r.joined(f)
	r.syncAll(2, "l-1", "f-2")
	r.state(Stable, 2)
	r.first("f-3", instance("f"), protocols("sticky", ""))
	r.state(PreparingRebalance, 2)
}

// A replacement whose state is on its way when a rebalance begins joins that rebalance.
func TestStaticReplacementOvertaken(t *testing.T) {
	r := staticRig(t)
	r.held = true
	f := r.first("f-2", instance("f"))
	x := r.first("x")
	r.release(nil)
	r.parkedJoin(f)
	r.join(request("l-1", instance("l")))
	if r.joined(f).Generation != 2 || r.joined(x).Generation != 2 {
		t.Fatal("not in the next generation")
	}
}

// A static member that is away during a join phase keeps its place until its session ends; if all are away the phase waits.
func TestStaticMembersKeepTheirPlace(t *testing.T) {
	r := newRig(t)
	long := func(q *JoinRequest) { q.Session, q.Rebalance = 5*time.Minute, 20*time.Second }
	r.first("l-1", instance("l"), long)
	r.first("f-1", instance("f"), long)
	r.pass(10 * time.Second)
	r.syncAll(1, "l-1", "f-1")
	l := r.join(request("l-1", instance("l"), long))
	r.pass(21 * time.Second)
	if j := r.joined(l); j.Generation != 2 || len(j.Members) != 2 {
		t.Fatalf("joined %+v", j)
	}
	r.syncAll(2, "l-1")
	r.state(Stable, 2)
	r.leave(Leaver{MemberID: "l-1", InstanceID: "l"})
	r.state(PreparingRebalance, 2)
	r.pass(time.Minute)
	r.state(PreparingRebalance, 2) // nobody to lead
	r.pass(5 * time.Minute)
	r.state(Empty, 3)
}

// An instance that comes with an id that was handed out to a dynamic member is refused, and nothing breaks.
func TestExpectedIDWithInstance(t *testing.T) {
	r := newRig(t)
	r.join(request("", newID("a"), func(q *JoinRequest) { q.RequireKnownID = true }))
	if ticket := r.join(request("a", instance("i"))); !errors.Is(r.joins[ticket].Err, ErrUnknownMember) {
		t.Fatalf("%+v", r.joins[ticket])
	}
}
