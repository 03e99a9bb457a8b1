package controller

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// lab is a small cluster for stories.
type lab struct {
	t     *testing.T
	m     *image.Image
	dead  map[kafka.BrokerID]bool
	heard func(kafka.BrokerID) bool
	rules Rules
	moves int
}

func newLab(t *testing.T, brokers int, replicas ...[]kafka.BrokerID) *lab {
	l := &lab{t: t, m: image.Empty(), dead: map[kafka.BrokerID]bool{}, rules: Rules{MinISR: 2}, moves: 2}
	for i := 1; i <= brokers; i++ {
		l.m = apply(t, l.m, command.RegisterBroker{ID: kafka.BrokerID(i), Incarnation: [16]byte{byte(i)}, Directory: [16]byte{byte(i)}})
	}
	if len(replicas) > 0 {
		l.m = apply(t, l.m, topic(1, replicas...))
	}
	l.decide()
	return l
}

func (l *lab) world() World {
	return World{Image: l.m, Moves: l.moves, Rules: func(string) Rules { return l.rules }, Dead: func(id kafka.BrokerID, _ kafka.BrokerEpoch) bool { return l.dead[id] }, Heard: l.heard}
}

func (l *lab) decide() []command.Command {
	l.t.Helper()
	cs := Decide(l.world(), Scope{All: true})
	l.m = apply(l.t, l.m, cs...)
	return cs
}

func (l *lab) state(id kafka.BrokerID, s command.BrokerState) {
	l.t.Helper()
	b, _ := l.m.Broker(id)
	l.m = apply(l.t, l.m, command.SetBrokerState{ID: id, Epoch: b.Epoch, State: s})
	l.decide()
}

func (l *lab) p(index int32) *image.Partition {
	l.t.Helper()
	p, ok := l.m.Partition(kafka.Partition{Topic: topic(1).ID, Index: index})
	if !ok {
		l.t.Fatalf("no partition %d", index)
	}
	return p
}

// join lets a leader take a replica into its ISR.
func (l *lab) join(index int32, id kafka.BrokerID) {
	l.t.Helper()
	p := l.p(index)
	isr := append(slices.Clone(p.ISR), id)
	l.m = apply(l.t, l.m, command.AlterISR{Changes: []command.ISRChange{{
		Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ISR: newDecider(l.world()).members(isr), ELR: command.NextELR(p.ISR, isr, p.ELR, l.rules.minISR(p)),
	}}})
	l.decide()
}

func (l *lab) want(index int32, leader kafka.BrokerID, isr, elr []kafka.BrokerID) {
	l.t.Helper()
	if p := l.p(index); p.Leader != leader || !slices.Equal(p.ISR, isr) || !slices.Equal(p.ELR, elr) {
		l.t.Errorf("leader %d, ISR %v, ELR %v; want %d, %v, %v", p.Leader, p.ISR, p.ELR, leader, isr, elr)
	}
}

// One after the other of a partition's brokers dies and comes back: who leads, who is in sync, who is eligible.
func TestDeathAndReturn(t *testing.T) {
	l := newLab(t, 3, ids{1, 2, 3})
	l.dead[1] = true
	l.decide()
	l.want(0, 2, ids{2, 3}, nil)
	l.dead[2] = true
	l.decide()
	l.want(0, 3, ids{3}, ids{2}) // below the minimum of 2: the high watermark waits, so 2 has all that is below it
	l.dead[3] = true
	l.decide()
	l.want(0, kafka.NoBroker, ids{3}, ids{2})
	l.dead[1] = false
	l.state(1, command.Active)
	l.want(0, kafka.NoBroker, ids{3}, ids{2}) // 1 is there, but has missed something
	l.dead[2] = false
	l.state(2, command.Active)
	l.want(0, 2, ids{2}, ids{3})
	l.join(0, 1)
	l.want(0, 2, ids{2, 1}, nil)
}

// After all have died, who comes back while nobody else has been heard from would leave the ISR, and be missed when the others stay away; or it
// would stay in it although others lead.
func TestOneOfAllReturns(t *testing.T) {
	l := newLab(t, 3, ids{1, 2, 3})
	heard := map[kafka.BrokerID]bool{}
	l.heard = func(id kafka.BrokerID) bool { return heard[id] } // another controller, of which nobody has heard yet
	register := func(unclean bool) {
		l.m = apply(t, l.m, command.RegisterBroker{ID: 3, Incarnation: [16]byte{byte(l.m.Index())}, Directory: [16]byte{3}, Fenced: true, Unclean: unclean})
		l.decide()
	}
	register(false)
	l.want(0, 1, ids{1, 2, 3}, nil)
	l.state(3, command.Active)
	l.dead[1], l.dead[2] = true, true
	l.decide()
	l.want(0, 3, ids{3}, ids{1, 2})

	l = newLab(t, 3, ids{1, 2, 3})
	l.heard = func(id kafka.BrokerID) bool { return heard[id] }
	register(false)
	heard[2] = true
	l.decide()
	l.want(0, 1, ids{1, 2}, nil)

	l = newLab(t, 3, ids{1, 2, 3})
	clear(heard)
	l.heard, l.rules.Async = func(id kafka.BrokerID) bool { return heard[id] }, true
	register(true) // it may lack what it had
	l.want(0, 1, ids{1, 2}, nil)
}

// A stopping broker's leaderships move at once, it leaves the ISR; but it stays where nobody can take over, and where its
// leaving would stop writes while another replica is on the way.
func TestControlledStop(t *testing.T) {
	l := newLab(t, 3, ids{1, 2, 3}, ids{1}, ids{1, 2, 3})
	p := l.p(2)
	l.m = apply(t, l.m, command.AlterISR{Changes: []command.ISRChange{{Partition: p.Partition, ISR: newDecider(l.world()).members(ids{1, 2})}}})
	l.state(1, command.Stopping)
	l.want(0, 2, ids{2, 3}, nil)
	l.want(1, 1, ids{1}, nil)
	l.want(2, 2, ids{1, 2}, nil)
	if n := Held(l.m, 1); n != 1 {
		t.Errorf("broker 1 waits for %d partitions", n)
	}
	l.join(2, 3)
	l.want(2, 2, ids{2, 3}, nil)
	if n := Held(l.m, 1); n != 0 {
		t.Errorf("broker 1 waits for %d partitions", n)
	}
}

// An unclean election happens only where the topic says so, and only when nobody eligible is there; one for which a person
// asks happens anyway.
func TestUncleanElection(t *testing.T) {
	l := newLab(t, 3, ids{1, 2})
	l.rules.MinISR = 1
	l.dead[2] = true
	l.decide()
	l.want(0, 1, ids{1}, nil)
	l.dead[1], l.dead[2] = true, false
	l.state(2, command.Active)
	l.want(0, kafka.NoBroker, ids{1}, nil)
	if _, err := Preferred(l.m, l.p(0)); !errors.Is(err, ErrPreferredNotAvailable) {
		t.Errorf("preferred: %v", err)
	}
	e, err := Unclean(l.world(), l.p(0))
	if err != nil || !e.Unclean || e.Leader != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	l.rules.Unclean = true
	l.decide()
	l.want(0, 2, ids{2}, nil)
	if _, err := Unclean(l.world(), l.p(0)); !errors.Is(err, ErrNotNeeded) {
		t.Errorf("unclean with a leader: %v", err)
	}
}

// A sole replica that has lost its disk leaves a partition that nobody leads, until an unclean election is allowed.
func TestLostDirectory(t *testing.T) {
	l := newLab(t, 2, ids{1}, ids{1, 2})
	l.m = apply(t, l.m, command.RegisterBroker{ID: 1, Incarnation: [16]byte{11}, Directory: [16]byte{9}, Fenced: true})
	l.state(1, command.Active)
	l.want(0, kafka.NoBroker, nil, nil)
	l.want(1, 2, ids{2}, nil)
	l.rules.Unclean = true
	l.decide()
	l.want(0, 1, ids{1}, nil)
}

// A broker that stopped uncleanly is not eligible for what it may lack, and is not let in before that is decided; for
// topics that flush before they acknowledge it stays eligible.
func TestUncleanStop(t *testing.T) {
	for _, async := range []bool{true, false} {
		l := newLab(t, 2, ids{1, 2})
		l.rules.Async = async
		l.dead[1] = true
		l.decide()
		l.want(0, 2, ids{2}, ids{1})
		l.m = apply(t, l.m, command.RegisterBroker{ID: 1, Incarnation: [16]byte{11}, Directory: [16]byte{1}, Unclean: true, Fenced: true})
		l.dead[1] = false
		if may := MayActivate(l.world(), 1); may == async {
			t.Errorf("async %v: may activate: %v", async, may)
		}
		l.decide()
		if async {
			l.want(0, 2, ids{2}, nil)
		} else {
			l.want(0, 2, ids{2}, ids{1})
		}
		if !MayActivate(l.world(), 1) {
			t.Errorf("async %v: never activated", async)
		}
	}
}

// A reassignment ends by itself when its target is in sync, and the leader hands over.
func TestReassignmentEnds(t *testing.T) {
	l := newLab(t, 4, ids{1, 2})
	p := l.p(0)
	l.m = apply(t, l.m, command.AssignReplicas{Changes: []command.Assignment{{Partition: p.Partition, Expected: p.PartitionEpoch, Target: ids{3, 4}}}})
	l.decide()
	l.join(0, 4)
	if p := l.p(0); !moving(p) || p.Leader != 1 {
		t.Fatalf("%+v", p)
	}
	l.join(0, 3)
	if p := l.p(0); moving(p) || p.Leader != 3 || !slices.Equal(p.Replicas, ids{3, 4}) || !same(p.ISR, ids{3, 4}) {
		t.Errorf("%+v", p)
	}
}

// A drain moves a few partitions at a time, empties the broker, says what it cannot move, and stops nothing.
func TestDrain(t *testing.T) {
	l := newLab(t, 4, ids{1, 2}, ids{2, 1}, ids{1, 3}, ids{1, 4}, ids{3, 1})
	l.m = apply(t, l.m, command.DrainBroker{ID: 1, Drain: true})
	for rounds := 0; Draining(l.m, 1).Replicas > 0; rounds++ {
		if rounds > 10 {
			t.Fatalf("%+v is left", Draining(l.m, 1))
		}
		l.decide()
		if n := Draining(l.m, 1); n.Moving > l.moves || n.Moving == 0 || n.Stuck > 0 {
			t.Fatalf("%+v", n)
		}
		for i := range int32(5) {
			for _, id := range l.p(i).Adding {
				l.join(i, id)
			}
		}
	}
	if shards := slices.DeleteFunc(shardsOf(l.m), func(id kafka.BrokerID) bool { return id != 1 }); len(shards) > 0 {
		t.Errorf("%d shards are left", len(shards))
	}
	l.m = apply(t, l.m, command.DrainBroker{ID: 2, Drain: true}, command.DrainBroker{ID: 3, Drain: true})
	l.decide()
	if n := Draining(l.m, 2); n.Replicas == 0 || n.Stuck == 0 {
		t.Errorf("three of four brokers are to be empty, of two replicas each: %+v", n)
	}
}

func shardsOf(m *image.Image) (at []kafka.BrokerID) {
	for s := range int32(image.CoordinatorShards) {
		at = append(at, m.Coordinator(s).Broker)
	}
	return at
}

// Coordinators are spread evenly, and a broker's coming or going moves no more than its share.
func TestCoordinatorsMoveLittle(t *testing.T) {
	l := newLab(t, 3)
	moved := func(before []kafka.BrokerID) (n int) {
		for i, id := range shardsOf(l.m) {
			if before[i] != id {
				n++
			}
		}
		return n
	}
	count := map[kafka.BrokerID]int{}
	for _, id := range shardsOf(l.m) {
		count[id]++
	}
	if count[1] < 21 || count[2] < 21 || count[3] < 21 {
		t.Errorf("%v", count)
	}
	before := shardsOf(l.m)
	l.dead[2] = true
	l.decide()
	if n := moved(before); n != count[2] {
		t.Errorf("%d shards moved, broker 2 had %d", n, count[2])
	}
	before = shardsOf(l.m)
	l.dead[2] = false
	l.state(2, command.Active)
	if n := moved(before); n < 21 || n > 22 {
		t.Errorf("%d shards moved to a broker that came", n)
	}
}

// Leaderships go back to preferred replicas where a broker lacks more than its percentage of them, and only there.
func TestRebalance(t *testing.T) {
	l := newLab(t, 3, ids{1, 2}, ids{1, 3}, ids{2, 1})
	l.dead[1] = true
	l.decide()
	l.dead[1] = false
	l.state(1, command.Active)
	if cs := Rebalance(l.m, 10); len(cs) > 0 {
		t.Errorf("broker 1 is not in sync yet: %+v", cs)
	}
	l.join(0, 1)
	if cs := Rebalance(l.m, 100); len(cs) > 0 {
		t.Errorf("within the percentage: %+v", cs)
	}
	l.m = apply(t, l.m, Rebalance(l.m, 10)...)
	l.want(0, 1, ids{2, 1}, nil)
	if l.p(1).Leader != 3 {
		t.Errorf("%+v", l.p(1))
	}
}

// Looking only at what has changed decides the same about it as looking at everything.
func TestScope(t *testing.T) {
	l := newLab(t, 4, ids{1, 2}, ids{1, 3})
	p := l.p(0)
	l.m = apply(t, l.m, command.AssignReplicas{Changes: []command.Assignment{{Partition: p.Partition, Expected: p.PartitionEpoch, Target: ids{2, 1}}}})
	p = l.p(1)
	l.m = apply(t, l.m, command.AssignReplicas{Changes: []command.Assignment{{Partition: p.Partition, Expected: p.PartitionEpoch, Target: ids{3}}}})
	whole := Decide(l.world(), Scope{All: true})
	if part := Decide(l.world(), Scope{Partitions: []kafka.Partition{p.Partition, p.Partition}}); len(whole) == 0 || !reflect.DeepEqual(part, whole) {
		t.Errorf("%+v\nof everything: %+v", part, whole)
	}
	if cs := Decide(l.world(), Scope{}); len(cs) > 0 {
		t.Errorf("%+v", cs)
	}
}

// A plan, carried out, leaves nothing to plan: replicas and preferred leaders are spread as evenly as racks allow, no
// partition loses a replica or shares a rack without need, and what was level before is not touched.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		brokers := rapid.IntRange(2, 6).Draw(rt, "brokers")
		racks := rapid.IntRange(1, 3).Draw(rt, "racks")
		m := image.Empty()
		for i := 1; i <= brokers; i++ {
			r := command.RegisterBroker{ID: kafka.BrokerID(i), Incarnation: [16]byte{byte(i)}}
			if racks > 1 {
				r.Rack = string(rune('a' + i%racks))
			}
			m = apply(t, m, r)
		}
		used := rapid.IntRange(1, brokers).Draw(rt, "brokers in use")
		var replicas [][]kafka.BrokerID
		for range rapid.IntRange(1, 30).Draw(rt, "partitions") {
			gen := rapid.Map(rapid.IntRange(1, used), func(n int) kafka.BrokerID { return kafka.BrokerID(n) })
			replicas = append(replicas, rapid.SliceOfNDistinct(gen, 1, min(used, 3), rapid.ID[kafka.BrokerID]).Draw(rt, "replicas"))
		}
		m = apply(t, m, topic(1, replicas...))
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 4<<30), len(replicas), len(replicas)).Draw(rt, "sizes")
		w := World{Image: m, Rules: func(string) Rules { return Rules{MinISR: 1} }, Bytes: func(p kafka.Partition) int64 { return sizes[p.Index] }}
		rounds := 0
		for ; ; rounds++ {
			plan := Plan(w, limit)
			if len(plan) == 0 {
				break
			}
			if rounds > 200 {
				rt.Fatalf("no end: %+v", plan)
			}
			copies := 0
			for _, mv := range plan {
				p, _ := w.Image.Partition(mv.Partition)
				if !subset(mv.Target, p.Replicas) {
					copies++
				}
				if len(mv.Target) != len(p.Replicas) || !distinct(mv.Target) {
					rt.Fatalf("%+v for %+v", mv, p)
				}
				w.Image = carry(t, w.Image, mv)
			}
			if copies > limit+1 { // an exchange is two
				rt.Fatalf("%d copies at a time, the limit is %d", copies, limit)
			}
		}
		if racks == 1 {
			counts, leaders := map[kafka.BrokerID]int{}, map[kafka.BrokerID]int{}
			w.Image.AllPartitions(func(p *image.Partition) bool {
				leaders[p.Replicas[0]]++
				for _, id := range p.Replicas {
					counts[id]++
				}
				return true
			})
			low, high := 1<<30, 0
			for i := 1; i <= brokers; i++ {
				low, high = min(low, counts[kafka.BrokerID(i)]), max(high, counts[kafka.BrokerID(i)])
			}
			if high-low > 1 {
				rt.Fatalf("replicas %v", counts)
			}
		}
		w.Image.AllPartitions(func(p *image.Partition) bool {
			seen := map[string]bool{}
			for _, id := range p.Replicas {
				seen[rackOf(w.Image, id)] = true
			}
			if racks > 1 && len(seen) < min(len(p.Replicas), min(racks, brokers)) {
				rt.Fatalf("%v in %d racks", p.Replicas, len(seen))
			}
			return true
		})
	})
}

func distinct(list []kafka.BrokerID) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(list)))) == len(list)
}

// carry does a move as the cluster does: assign, catch up, finish.
func carry(t *testing.T, m *image.Image, mv Move) *image.Image {
	p, _ := m.Partition(mv.Partition)
	m = apply(t, m, command.AssignReplicas{Changes: []command.Assignment{{Partition: mv.Partition, Expected: p.PartitionEpoch, Target: mv.Target}}})
	p, _ = m.Partition(mv.Partition)
	if !moving(p) {
		return m
	}
	d := newDecider(World{Image: m})
	m = apply(t, m, command.AlterISR{Changes: []command.ISRChange{{Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ISR: d.members(p.Replicas)}}})
	p, _ = m.Partition(mv.Partition)
	return apply(t, m, command.FinishAssignments{Changes: []command.Finish{{Partition: p.Partition, Expected: p.PartitionEpoch, Leader: mv.Target[0]}}})
}

// The level would rise before the last registered broker supports it, or not then; or be asked for again and again.
func TestLevelRises(t *testing.T) {
	l := newLab(t, 2)
	for i := 1; i <= 2; i++ {
		if l.m.Level() != 0 {
			t.Fatalf("level %d before broker %d is upgraded", l.m.Level(), i)
		}
		l.m = apply(t, l.m, command.RegisterBroker{ID: kafka.BrokerID(i), Incarnation: [16]byte{9}, Directory: [16]byte{byte(i)}, Version: command.WithLevel("r", command.NewestLevel+1)})
		l.decide()
	}
	if l.m.Level() != command.NewestLevel {
		t.Errorf("level %d, all support %d", l.m.Level(), command.NewestLevel)
	}
	if cs := l.decide(); len(cs) > 0 {
		t.Errorf("decided again: %+v", cs)
	}
}
