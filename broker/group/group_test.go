package group

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Members that start within the initial delay share their first generation, and each one that comes extends it.
func TestInitialDelayGathersMembers(t *testing.T) {
	r := newRig(t)
	a := r.first("a")
	r.pass(2 * time.Second)
	b := r.first("b")
	r.pass(1500 * time.Millisecond) // first round is over; b extended it
	r.parkedJoin(a)
	c := r.first("c")
	r.pass(2 * time.Second) // 5.5 s
	r.parkedJoin(a)
	r.pass(4 * time.Second)
	for _, ticket := range []string{a, b, c} {
		if j := r.joined(ticket); j.Generation != 1 || j.Leader != "a" {
			t.Fatalf("joined %+v", j)
		}
	}
	if n := len(r.joined(a).Members); n != 3 {
		t.Fatalf("leader is told of %d members, want 3", n)
	}
	if r.joined(b).Members != nil {
		t.Fatal("a follower is told of members")
	}
	r.state(CompletingRebalance, 1)
}

// The initial delay never exceeds the rebalance timeout, however many members keep coming.
func TestInitialDelayEnds(t *testing.T) {
	r := newRig(t)
	start := r.now
	first := r.first("m0", func(q *JoinRequest) { q.Rebalance = 10 * time.Second })
	for i := 1; i < 60; i++ {
		r.pass(500 * time.Millisecond)
		if _, done := r.joins[first]; done {
			break
		}
		r.first(fmt.Sprint("m", i), func(q *JoinRequest) { q.Rebalance = 10 * time.Second })
	}
	r.joined(first)
	if took := r.now.Sub(start); took > 13*time.Second {
		t.Fatalf("first generation after %v", took)
	}
}

// KIP-394: a dynamic member's first join is answered with an id; the id lapses if it is not used, and holds nobody up then.
func TestMemberIDRequired(t *testing.T) {
	r := newRig(t)
	known := func(q *JoinRequest) { q.RequireKnownID = true }
	ask := r.join(request("", newID("a"), known))
	if j := r.joins[ask]; !errors.Is(j.Err, ErrMemberIDRequired) || j.MemberID != "a" || j.Generation != -1 {
		t.Fatalf("first join: %+v", j)
	}
	r.join(request("", newID("ghost"), known)) // never comes back
	a := r.join(request("a", known))
	r.pass(5 * time.Second)
	r.joined(a)
	r.syncAll(1, "a")
	r.state(Stable, 1)

	// During a rebalance the group waits for those whom it has asked to come back, but not for ever.
	r.join(request("", newID("ghost2"), known))
	a = r.join(request("a", protocols("range", "other")))
	r.parkedJoin(a)
	r.pass(11 * time.Second)
	if g := r.joined(a).Generation; g != 2 {
		t.Fatalf("generation %d", g)
	}
	if len(r.g.pending) != 0 {
		t.Fatalf("ids still expected: %v", r.g.pending)
	}
}

// A member learns its assignment only when the whole generation's is durable.
func TestAssignmentIsDurableBeforeItIsTold(t *testing.T) {
	r := newRig(t)
	r.first("a")
	r.first("b")
	r.pass(10 * time.Second)
	r.held = true
	b := r.sync("b", 1)
	r.parkedSync(b)
	a := r.sync("a", 1, "a", "A", "b", "B", "stranger", "X")
	r.parkedSync(a)
	r.parkedSync(b)
	r.state(CompletingRebalance, 1)
	r.release(nil)
	if r.synced(a) != "A" || r.synced(b) != "B" {
		t.Fatalf("assigned %q, %q", r.synced(a), r.synced(b))
	}
	r.state(Stable, 1)
	if again := r.sync("b", 1); r.synced(again) != "B" {
		t.Fatal("a repeated sync is answered otherwise")
	}
}

// An assignment that could not be stored is told to nobody: the members are sent to join again.
func TestAssignmentNotStored(t *testing.T) {
	r := newRig(t)
	r.first("a")
	r.first("b")
	r.pass(10 * time.Second)
	r.held = true
	b, a := r.sync("b", 1), r.sync("a", 1, "a", "A", "b", "B")
	r.release(ErrNotAvailable)
	for _, ticket := range []string{a, b} {
		if err := r.syncs[ticket].Err; !errors.Is(err, ErrNotAvailable) {
			t.Fatalf("sync: %v", err)
		}
	}
	r.state(PreparingRebalance, 1)
}

// A newcomer makes everybody rejoin; who does not come by the rebalance timeout is out; generations grow by one.
func TestRebalance(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b", "c")
	d := r.first("d")
	r.state(PreparingRebalance, 1)
	if err := r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1}); !errors.Is(err, ErrRebalanceInProgress) {
		t.Fatalf("heartbeat: %v", err)
	}
	a, b := r.join(request("a")), r.join(request("b"))
	for range 6 { // c heartbeats and does not rejoin
		r.pass(9 * time.Second)
		_ = r.g.Heartbeat(r.now, Identity{MemberID: "c", Generation: 1})
	}
	r.parkedJoin(a)
	r.pass(7 * time.Second)
	for _, ticket := range []string{a, b, d} {
		if g := r.joined(ticket).Generation; g != 2 {
			t.Fatalf("generation %d", g)
		}
	}
	if err := r.g.Heartbeat(r.now, Identity{MemberID: "c", Generation: 1}); !errors.Is(err, ErrUnknownMember) {
		t.Fatalf("heartbeat of the one who was left behind: %v", err)
	}
	if err := r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1}); !errors.Is(err, ErrIllegalGeneration) {
		t.Fatalf("heartbeat of an old generation: %v", err)
	}
	if s := r.sync("a", 1); !errors.Is(r.syncs[s].Err, ErrIllegalGeneration) {
		t.Fatalf("sync of an old generation: %v", r.syncs[s].Err)
	}
}

// A member whose session ends is removed and the others rebalance; heartbeats and commits keep a session.
func TestSessions(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b")
	for range 10 {
		r.pass(9 * time.Second)
		r.alive(1, "a")
		if err := r.g.Commit(r.now, Identity{MemberID: "b", Generation: 1}); err != nil {
			t.Fatal(err)
		}
	}
	r.state(Stable, 1)
	r.pass(9 * time.Second)
	r.alive(1, "a")
	r.pass(2 * time.Second)
	r.state(PreparingRebalance, 1)
	a := r.join(request("a"))
	if j := r.joined(a); j.Generation != 2 || len(j.Members) != 1 {
		t.Fatalf("joined %+v", j)
	}
	r.syncAll(2, "a")
	r.pass(11 * time.Second)
	r.state(Empty, 3)
	if !r.g.Idle() {
		t.Fatal("an empty group whose state is durable is not idle")
	}
}

// A first join that is parked expires on its own bound: its member does not know its id and cannot heartbeat.
func TestParkedFirstJoinExpires(t *testing.T) {
	r := newRig(t)
	r.stable("a")
	r.g.members["a"].rebalance = time.Hour
	b := r.first("b")
	for range 31 {
		r.pass(9 * time.Second)
		_ = r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1})
	}
	r.parkedJoin(b)
	r.pass(9 * time.Second)
	_ = r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1})
	r.pass(9 * time.Second)
	_ = r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1})
	r.pass(9 * time.Second)
	if err := r.joins[b].Err; !errors.Is(err, ErrUnknownMember) {
		t.Fatalf("parked first join after five minutes: %v", err)
	}
}

// Members that have been given a generation and do not sync are removed when the sync phase times out, and parked syncs are answered.
func TestSyncPhaseEnds(t *testing.T) {
	r := newRig(t)
	r.first("a")
	r.first("b")
	r.pass(10 * time.Second)
	b := r.sync("b", 1)
	r.alive(1, "a")
	for range 7 { // the leader only heartbeats
		r.pass(9 * time.Second)
		_ = r.g.Heartbeat(r.now, Identity{MemberID: "a", Generation: 1})
	}
	if err := r.syncs[b].Err; !errors.Is(err, ErrRebalanceInProgress) {
		t.Fatalf("sync behind an idle leader: %v", err)
	}
	if r.g.members["a"] != nil {
		t.Fatal("the idle leader is still a member")
	}
	r.state(PreparingRebalance, 1)
	if j := r.joined(r.join(request("b"))); j.Leader != "b" || j.Generation != 2 {
		t.Fatalf("joined %+v", j)
	}
}

// A stable group: the leader's rejoin rebalances always, a follower's only if its metadata changed (KIP-429 lives on that).
func TestRejoinWhileStable(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b")
	b := r.join(request("b"))
	if j := r.joined(b); j.Generation != 1 || j.Leader != "a" {
		t.Fatalf("a follower that lost its answer: %+v", j)
	}
	r.state(Stable, 1)
	b = r.join(request("b", protocols("range", "gave partitions up")))
	r.state(PreparingRebalance, 1)
	a := r.join(request("a"))
	if j := r.joined(a); j.Generation != 2 || string(j.Members[1].Metadata) != "gave partitions up" {
		t.Fatalf("joined %+v", j)
	}
	r.joined(b)
	r.syncAll(2, "a", "b")
	r.join(request("a"))
	r.state(PreparingRebalance, 2)
}

// A member that rejoins twice before the phase ends gets an answer to both.
func TestSupersededRequestsAreAnswered(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b")
	first := r.join(request("a"))
	second := r.join(request("a"))
	if err := r.joins[first].Err; !errors.Is(err, ErrRebalanceInProgress) {
		t.Fatalf("superseded join: %v", err)
	}
	r.join(request("b"))
	r.joined(second)
	s1 := r.sync("b", 2)
	s2 := r.sync("b", 2)
	if err := r.syncs[s1].Err; !errors.Is(err, ErrRebalanceInProgress) {
		t.Fatalf("superseded sync: %v", err)
	}
	r.sync("a", 2, "b", "B")
	if r.synced(s2) != "B" {
		t.Fatal("second sync")
	}
}

// The protocol is the one that most members prefer among those that all support; without a common one a member is refused.
func TestProtocolVote(t *testing.T) {
	r := newRig(t)
	r.first("a", protocols("x", "", "range", "a", "sticky", "a"))
	r.first("b", protocols("sticky", "b", "range", "b"))
	last := r.first("c", protocols("sticky", "c", "range", "c"))
	r.pass(15 * time.Second)
	if p := r.joined(last).Protocol; p != "sticky" {
		t.Fatalf("elected %s", p)
	}
	for name, q := range map[string]JoinRequest{
		"no common protocol":      request("", newID("d"), protocols("x", "")),
		"other type":              request("", newID("d"), func(q *JoinRequest) { q.Type = "connect" }),
		"no protocol":             request("", newID("d"), protocols()),
		"no type":                 request("", newID("d"), func(q *JoinRequest) { q.Type = "" }),
		"protocol without a name": request("", newID("d"), protocols("", "", "range", "")),
	} {
		if ticket := r.join(q); !errors.Is(r.joins[ticket].Err, ErrInconsistentProtocol) {
			t.Errorf("%s: %+v", name, r.joins[ticket])
		}
	}
	if s := r.sync("b", 1); s == "" {
		t.Fatal()
	}
	bad, wrong := "range", "connect"
	var out Effects
	r.g.Sync(r.now, SyncRequest{MemberID: "c", Generation: 1, Protocol: &bad}, "p", &out)
	r.g.Sync(r.now, SyncRequest{MemberID: "c", Generation: 1, Type: &wrong}, "q", &out)
	for _, s := range out.Syncs {
		if !errors.Is(s.Err, ErrInconsistentProtocol) {
			t.Fatalf("sync with a foreign protocol: %v", s.Err)
		}
	}
}

// Session timeouts outside the broker's bounds are refused.
func TestSessionBounds(t *testing.T) {
	r := newRig(t)
	for _, d := range []time.Duration{-1, 0, time.Second, time.Hour} {
		if ticket := r.first("a", func(q *JoinRequest) { q.Session = d }); !errors.Is(r.joins[ticket].Err, ErrInvalidSessionTimeout) {
			t.Fatalf("session of %v: %v", d, r.joins[ticket].Err)
		}
	}
	if r.g.Exists() {
		t.Fatal("a refused join has left something")
	}
}

// group.max.size turns newcomers away, keeps members, and after it was lowered lets only so many rejoin.
func TestMaxSize(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b", "c")
	r.g.limits.MaxSize = 3
	if ticket := r.first("d"); !errors.Is(r.joins[ticket].Err, ErrMaxSize) {
		t.Fatalf("fourth of three: %v", r.joins[ticket].Err)
	}
	r.state(Stable, 1)
	r.g.limits.MaxSize = 2
	a := r.join(request("a"))
	b := r.join(request("b"))
	c := r.join(request("c"))
	if err := r.joins[c].Err; !errors.Is(err, ErrMaxSize) {
		t.Fatalf("third of two: %v", err)
	}
	if r.joined(a).Generation != 2 || r.joined(b).Generation != 2 {
		t.Fatal("the two others do not go on")
	}
	r.g.limits.MaxBytes = r.g.bytes + 100
	if ticket := r.join(request("a", protocols("range", string(make([]byte, 200))))); !errors.Is(r.joins[ticket].Err, ErrTooLarge) {
		t.Fatalf("metadata beyond the limit: %v", r.joins[ticket].Err)
	}
	if ticket := r.sync("a", 2, "b", string(make([]byte, 200))); !errors.Is(r.syncs[ticket].Err, ErrTooLarge) {
		t.Fatalf("assignment beyond the limit: %v", r.syncs[ticket].Err)
	}
}

// A member with a million protocols would hold up every group of the shard for as long as they take to count, at its join and at each election.
func TestTooManyProtocols(t *testing.T) {
	r := newRig(t)
	r.g.limits.MaxProtocols = 3
	r.stable("a")
	for name, many := range map[string][]string{"more": {"range", "", "b", "", "c", "", "d", ""}, "the same": {"range", "", "range", "", "range", "", "range", ""}} {
		for _, q := range []JoinRequest{request("", newID("b"), protocols(many...)), request("a", protocols(many...))} {
			if ticket := r.join(q); !errors.Is(r.joins[ticket].Err, ErrTooLarge) {
				t.Errorf("%s: %v", name, r.joins[ticket].Err)
			}
		}
	}
	r.state(Stable, 1)
	if n := len(r.g.order); n != 1 || len(r.g.pending) > 0 {
		t.Errorf("%d members, %d expected", n, len(r.g.pending))
	}
	r.joined(r.join(request("a", protocols(many(3)...))))
}

// many are protocols, the group's among them.
func many(n int) (list []string) {
	for i := range n - 1 {
		list = append(list, fmt.Sprint("other", i), "")
	}
	return append(list, "range", "")
}

// What an offset commit may say in which state, as Kafka's ClassicGroup.validateOffsetCommit.
func TestCommitRules(t *testing.T) {
	r := newRig(t)
	simple := Identity{Generation: -1}
	want := func(what string, who Identity, want error) {
		t.Helper()
		if err := r.g.Commit(r.now, who); !errors.Is(err, want) {
			t.Errorf("%s, group %s: %v, want %v", what, r.g.State(), err, want)
		}
	}
	want("no membership, no members", simple, nil)
	want("made-up member, no generation, no members", Identity{MemberID: "x", Generation: -1}, nil)
	want("generation of an empty group", Identity{MemberID: "x", Generation: 1}, ErrUnknownMember)
	r.first("a")
	want("no membership, during the first join", simple, ErrUnknownMember)
	r.pass(5 * time.Second)
	want("before the sync", Identity{MemberID: "a", Generation: 1}, ErrRebalanceInProgress)
	r.syncAll(1, "a")
	want("member", Identity{MemberID: "a", Generation: 1}, nil)
	want("no membership, with members", simple, ErrUnknownMember)
	want("other generation", Identity{MemberID: "a", Generation: 2}, ErrIllegalGeneration)
	want("no generation", Identity{MemberID: "a", Generation: -1}, ErrIllegalGeneration)
	want("stranger", Identity{MemberID: "x", Generation: 1}, ErrUnknownMember)
	want("unknown instance", Identity{MemberID: "a", InstanceID: "i", Generation: 1}, ErrUnknownMember)
	r.first("b")
	want("before rejoining", Identity{MemberID: "a", Generation: 1}, nil)
	r.leave(Leaver{MemberID: "a"}, Leaver{MemberID: "b"})
	want("no membership, all have left", simple, nil)
	r.g.Kill(r.now)
	want("dead", simple, ErrNotAvailable)
}

// LeaveGroup removes each that it names, and says of each what became of it.
func TestLeave(t *testing.T) {
	r := newRig(t)
	r.first("a")
	r.first("s-1", instance("s"))
	r.first("u-1", instance("u"))
	r.pass(15 * time.Second)
	r.syncAll(1, "a", "s-1", "u-1")
	r.join(request("", newID("expected"), func(q *JoinRequest) { q.RequireKnownID = true }))
	errs := r.leave(
		Leaver{InstanceID: "s"},
		Leaver{MemberID: "old", InstanceID: "u"},
		Leaver{MemberID: "nobody"},
		Leaver{},
		Leaver{InstanceID: "nobody"},
		Leaver{MemberID: "expected"},
		Leaver{MemberID: "a", Reason: "done"},
	)
	want := []error{nil, ErrFencedInstance, ErrUnknownMember, ErrUnknownMember, ErrUnknownMember, nil, nil}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("leaver %d: %v, want %v", i, errs[i], want[i])
		}
	}
	r.state(PreparingRebalance, 1)
	if r.g.Size() != 1 || len(r.g.pending) != 0 {
		t.Fatalf("%d members, %d expected", r.g.Size(), len(r.g.pending))
	}
	r.leave(Leaver{MemberID: "u-1", InstanceID: "u"})
	r.state(Empty, 2)
}

// A group that never had anything durable leaves nothing behind; one that had, leaves the news that it is empty,
// and repeats it until it is durable.
func TestEmptyGroups(t *testing.T) {
	r := newRig(t)
	r.first("a")
	r.pass(5 * time.Second)
	r.leave(Leaver{MemberID: "a"})
	r.state(Empty, 2)
	if r.saved != nil || r.g.Exists() {
		t.Fatal("a group by mere joins has left something")
	}

	r = newRig(t)
	r.stable("a")
	r.held = true
	r.leave(Leaver{MemberID: "a"})
	r.state(Empty, 2)
	if r.g.Idle() {
		t.Fatal("idle before the news is durable")
	}
	r.release(ErrNotAvailable)
	if r.g.Idle() {
		t.Fatal("idle though the news was refused")
	}
	r.held = false
	r.pass(2 * time.Second)
	if !r.g.Idle() {
		t.Fatal("the news was not repeated")
	}
	back, err := Load(r.g.limits, r.now, r.saved)
	if err != nil || back.State() != Empty || back.Generation() != 2 || back.Size() != 0 {
		t.Fatalf("loaded %+v: %v", back, err)
	}
}

// Abort answers everything that is parked.
func TestAbort(t *testing.T) {
	r := newRig(t)
	r.stable("a", "b")
	a := r.join(request("a"))
	var out Effects
	r.g.Abort(r.now, ErrNotAvailable, &out)
	r.carry(&out)
	if !errors.Is(r.joins[a].Err, ErrNotAvailable) {
		t.Fatalf("parked join: %+v", r.joins[a])
	}
}

// When a group's offsets count as unused, by Kafka's rule.
func TestOffsetExpiry(t *testing.T) {
	r := newRig(t)
	want := func(rule Expiry) {
		t.Helper()
		if got, _ := r.g.OffsetExpiry(); got != rule {
			t.Errorf("%s group: rule %d, want %d", r.g.State(), got, rule)
		}
	}
	want(SinceCommit)
	r.first("a", protocols("range", subscription("t", "u")))
	want(KeepOffsets)
	r.pass(5 * time.Second)
	want(KeepOffsets)
	r.syncAll(1, "a")
	want(Unsubscribed)
	if !r.g.Subscribed("t") || r.g.Subscribed("v") {
		t.Error("subscription is not read")
	}
	if r.g.CheckOffsetDelete() != nil || !errors.Is(r.g.CheckDelete(), ErrNonEmpty) {
		t.Error("what may be deleted of a group with members")
	}
	r.pass(20 * time.Second)
	want(SinceEmpty)
	if _, since := r.g.OffsetExpiry(); since.IsZero() || since.After(r.now) {
		t.Errorf("empty since %v", since)
	}
	if r.g.CheckDelete() != nil || r.g.CheckOffsetDelete() != nil {
		t.Error("an empty group may be deleted")
	}
	r.g.Kill(r.now)
	if !errors.Is(r.g.CheckDelete(), ErrNotFound) || !errors.Is(r.g.CheckOffsetDelete(), ErrNotFound) {
		t.Error("a dead group exists")
	}
	r.g.Revive()
	r.state(Empty, 2)

	r = newRig(t)
	r.first("w", func(q *JoinRequest) { q.Type = "connect" })
	r.pass(5 * time.Second)
	r.syncAll(1, "w")
	want(KeepOffsets)
	if r.g.Subscribed("t") || !errors.Is(r.g.CheckOffsetDelete(), ErrNonEmpty) {
		t.Error("a group of Connect workers subscribes to no topic, and its offsets stay while it works")
	}
}

// subscription is a consumer's metadata, version 1, with owned partitions that the broker does not look at.
func subscription(topics ...string) string {
	b := []byte{0, 1, 0, 0, 0, byte(len(topics))}
	for _, topic := range topics {
		b = append(append(b, 0, byte(len(topic))), topic...)
	}
	return string(append(b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
}
