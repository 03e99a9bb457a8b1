package consumer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// rig drives one group by hand: its time, its topics, its answers, its durability.
type rig struct {
	t       tester
	limits  Limits
	g       *Group
	now     time.Time
	m       *image.Image
	replies map[string]Reply // by ticket
	joins   map[string]group.JoinResult
	syncs   map[string]group.SyncResult
	change  *Change // handed out and not told yet
	held    bool    // changes wait for release
	parts   map[string][]byte
	changes int
	n       int
}

func newRig(t tester, topics ...any) *rig {
	r := &rig{
		t: t, limits: DefaultLimits(), now: time.UnixMilli(1_700_000_000_000), m: image.Empty(),
		replies: map[string]Reply{}, joins: map[string]group.JoinResult{}, syncs: map[string]group.SyncResult{}, parts: map[string][]byte{},
	}
	r.apply(command.RegisterBroker{ID: 1})
	for i := 0; i < len(topics); i += 2 {
		r.topic(topics[i].(string), topics[i+1].(int))
	}
	r.g = New(&r.limits, r.now, 0)
	return r
}

func (r *rig) apply(c command.Command) {
	r.t.Helper()
	next, _, _, err := image.Apply(r.m, r.m.Index()+1, command.Envelope{}, c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = next
}

func topicID(name string) (id kafka.TopicID) {
	copy(id[:], name)
	id[15] = 1
	return id
}

// topic makes a topic, or gives it more partitions if it has fewer.
func (r *rig) topic(name string, partitions int) {
	r.t.Helper()
	from := 0
	if t, ok := r.m.TopicByName(name); ok {
		from = int(t.Partitions)
	}
	if from >= partitions {
		return
	}
	var replicas [][]kafka.BrokerID
	for range partitions - from {
		replicas = append(replicas, []kafka.BrokerID{1})
	}
	if from > 0 {
		r.apply(command.AddPartitions{ID: topicID(name), From: int32(from), Replicas: replicas})
	} else {
		r.apply(command.CreateTopic{ID: topicID(name), Name: name, Partitions: replicas})
	}
}

func (r *rig) world() World {
	return World{Topics: r.m.TopicSet(), Session: 45 * time.Second, Heartbeat: 5 * time.Second}
}

// carry records effects as a caller would carry them out.
func (r *rig) carry(out *Effects) {
	r.t.Helper()
	for _, a := range out.Replies {
		r.answer(a.Ticket.(string), a.Reply)
	}
	for _, j := range out.Joins {
		r.joins[j.Ticket.(string)] = j.JoinResult
	}
	for _, s := range out.Syncs {
		r.syncs[s.Ticket.(string)] = s.SyncResult
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
		r.g.Persisted(r.now, c.Seq, &out)
		held := r.held
		r.held = true
		r.carry(&out)
		if r.held = held; held {
			return
		}
	}
}

// fail loses what was handed out: whoever waits hears so, and the machine is made anew from what is durable.
func (r *rig) fail() {
	r.t.Helper()
	var out Effects
	r.g.Abort(r.now, group.ErrNotAvailable, &out)
	r.change = nil
	r.load()
	r.carry(&out)
}

// load is what another coordinator does.
func (r *rig) load() {
	r.t.Helper()
	g, err := Load(&r.limits, r.now, 45*time.Second, func(f func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(r.parts)) {
			if !f(k, r.parts[k]) {
				return
			}
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.g = g
	r.g.check1(r.t)
}

// beat sends a heartbeat; its ticket is returned, and its answer is in replies when it has come.
func (r *rig) beat(h Heartbeat) string {
	r.t.Helper()
	r.n++
	ticket := fmt.Sprint("h", r.n)
	var out Effects
	reply, done := r.g.Heartbeat(r.now, &h, r.world(), ticket, &out)
	if done {
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

func joining(id string, topics ...string) Heartbeat {
	return Heartbeat{MemberID: id, ClientID: "client", ClientHost: "/host", RebalanceMs: 60_000, Topics: topics, HasTopics: true, HasOwned: true, NeedMemberID: true}
}

func static(id, instance string, topics ...string) Heartbeat {
	h := joining(id, topics...)
	h.InstanceID = &instance
	return h
}

// beating is a heartbeat that says nothing new; owned: also what the member owns.
func beating(id string, epoch int32, owned ...any) Heartbeat {
	h := Heartbeat{MemberID: id, Epoch: epoch, ClientID: "client", ClientHost: "/host", RebalanceMs: -1}
	if len(owned) > 0 {
		h.HasOwned, h.Owned = true, set(owned...)
	}
	return h
}

// set is written as topic, its partitions, topic, …: set("a", 0, 1, "b", 2); set(nil) is empty.
func set(items ...any) assign.Set {
	var ps []kafka.Partition
	var topic kafka.TopicID
	for _, x := range items {
		switch x := x.(type) {
		case string:
			topic = topicID(x)
		case int:
			ps = append(ps, kafka.Partition{Topic: topic, Index: int32(x)})
		}
	}
	return assign.SetOf(ps)
}

func (r *rig) is(state State, epoch int32) {
	r.t.Helper()
	if r.g.State() != state || r.g.Epoch() != epoch {
		r.t.Fatalf("group is %v in epoch %d, not %v in %d", r.g.State(), r.g.Epoch(), state, epoch)
	}
}

// wants checks an answer: its epoch and, when items are given, the assignment that it brings.
func (r *rig) wants(got Reply, epoch int32, items ...any) {
	r.t.Helper()
	if got.Err != nil || got.Epoch != epoch || got.Assigned != (len(items) > 0) || !got.Assignment.Equal(set(items...)) && len(items) > 0 {
		r.t.Fatalf("answer is %+v, want epoch %d and %v", got, epoch, items)
	}
}

// check1 checks the machine's invariants.
func (g *Group) check1(t tester) {
	t.Helper()
	owned := map[kafka.Partition]string{}
	bytes := 0
	for i, m := range g.order {
		if g.members[m.id] != m || i > 0 && strings.Compare(g.order[i-1].id, m.id) >= 0 {
			t.Fatalf("order and members do not agree on %s", m.id)
		}
		if m.assigned.Meets(m.revoking) || (len(m.revoking) > 0) != (m.state == unrevoked) || m.epoch > g.target {
			t.Fatalf("member %s: state %d, epoch %d of %d, has %v, gives up %v", m.id, m.state, m.epoch, g.target, m.assigned, m.revoking)
		}
		if m.state == stable && m.epoch == g.target && g.epoch == g.target && !m.assigned.Equal(m.target) {
			t.Fatalf("member %s is stable with %v, its target is %v", m.id, m.assigned, m.target)
		}
		for _, p := range m.owns() {
			if o, twice := owned[p]; twice {
				t.Fatalf("%v is %s's and %s's", p, o, m.id)
			}
			if owned[p] = m.id; g.owners[p] != m {
				t.Fatalf("%v is %s's, owners has %v", p, m.id, g.owners[p])
			}
		}
		bytes += m.bytes()
	}
	if len(owned) != len(g.owners) || bytes != g.bytes || len(g.order) != len(g.members) || g.target > g.epoch {
		t.Fatalf("%d owned, owners has %d; %d bytes, counted %d; target %d of epoch %d", len(owned), len(g.owners), bytes, g.bytes, g.target, g.epoch)
	}
	if g.check.IsZero() && len(g.order) > 0 {
		t.Fatal("members, and no deadline")
	}
}

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
