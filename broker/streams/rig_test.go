package streams

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig drives one group by hand: its time, its topics, its answers, its durability.
type rig struct {
	t       tester
	limits  Limits
	g       *Group
	now     time.Time
	w       World
	sizes   map[string]int // topics
	replies map[string]Reply
	change  *Change // handed out and not told yet
	held    bool    // changes wait for release
	parts   map[string][]byte
	changes int
	n       int
}

// newRig is in a cluster with topics, written as name, partitions, name, …
func newRig(t tester, topics ...any) *rig {
	r := &rig{
		t: t, limits: DefaultLimits(), now: time.UnixMilli(1_700_000_000_000), sizes: map[string]int{}, replies: map[string]Reply{}, parts: map[string][]byte{},
		w: World{Session: 45 * time.Second, Heartbeat: 5 * time.Second},
	}
	for i := 0; i < len(topics); i += 2 {
		r.sizes[topics[i].(string)] = topics[i+1].(int)
	}
	r.look()
	r.g = New(&r.limits, r.now, 0)
	return r
}

// look makes the image of the topics that there are.
func (r *rig) look() {
	r.t.Helper()
	m := image.Empty()
	for _, name := range slices.Sorted(maps.Keys(r.sizes)) {
		c := command.CreateTopic{Name: name, Partitions: slices.Repeat([][]kafka.BrokerID{{1}}, r.sizes[name])}
		copy(c.ID[:], name)
		var err error
		if m, _, _, err = image.Apply(m, m.Index()+1, command.Envelope{}, c); err != nil {
			r.t.Fatal(err)
		}
	}
	r.w.Topics = m.TopicSet()
}

// make creates what an answer says is missing, as whoever answers does.
func (r *rig) make(reply Reply) {
	for _, t := range reply.Create {
		r.sizes[t.Name] = int(t.Partitions)
	}
	r.look()
}

// carry records effects as a caller would carry them out.
func (r *rig) carry(out *Effects) {
	r.t.Helper()
	for _, a := range out.Replies {
		r.answer(a.Ticket.(string), a.Reply)
	}
	if out.Change != nil {
		if r.change != nil {
			r.t.Fatal("two changes at once")
		}
		r.change = out.Change
		r.changes++
		if !r.held {
			r.release()
		}
	}
	r.g.check1(r.t)
}

func (r *rig) answer(ticket string, reply Reply) {
	if _, twice := r.replies[ticket]; twice {
		r.t.Fatalf("heartbeat %s answered twice", ticket)
	}
	r.replies[ticket] = reply
}

// release makes what was handed out durable.
func (r *rig) release() {
	r.t.Helper()
	for r.change != nil {
		c := r.change
		r.change = nil
		for _, p := range c.Put {
			r.parts[p.Key] = p.Value
		}
		for _, k := range c.Delete {
			delete(r.parts, k)
		}
		var out Effects
		r.g.Persisted(c.Seq, &out)
		held := r.held
		r.held = true
		r.carry(&out)
		if r.held = held; held {
			return
		}
	}
}

// fail loses what was handed out, if anything was: whoever waits hears so, and the machine is made anew from what is durable.
func (r *rig) fail() {
	r.t.Helper()
	var out Effects
	r.g.Abort(r.now, group.ErrNotAvailable, &out)
	r.change = nil
	g, err := Load(&r.limits, r.now, r.w.Session, r.each)
	if err != nil {
		r.t.Fatal(err)
	}
	r.g = g
	r.carry(&out)
}

func (r *rig) each(f func(string, []byte) bool) {
	for _, k := range slices.Sorted(maps.Keys(r.parts)) {
		if !f(k, r.parts[k]) {
			return
		}
	}
}

// beat sends a heartbeat; its ticket is returned, and its answer is in replies when it has come.
func (r *rig) beat(h Heartbeat) string {
	r.t.Helper()
	r.n++
	ticket := fmt.Sprint("h", r.n)
	var out Effects
	if reply, done := r.g.Heartbeat(r.now, &h, &r.w, ticket, &out); done {
		r.answer(ticket, reply)
	}
	r.carry(&out)
	return ticket
}

// say is beat whose answer must have come.
func (r *rig) say(h Heartbeat) Reply {
	r.t.Helper()
	reply, ok := r.replies[r.beat(h)]
	if !ok {
		r.t.Fatal("not answered")
	}
	return reply
}

func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(d)
	var out Effects
	r.g.Advance(r.now, &out)
	r.carry(&out)
}

// words counts words: 0 reads lines and writes a repartition topic, 1 counts what is in that.
func words() *Topology {
	return &Topology{Subtopologies: []Subtopology{
		{ID: "1", Repartition: []InternalTopic{{Name: "app-words", Configs: []Pair{{"cleanup.policy", "delete"}}}}, Changelogs: []InternalTopic{{Name: "app-counts", Replicas: 2}}},
		{ID: "0", Sources: []string{"lines"}, Sinks: []string{"app-words"}},
	}}
}

// table is one stateful subtopology on one topic.
func table(topic string) *Topology {
	return &Topology{Subtopologies: []Subtopology{{ID: "0", Sources: []string{topic}, Changelogs: []InternalTopic{{Name: "app-table"}}}}}
}

func joining(id, process string, t *Topology) Heartbeat {
	return Heartbeat{
		MemberID: id, EndpointEpoch: -1, Process: &process, ClientID: "client", ClientHost: "/host", RebalanceMs: 60_000, Topology: t,
		Owned: Owned{HasActive: true, HasStandby: true, HasWarmup: true},
	}
}

// beating is a heartbeat that says nothing new.
func beating(id string, epoch int32) Heartbeat {
	return Heartbeat{MemberID: id, Epoch: epoch, ClientID: "client", ClientHost: "/host", RebalanceMs: -1}
}

// owning is one that says what the member has.
func owning(id string, epoch int32, t *Topology, a Assignment) Heartbeat {
	h := beating(id, epoch)
	h.Owned = Owned{HasActive: true, HasStandby: true, HasWarmup: true}
	if t != nil {
		h.Owned.Active, h.Owned.Standby = t.ByID(a.Active), t.ByID(a.Standby)
	}
	return h
}

// ts are tasks, written as subtopology, index, …
func ts(items ...int32) Tasks {
	var out []Task
	for i := 0; i < len(items); i += 2 {
		out = append(out, Task{items[i], items[i+1]})
	}
	return setOf(out)
}

// wants checks an answer: its epoch, and the tasks that it brings; nil: none are told.
func (r *rig) wants(got Reply, epoch int32, a *Assignment) {
	r.t.Helper()
	if got.Err != nil || got.Epoch != epoch || got.Assigned != (a != nil) || a != nil && !got.Assignment.equal(*a) {
		r.t.Fatalf("answer is %+v, want epoch %d and %+v", got, epoch, a)
	}
}

func (r *rig) is(state State, epoch int32) {
	r.t.Helper()
	if r.g.State() != state || r.g.Epoch() != epoch {
		r.t.Fatalf("group is %v in epoch %d, not %v in %d", r.g.State(), r.g.Epoch(), state, epoch)
	}
}

// check1 checks the machine's invariants.
func (g *Group) check1(t tester) {
	t.Helper()
	active, held := map[Task]string{}, map[place]int{}
	bytes := 0
	for i, m := range g.order {
		if g.members[m.id] != m || i > 0 && g.order[i-1].id >= m.id {
			t.Fatalf("order and members do not agree on %s", m.id)
		}
		if m.assigned.meets(m.revoking) || m.revoking.empty() == (m.state == unrevoked) || m.epoch > g.target {
			t.Fatalf("member %s: state %d, epoch %d of %d, has %v, gives up %v", m.id, m.state, m.epoch, g.target, m.assigned, m.revoking)
		}
		if m.state == stable && m.epoch == g.target && g.epoch == g.target && !m.assigned.equal(m.target) {
			t.Fatalf("member %s is stable with %v, its target is %v", m.id, m.assigned, m.target)
		}
		owns := m.owns()
		for _, task := range owns.Active {
			if o, twice := active[task]; twice {
				t.Fatalf("%v is active in %s and %s", task, o, m.id)
			}
			if active[task] = m.id; g.active[task] != m {
				t.Fatalf("%v is %s's, active has %v", task, m.id, g.active[task])
			}
		}
		for _, list := range []Tasks{owns.Active, owns.Standby} {
			for _, task := range list {
				held[place{m.process, task}]++
			}
		}
		bytes += m.bytes()
	}
	if len(active) != len(g.active) || !maps.Equal(held, g.held) || bytes != g.bytes || len(g.order) != len(g.members) || g.target > g.epoch {
		t.Fatalf("%d active, counted %d; held %v, counted %v; %d bytes, counted %d; target %d of epoch %d", len(active), len(g.active), held, g.held, bytes, g.bytes, g.target, g.epoch)
	}
	if g.check.IsZero() && len(g.order) > 0 {
		t.Fatal("members, and no deadline")
	}
}
