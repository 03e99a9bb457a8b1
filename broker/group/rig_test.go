package group

import (
	"fmt"
	"testing"
	"time"
)

// rig drives one group by hand: its time, its answers, its durability.
type rig struct {
	t     testing.TB
	g     *Group
	now   time.Time
	joins map[string]JoinResult // by ticket
	syncs map[string]SyncResult
	keep  []Persist // handed out and not yet told
	held  bool      // persists wait for release
	saved []byte    // the newest durable state
	n     int
}

func newRig(t testing.TB) *rig {
	l := DefaultLimits()
	now := time.UnixMilli(1_700_000_000_000)
	return &rig{t: t, g: New(&l, now), now: now, joins: map[string]JoinResult{}, syncs: map[string]SyncResult{}}
}

// carry records effects as a caller would carry them out.
func (r *rig) carry(out *Effects) {
	r.t.Helper()
	for _, j := range out.Joins {
		ticket := j.Ticket.(string)
		if _, twice := r.joins[ticket]; twice {
			r.t.Fatalf("join %s answered twice", ticket)
		}
		r.joins[ticket] = j.JoinResult
	}
	for _, s := range out.Syncs {
		ticket := s.Ticket.(string)
		if _, twice := r.syncs[ticket]; twice {
			r.t.Fatalf("sync %s answered twice", ticket)
		}
		r.syncs[ticket] = s.SyncResult
	}
	r.keep = append(r.keep, out.Persists...)
	if !r.held {
		r.release(nil)
	}
	r.g.check1(r.t)
}

// release tells the outcome of the persists that wait.
func (r *rig) release(err error) {
	r.t.Helper()
	for len(r.keep) > 0 {
		p := r.keep[0]
		r.keep = r.keep[1:]
		if err == nil {
			r.saved = p.State
		}
		var out Effects
		r.g.Persisted(r.now, p.Seq, err, &out)
		held := r.held
		r.held = true
		r.carry(&out)
		r.held = held
	}
}

func (r *rig) ticket() string { r.n++; return fmt.Sprint("t", r.n) }

func request(id string, options ...func(*JoinRequest)) JoinRequest {
	q := JoinRequest{
		MemberID: id, ClientID: "client", ClientHost: "/host", Session: 10 * time.Second, Rebalance: 60 * time.Second,
		Type: "consumer", Protocols: []Protocol{{"range", []byte("meta")}},
	}
	for _, o := range options {
		o(&q)
	}
	return q
}

func instance(name string) func(*JoinRequest) { return func(q *JoinRequest) { q.InstanceID = name } }
func newID(id string) func(*JoinRequest)      { return func(q *JoinRequest) { q.NewMemberID = id } }
func protocols(ps ...string) func(*JoinRequest) {
	return func(q *JoinRequest) {
		q.Protocols = nil
		for i := 0; i < len(ps); i += 2 {
			q.Protocols = append(q.Protocols, Protocol{ps[i], []byte(ps[i+1])})
		}
	}
}

func (r *rig) join(q JoinRequest) string {
	r.t.Helper()
	var out Effects
	t := r.ticket()
	r.g.Join(r.now, q, t, &out)
	r.carry(&out)
	return t
}

// first is a first join that is not asked to come back.
func (r *rig) first(id string, options ...func(*JoinRequest)) string {
	r.t.Helper()
	return r.join(request("", append(options, newID(id))...))
}

func (r *rig) sync(id string, generation int32, as ...string) string {
	r.t.Helper()
	q := SyncRequest{MemberID: id, Generation: generation}
	for i := 0; i < len(as); i += 2 {
		q.Assignments = append(q.Assignments, Assignment{as[i], []byte(as[i+1])})
	}
	var out Effects
	t := r.ticket()
	r.g.Sync(r.now, q, t, &out)
	r.carry(&out)
	return t
}

// pass lets time go by, stopping at every deadline.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for still := 0; ; still++ {
		next := r.g.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(r.now) {
			r.now, still = next, 0
		}
		var out Effects
		r.g.Advance(r.now, &out)
		r.carry(&out)
		if still > 8 { // timeouts of zero chain a few phases; more would be a loop
			r.t.Fatalf("time stands still at %v, group is %s", r.now, r.g.State())
		}
	}
	r.now = end
}

func (r *rig) alive(generation int32, ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		if err := r.g.Heartbeat(r.now, Identity{MemberID: id, Generation: generation}); err != nil {
			r.t.Fatalf("heartbeat of %s in generation %d: %v", id, generation, err)
		}
	}
}

func (r *rig) leave(ls ...Leaver) []error {
	r.t.Helper()
	var out Effects
	errs := r.g.Leave(r.now, ls, &out)
	r.carry(&out)
	return errs
}

func (r *rig) joined(ticket string) JoinResult {
	r.t.Helper()
	j, ok := r.joins[ticket]
	if !ok {
		r.t.Fatalf("join %s is still parked; group is %s", ticket, r.g.State())
	}
	if j.Err != nil {
		r.t.Fatalf("join %s: %v", ticket, j.Err)
	}
	return j
}

func (r *rig) synced(ticket string) string {
	r.t.Helper()
	s, ok := r.syncs[ticket]
	if !ok {
		r.t.Fatalf("sync %s is still parked; group is %s", ticket, r.g.State())
	}
	if s.Err != nil {
		r.t.Fatalf("sync %s: %v", ticket, s.Err)
	}
	return string(s.Assignment)
}

func (r *rig) parkedJoin(ticket string) {
	r.t.Helper()
	if j, ok := r.joins[ticket]; ok {
		r.t.Fatalf("join %s is answered: %+v", ticket, j)
	}
}

func (r *rig) parkedSync(ticket string) {
	r.t.Helper()
	if s, ok := r.syncs[ticket]; ok {
		r.t.Fatalf("sync %s is answered: %+v", ticket, s)
	}
}

func (r *rig) state(s State, generation int32) {
	r.t.Helper()
	if r.g.State() != s || r.g.Generation() != generation {
		r.t.Fatalf("group is %s in generation %d, want %s in %d", r.g.State(), r.g.Generation(), s, generation)
	}
}

// stable makes a stable group of the members, in generation 1; the first leads.
func (r *rig) stable(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		r.first(id)
	}
	r.pass(10 * time.Second)
	r.syncAll(1, ids...)
	r.state(Stable, 1)
	r.alive(1, ids...)
}

// syncAll lets every member sync; each is assigned "its id's work".
func (r *rig) syncAll(generation int32, ids ...string) {
	r.t.Helper()
	var as []string
	for _, id := range ids {
		as = append(as, id, "work of "+id)
	}
	for _, id := range ids {
		if id == r.g.leader {
			r.sync(id, generation, as...)
		} else {
			r.sync(id, generation)
		}
	}
}

// check1 holds the roster's counts against its members.
func (g *Group) check1(t testing.TB) {
	t.Helper()
	parked, unsynced, size := 0, 0, 0
	supported := map[string]int{}
	static := 0
	for _, m := range g.order {
		if g.members[m.id] != m {
			t.Fatalf("member %s is not where its id says", m.id)
		}
		if m.joining != nil {
			parked++
			if g.state == CompletingRebalance {
				t.Fatalf("join of %s is parked in CompletingRebalance", m.id)
			}
		}
		if m.syncing != nil && g.state != CompletingRebalance {
			t.Fatalf("sync of %s is parked in %s", m.id, g.state)
		}
		if m.mustSync {
			unsynced++
		}
		if m.instance != "" {
			static++
			if g.static[m.instance] != m.id {
				t.Fatalf("instance %s belongs to %s, not %s", m.instance, g.static[m.instance], m.id)
			}
		}
		size += m.bytes()
		for _, p := range m.protocols {
			supported[p.Name]++
		}
	}
	if len(g.members) != len(g.order) || len(g.static) != static || g.parked != parked || g.unsynced != unsynced || g.bytes != size {
		t.Fatalf("counts drifted: members %d/%d static %d/%d parked %d/%d unsynced %d/%d bytes %d/%d",
			len(g.members), len(g.order), len(g.static), static, g.parked, parked, g.unsynced, unsynced, g.bytes, size)
	}
	for name, n := range supported {
		if g.supported[name] != n {
			t.Fatalf("protocol %s counted %d times, %d members have it", name, g.supported[name], n)
		}
	}
	if len(g.supported) != len(supported) {
		t.Fatalf("protocols counted that nobody has: %v", g.supported)
	}
	if len(g.order) > 0 && g.members[g.leader] == nil || len(g.order) == 0 && g.leader != "" {
		t.Fatalf("leader %q of %d members", g.leader, len(g.order))
	}
	if len(g.order) > 0 && (g.state == Empty || g.state == Dead) {
		t.Fatalf("%s group with %d members", g.state, len(g.order))
	}
	if g.state == CompletingRebalance && g.syncAt.IsZero() && g.unsynced > 0 {
		t.Fatal("nobody looks after members that do not sync")
	}
	if g.state == PreparingRebalance && g.joinAt.IsZero() {
		t.Fatal("nobody ends the join phase")
	}
}
