package streams

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The first member brings the topology, is told which internal topics are missing, and has all tasks when they are there.
func TestAlone(t *testing.T) {
	r := newRig(t, "lines", 3)
	reply := r.say(joining("m1", "p1", words()))
	r.wants(reply, 2, &Assignment{})
	r.is(NotReady, 2)
	if len(reply.Status) != 1 || reply.Status[0].Code != MissingInternalTopics || len(reply.Create) != 2 {
		t.Fatalf("%+v", reply)
	}
	if c := reply.Create; c[0].Name != "app-counts" || c[0].Partitions != 3 || c[0].Replicas != 2 || c[1].Name != "app-words" || c[1].Partitions != 3 || c[1].Configs[0].Key != "cleanup.policy" {
		t.Fatalf("%+v", c)
	}
	r.make(reply)
	r.wants(r.say(beating("m1", 2)), 3, &Assignment{Active: ts(0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2)})
	r.is(Stable, 3)
	changes := r.changes
	reply = r.say(beating("m1", 3))
	r.wants(reply, 3, nil)
	if len(reply.Status) > 0 || reply.Interval != 5*time.Second {
		t.Errorf("%+v", reply)
	}
	if r.changes != changes {
		t.Error("a heartbeat that changes nothing was written")
	}
	d := r.g.Describe(&r.w)
	if d.Topology.Subtopologies[1].Changelogs[0].Partitions != 3 || r.g.topology.Subtopologies[1].Changelogs[0].Partitions != 0 {
		t.Errorf("%+v", d.Topology)
	}
}

func ready(t tester, process ...string) *rig {
	r := newRig(t, "a", 4, "app-table", 4)
	for i, p := range process {
		r.say(joining("m"+string(rune('1'+i)), p, table("a")))
	}
	return r
}

// A task goes from one member to another only when the first says that it has given it up.
func TestHandOver(t *testing.T) {
	r := ready(t, "p1")
	all := Assignment{Active: ts(0, 0, 0, 1, 0, 2, 0, 3)}
	r.wants(r.say(joining("m2", "p2", table("a"))), 3, &Assignment{})
	r.is(Reconciling, 3)
	low := Assignment{Active: ts(0, 0, 0, 1)}
	r.wants(r.say(beating("m1", 2)), 2, &low) // asked to give up two
	r.wants(r.say(beating("m2", 3)), 3, nil)
	r.wants(r.say(owning("m1", 2, r.g.topology, all)), 2, nil) // it has them still
	r.wants(r.say(beating("m2", 3)), 3, nil)
	r.wants(r.say(owning("m1", 2, r.g.topology, low)), 3, nil)
	r.wants(r.say(beating("m2", 3)), 3, &Assignment{Active: ts(0, 2, 0, 3)})
	r.is(Stable, 3)
}

// A member that does not give up what it is asked to is thrown out after its rebalance timeout, and one that is silent after its session.
func TestTimeouts(t *testing.T) {
	r := ready(t, "p1")
	r.say(joining("m2", "p2", table("a")))
	r.say(beating("m1", 2))
	for range 6 {
		r.say(beating("m1", 2))
		r.say(beating("m2", 3))
		r.pass(10 * time.Second)
	}
	if r.g.members["m1"] != nil {
		t.Fatal("it holds its tasks for ever")
	}
	r.wants(r.say(beating("m2", 3)), 4, &Assignment{Active: ts(0, 0, 0, 1, 0, 2, 0, 3)})
	r.pass(45 * time.Second)
	r.is(Empty, 5)
}

// A standby is in another process than the task itself, and becomes active where it is when that process goes.
func TestStandby(t *testing.T) {
	r := newRig(t, "a", 2, "app-table", 2)
	r.w.Standbys = 2
	r.say(joining("m1", "p1", table("a")))
	r.say(joining("m2", "p1", table("a")))
	r.say(owning("m1", 2, r.g.topology, Assignment{Active: ts(0, 0)}))
	r.say(beating("m2", 3))
	for _, m := range r.g.order {
		if len(m.assigned.Standby) > 0 {
			t.Fatalf("%s has standbys of its own process: %+v", m.id, m.assigned)
		}
	}
	r.say(joining("m3", "p2", table("a")))
	r.wants(r.say(beating("m3", 4)), 4, nil)
	if m := r.g.members["m3"]; !m.assigned.Standby.Equal(ts(0, 0, 0, 1)) {
		t.Fatalf("%+v", m.assigned)
	}
	h := beating("m1", Leaving)
	r.say(h)
	reply := r.say(beating("m3", 4)) // gives up the standby first
	if len(reply.Assignment.Standby) != 1 || len(reply.Assignment.Active) != 0 {
		t.Fatalf("%+v", reply)
	}
	reply = r.say(owning("m3", 4, r.g.topology, reply.Assignment))
	if reply.Epoch != 5 || len(reply.Assignment.Active) != 1 || reply.Assignment.Active.Meets(reply.Assignment.Standby) {
		t.Fatalf("%+v", reply)
	}
}

// Members that come within the delay are assigned tasks together; later ones not more often than the interval allows.
func TestDelays(t *testing.T) {
	r := newRig(t, "a", 4, "app-table", 4)
	r.w.Delay, r.w.Interval = 3*time.Second, time.Second
	reply := r.say(joining("m1", "p1", table("a")))
	r.wants(reply, 1, &Assignment{})
	if len(reply.Status) != 1 || reply.Status[0].Code != AssignmentDelayed {
		t.Fatalf("%+v", reply)
	}
	r.is(Assigning, 2)
	r.wants(r.say(joining("m2", "p2", table("a"))), 1, &Assignment{})
	r.pass(3 * time.Second)
	r.wants(r.say(beating("m1", 1)), 2, &Assignment{Active: ts(0, 0, 0, 2)})
	r.wants(r.say(beating("m2", 1)), 2, &Assignment{Active: ts(0, 1, 0, 3)})
	reply = r.say(joining("m3", "p3", table("a")))
	r.wants(reply, 2, &Assignment{})
	if len(reply.Status) != 1 || reply.Status[0].Code != AssignmentDelayed {
		t.Fatalf("%+v", reply)
	}
	r.pass(time.Second)
	r.wants(r.say(beating("m3", 2)), 3, nil)
	r.is(Reconciling, 3)
}

// A member learns what it has only when that is durable, and what was lost was never told.
func TestAnswersWaitForDurability(t *testing.T) {
	r := newRig(t, "a", 4, "app-table", 4)
	r.held = true
	first, second := r.beat(joining("m1", "p1", table("a"))), r.beat(joining("m2", "p2", table("a")))
	if len(r.replies) > 0 {
		t.Fatal("answered before")
	}
	r.release()
	if _, ok := r.replies[second]; ok || r.replies[first].Err != nil || len(r.replies) != 1 {
		t.Fatalf("%+v", r.replies)
	}
	r.fail()
	if got := r.replies[second]; !errors.Is(got.Err, group.ErrNotAvailable) {
		t.Fatalf("%+v", got)
	}
	if r.g.members["m2"] != nil || r.g.members["m1"] == nil || r.g.topology == nil {
		t.Fatal("what is durable is not what was loaded")
	}
	r.held = false
	r.wants(r.say(beating("m1", 2)), 2, nil)
}

// Nothing durable of a member outlives it, when one of its id comes before it is deleted.
func TestLeavesAndComesBack(t *testing.T) {
	r := newRig(t, "a", 1, "app-table", 1)
	r.say(joining("m1", "p1", table("a")))
	r.held = true
	r.beat(joining("m2", "p2", table("a"))) // is on its way meanwhile
	r.beat(beating("m1", Leaving))
	r.beat(beating("m2", r.g.members["m2"].epoch)) // takes the task over
	r.beat(joining("m1", "p1", table("a")))
	r.held = false
	r.release()
	if m := r.g.members["m1"]; m == nil || !m.target.empty() || r.g.members["m2"].target.empty() {
		t.Fatalf("%+v: the task is to be m2's", m)
	}
	r.fail()
	if m := r.g.members["m1"]; m == nil || !m.target.empty() {
		t.Fatalf("%+v: it has the target of who was there before", m)
	}
}

// Who comes with the epoch before its own, since an answer was lost, is told its tasks again; who comes with another one begins anew.
func TestEpochs(t *testing.T) {
	r := ready(t, "p1")
	all := &Assignment{Active: ts(0, 0, 0, 1, 0, 2, 0, 3)}
	if got := r.say(beating("m1", 1)); !errors.Is(got.Err, ErrFencedEpoch) {
		t.Fatalf("%+v", got)
	}
	if got := r.say(owning("m1", 0, r.g.topology, Assignment{})); !errors.Is(got.Err, ErrInvalidRequest) { // it brings no topology
		t.Fatalf("%+v", got)
	}
	if got := r.say(beating("m1", 3)); !errors.Is(got.Err, ErrFencedEpoch) {
		t.Fatalf("%+v", got)
	}
	whole := owning("m1", 2, r.g.topology, *all)
	whole.RebalanceMs = 60_000
	r.wants(r.say(whole), 2, all)
	r.wants(r.say(joining("m1", "p1", table("a"))), 2, all)
	if got := r.say(beating("m9", 2)); !errors.Is(got.Err, group.ErrUnknownMember) {
		t.Fatalf("%+v", got)
	}
}

// What a topology lacks is told to its members, and is told no more when it is there.
func TestStatus(t *testing.T) {
	code := func(r Reply) StatusCode {
		if r.Err != nil || len(r.Status) == 0 {
			t.Fatalf("%+v", r)
		}
		return r.Status[0].Code
	}
	r := newRig(t, "b", 3)
	both := func(groups ...Copartition) *Topology {
		return &Topology{Epoch: 1, Subtopologies: []Subtopology{{ID: "0", Sources: []string{"b", "a"}, Changelogs: []InternalTopic{{Name: "app-table"}}, Groups: groups}}}
	}
	together := Copartition{Sources: []int16{0, 1}}
	if got := r.say(joining("m1", "p1", both(together))); code(got) != MissingSourceTopics || len(got.Create) > 0 {
		t.Fatalf("%+v", got)
	}
	r.sizes["a"] = 4
	r.look()
	if got := r.say(beating("m1", 2)); code(got) != IncorrectlyPartitionedTopics {
		t.Fatalf("%+v", got)
	}
	r.sizes["b"], r.sizes["app-table"] = 4, 7
	r.look()
	if got := r.say(beating("m1", 3)); code(got) != IncorrectlyPartitionedTopics {
		t.Fatalf("%+v", got)
	}
	r.sizes["app-table"] = 4
	r.look()
	got := r.say(beating("m1", 4))
	r.wants(got, 5, &Assignment{Active: ts(0, 0, 0, 1, 0, 2, 0, 3)})
	old := both(together)
	old.Epoch = 0
	if got := r.say(joining("m2", "p2", old)); code(got) != StaleTopology {
		t.Fatalf("%+v", got)
	}
	h := beating("m2", 6)
	h.Shutdown = true
	if got := r.say(h); got.Status[1].Code != ShutdownApplication {
		t.Fatalf("%+v", got)
	}
	if got := r.say(beating("m1", 5)); code(got) != ShutdownApplication {
		t.Fatalf("%+v", got)
	}
	// A topic that goes takes the tasks with it.
	delete(r.sizes, "a")
	r.look()
	if got := r.say(owning("m1", 5, nil, Assignment{})); code(got) != MissingSourceTopics || !got.Assigned || !got.Assignment.empty() {
		t.Fatalf("%+v", got)
	}
}

// The number of partitions of topics between subtopologies follows from what is read, from what they say, and from what they are read with.
func TestPartitions(t *testing.T) {
	for name, c := range map[string]struct {
		subs []Subtopology
		want map[string]int32
	}{
		"a chain": {[]Subtopology{
			{ID: "0", Repartition: []InternalTopic{{Name: "x"}}, Sinks: []string{"y"}},
			{ID: "1", Repartition: []InternalTopic{{Name: "y"}}},
			{ID: "2", Sources: []string{"t4"}, Sinks: []string{"x"}},
		}, map[string]int32{"x": 4, "y": 4}},
		"the most that is read, when all of it is known": {[]Subtopology{
			{ID: "0", Sources: []string{"t4"}, Repartition: []InternalTopic{{Name: "x"}}, Sinks: []string{"y"}},
			{ID: "1", Sources: []string{"t6"}, Sinks: []string{"x"}},
			{ID: "2", Repartition: []InternalTopic{{Name: "y"}}},
		}, map[string]int32{"x": 6, "y": 6}},
		"what is said": {[]Subtopology{
			{ID: "0", Sources: []string{"t4"}, Sinks: []string{"x"}},
			{ID: "1", Repartition: []InternalTopic{{Name: "x", Partitions: 9}}, Changelogs: []InternalTopic{{Name: "c"}}},
		}, map[string]int32{"x": 9, "c": 9}},
		"what it is read with": {[]Subtopology{
			{ID: "0", Sources: []string{"t4"}, Sinks: []string{"x"}},
			{ID: "1", Sources: []string{"t6"}, Repartition: []InternalTopic{{Name: "x"}}, Groups: []Copartition{{Sources: []int16{0}, Repartition: []int16{0}}}},
		}, map[string]int32{"x": 6}},
		"what one of those says": {[]Subtopology{
			{ID: "0", Sources: []string{"t4"}, Sinks: []string{"x", "y"}},
			{ID: "1", Repartition: []InternalTopic{{Name: "x"}, {Name: "y", Partitions: 5}}, Groups: []Copartition{{Repartition: []int16{0, 1}}}},
		}, map[string]int32{"x": 5, "y": 5}},
		"a circle that something comes into": {[]Subtopology{
			{ID: "0", Sources: []string{"t4"}, Repartition: []InternalTopic{{Name: "x"}}, Sinks: []string{"x"}},
		}, map[string]int32{"x": 4}},
	} {
		r := newRig(t, "t4", 4, "t6", 6)
		got := map[string]int32{}
		for _, c := range r.say(joining("m", "p", &Topology{Subtopologies: c.subs})).Create {
			got[c.Name] = c.Partitions
		}
		for k, n := range c.want {
			if got[k] != n || len(got) != len(c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}

// What is no topology, or no request, is refused with its reason, and nothing is kept of it.
func TestRefused(t *testing.T) {
	empty, instance := "", "i"
	sub := func(s Subtopology) *Topology {
		if s.Sources == nil && s.Repartition == nil {
			s.Sources = []string{"a"}
		}
		return &Topology{Subtopologies: []Subtopology{s}}
	}
	with := func(f func(*Heartbeat)) Heartbeat { h := joining("m", "p", table("a")); f(&h); return h }
	of := func(t *Topology) Heartbeat { return joining("m", "p", t) }
	many := &Topology{}
	for i := range 2000 {
		many.Subtopologies = append(many.Subtopologies, Subtopology{ID: string(rune('a' + i)), Sources: []string{"a"}})
	}
	for name, c := range map[string]struct {
		h    Heartbeat
		want error
	}{
		"no id":                  {with(func(h *Heartbeat) { h.MemberID = "" }), ErrInvalidRequest},
		"static":                 {with(func(h *Heartbeat) { h.InstanceID = &instance }), ErrInvalidRequest},
		"empty rack":             {with(func(h *Heartbeat) { h.Rack = &empty }), ErrInvalidRequest},
		"epoch":                  {with(func(h *Heartbeat) { h.Epoch, h.Topology = -2, nil }), ErrInvalidRequest},
		"no topology":            {with(func(h *Heartbeat) { h.Topology = nil }), ErrInvalidRequest},
		"topology later":         {with(func(h *Heartbeat) { h.Epoch = 3 }), ErrInvalidRequest},
		"no timeout":             {with(func(h *Heartbeat) { h.RebalanceMs = -1 }), ErrInvalidRequest},
		"has tasks":              {with(func(h *Heartbeat) { h.Owned.Active = []TaskIDs{{"0", []int32{0}}} }), ErrInvalidRequest},
		"has warm-up tasks":      {with(func(h *Heartbeat) { h.Owned.Warmup = []TaskIDs{{"0", []int32{0}}} }), ErrInvalidRequest},
		"not every kind":         {with(func(h *Heartbeat) { h.Owned.HasWarmup = false }), ErrInvalidRequest},
		"offsets":                {with(func(h *Heartbeat) { h.HasOffsets = true }), ErrInvalidRequest},
		"regex":                  {of(sub(Subtopology{Regexes: []string{"a.*"}})), ErrInvalidRequest},
		"topology epoch":         {of(&Topology{Epoch: -1}), ErrInvalidTopologyEpoch},
		"changelog's partitions": {of(sub(Subtopology{Changelogs: []InternalTopic{{Name: "c", Partitions: 3}}})), ErrInvalidTopology},
		"partitions":             {of(sub(Subtopology{Repartition: []InternalTopic{{Name: "c", Partitions: -3}}})), ErrInvalidTopology},
		"reads nothing":          {of(&Topology{Subtopologies: []Subtopology{{ID: "0"}}}), ErrInvalidTopology},
		"twice":                  {of(&Topology{Subtopologies: []Subtopology{{ID: "0", Sources: []string{"a"}}, {ID: "0", Sources: []string{"a"}}}}), ErrInvalidTopology},
		"topic twice":            {of(sub(Subtopology{Changelogs: []InternalTopic{{Name: "c"}, {Name: "c"}}})), ErrInvalidTopology},
		"nobody writes it":       {of(sub(Subtopology{Repartition: []InternalTopic{{Name: "x"}}})), ErrInvalidTopology},
		"a circle": {of(&Topology{Subtopologies: []Subtopology{
			{ID: "0", Repartition: []InternalTopic{{Name: "x"}}, Sinks: []string{"y"}}, {ID: "1", Repartition: []InternalTopic{{Name: "y"}}, Sinks: []string{"x"}},
		}}), ErrInvalidTopology},
		"copartitioned": {of(sub(Subtopology{Groups: []Copartition{{Sources: []int16{1}}}})), ErrInvalidTopology},
		"negative":      {of(sub(Subtopology{Groups: []Copartition{{Repartition: []int16{-1}}}})), ErrInvalidTopology},
		"many":          {of(many), ErrInvalidTopology},
		"large":         {of(sub(Subtopology{Sinks: []string{string(make([]byte, 600<<10))}})), ErrInvalidTopology},
		"spelled out":   {of(sub(Subtopology{Sources: []string{string(make([]byte, 1<<10))}, Groups: []Copartition{{Sources: make([]int16, 600)}}})), ErrInvalidTopology},
		"large member":  {with(func(h *Heartbeat) { h.HasTags, h.Tags = true, []Pair{{"k", string(make([]byte, 7<<20))}} }), group.ErrMaxSize},
		"not a member":  {beating("m", 3), group.ErrUnknownMember},
		"leaves":        {beating("m", Leaving), group.ErrUnknownMember},
	} {
		r := newRig(t, "a", 2)
		if got := r.say(c.h); !errors.Is(got.Err, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if r.g.Exists() || r.changes > 0 || r.g.topology != nil {
			t.Errorf("%s: a group came of it", name)
		}
	}
}

// A topology stays; another one is refused, and tasks that there are not.
func TestRefusedInAGroup(t *testing.T) {
	r := ready(t, "p1")
	newer := table("a")
	newer.Epoch = 1
	for name, h := range map[string]Heartbeat{
		"another topology": joining("m2", "p2", words()),
		"newer":            joining("m2", "p2", newer),
		"task":             owning("m1", 2, r.g.topology, Assignment{Active: ts(0, 4)}),
		"negative":         owning("m1", 2, r.g.topology, Assignment{Active: ts(0, -1)}),
		"subtopology":      owning("m1", 2, &Topology{Subtopologies: []Subtopology{{ID: "x"}}}, Assignment{Active: ts(0, 0)}),
	} {
		if got := r.say(h); !errors.Is(got.Err, ErrInvalidRequest) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	r.limits.MaxSize = 1
	if got := r.say(joining("m2", "p2", table("a"))); !errors.Is(got.Err, group.ErrMaxSize) {
		t.Errorf("%+v", got)
	}
	r.wants(r.say(beating("m1", 2)), 2, nil)
	r.limits.MaxTasks = 3
	r.sizes["a"] = 5
	r.look()
	if got := r.say(beating("m1", 2)); len(got.Status) != 1 || got.Status[0].Code != IncorrectlyPartitionedTopics {
		t.Errorf("%+v", got)
	}
}

// Who asks for the whole is told where others answer queries, and again when that changes.
func TestEndpoints(t *testing.T) {
	r := newRig(t, "a", 3, "app-table", 3)
	r.w.Standbys = 1
	h := joining("m1", "p1", table("a"))
	h.Endpoint = &Endpoint{"h1", 8080}
	got := r.say(h)
	if !got.Told || len(got.Endpoints) != 1 || got.Endpoints[0].Port != 8080 || !slices.Equal(got.Endpoints[0].Active[0].Partitions, []int32{0, 1, 2}) {
		t.Fatalf("%+v", got)
	}
	quiet := beating("m1", 2)
	quiet.EndpointEpoch = got.EndpointEpoch
	if got := r.say(quiet); got.Told {
		t.Fatalf("%+v", got)
	}
	r.say(joining("m2", "p2", table("a")))
	if got := r.say(quiet); !got.Told || len(got.Endpoints) != 1 || len(got.Endpoints[0].Active[0].Partitions) != 2 {
		t.Fatalf("%+v", got)
	}
}

// Who may commit and fetch offsets is decided by the member's epoch.
func TestOffsetsByEpoch(t *testing.T) {
	r := newRig(t, "a", 2, "app-table", 2)
	who := func(id string, epoch int32) group.Identity { return group.Identity{MemberID: id, Generation: epoch} }
	if err := r.g.Commit(r.now, who("", -1)); err != nil {
		t.Error(err)
	}
	r.say(joining("m1", "p1", table("a")))
	for _, c := range []struct {
		id    string
		epoch int32
		want  error
	}{{"m1", 2, nil}, {"m1", 1, ErrStaleEpoch}, {"m2", 2, group.ErrUnknownMember}, {"", -1, group.ErrUnknownMember}} {
		if err := r.g.Commit(r.now, who(c.id, c.epoch)); !errors.Is(err, c.want) {
			t.Errorf("commit of %q in %d: %v", c.id, c.epoch, err)
		}
	}
	if err := r.g.Commit(r.now, group.Identity{MemberID: "m1", Generation: 2, Old: true}); !errors.Is(err, ErrOldRequest) {
		t.Error(err)
	}
	if err := r.g.CommitWithin(r.now, who("m1", 1)); !errors.Is(err, group.ErrIllegalGeneration) {
		t.Error(err)
	}
	if err := r.g.CommitWithin(r.now, who("", -1)); err != nil {
		t.Error(err)
	}
	if r.g.CheckFetch("", -1) != nil || !errors.Is(r.g.CheckFetch("m1", 9), ErrStaleEpoch) {
		t.Error("who may fetch")
	}
	if err := r.g.CheckDelete(); !errors.Is(err, group.ErrNonEmpty) {
		t.Error(err)
	}
	if !r.g.Subscribed("a") || r.g.Subscribed("app-table") {
		t.Error("what it reads")
	}
	r.say(beating("m1", Leaving))
	if r.g.Subscribed("a") || r.g.CheckDelete() != nil || !r.g.Idle() {
		t.Error("a group without members")
	}
}

// A commit that a new epoch has overtaken is refused although its tasks are still the member's, or taken although they are not, or were another's in
// between, or no task reads what is committed.
func TestCommitsOfAnEpochBefore(t *testing.T) {
	r := ready(t, "p1")
	commit := func(id string, epoch int32, want error, topic string, partitions ...int32) {
		t.Helper()
		var offsets []command.OffsetCommit
		for _, p := range partitions {
			found, ok := r.w.Topics.ByName(topic)
			if !ok {
				t.Fatalf("there is no topic %s", topic)
			}
			offsets = append(offsets, command.OffsetCommit{Partition: kafka.Partition{Topic: found.ID, Index: p}, Offset: 1})
		}
		who := group.Identity{MemberID: id, Generation: epoch, Offsets: offsets}
		if err := r.g.Commit(r.now, who); !errors.Is(err, want) {
			t.Errorf("%s commits %s %v in epoch %d: %v, want %v", id, topic, partitions, epoch, err, want)
		}
		if want != nil {
			want = group.ErrIllegalGeneration
		}
		if err := r.g.CommitWithin(r.now, who); !errors.Is(err, want) {
			t.Errorf("%s commits %s %v in a transaction in epoch %d: %v, want %v", id, topic, partitions, epoch, err, want)
		}
	}
	low := Assignment{Active: ts(0, 0, 0, 1)}
	r.say(joining("m2", "p2", table("a")))
	r.wants(r.say(beating("m1", 2)), 2, &low) // asked to give up 2 and 3
	commit("m1", 2, nil, "a", 0, 3)
	r.wants(r.say(owning("m1", 2, r.g.topology, low)), 3, nil)
	r.wants(r.say(beating("m2", 3)), 3, &Assignment{Active: ts(0, 2, 0, 3)})
	commit("m1", 2, nil, "a", 0, 1)
	commit("m1", 2, ErrStaleEpoch, "a", 0, 3)
	commit("m1", 2, ErrStaleEpoch, "app-table", 0)
	commit("m1", 1, ErrStaleEpoch, "a", 0)
	commit("m1", 4, ErrStaleEpoch, "a", 0)
	commit("m2", 2, ErrStaleEpoch, "a", 2)
	commit("m2", 3, nil, "a", 2)
	r.say(beating("m2", Leaving))
	r.wants(r.say(beating("m1", 3)), 4, &Assignment{Active: ts(0, 0, 0, 1, 0, 2, 0, 3)})
	commit("m1", 2, nil, "a", 0, 1)
	commit("m1", 3, ErrStaleEpoch, "a", 2) // it was m2's in between
	commit("m1", 4, nil, "a", 2)
	r.fail() // another coordinator
	commit("m1", 4, nil, "a", 0)
	commit("m1", 3, ErrStaleEpoch, "a", 0)
	r.say(joining("m2", "p2", table("a")))
	commit("m1", 3, ErrStaleEpoch, "a", 0)
	r.wants(r.say(beating("m1", 4)), 4, &low)
	r.wants(r.say(owning("m1", 4, r.g.topology, low)), 5, nil)
	commit("m1", 4, nil, "a", 0)
	commit("m1", 3, ErrStaleEpoch, "a", 0)
}

// A heartbeat that changes nothing would allocate.
func TestHeartbeatAllocatesNothing(t *testing.T) {
	r := ready(t, "p1")
	h := beating("m1", 2)
	h.EndpointEpoch = r.g.endpoints
	if n := testing.AllocsPerRun(100, func() {
		var out Effects
		if reply, done := r.g.Heartbeat(r.now, &h, &r.w, nil, &out); !done || reply.Err != nil || reply.Assigned || reply.Told {
			t.Fatal(reply)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
