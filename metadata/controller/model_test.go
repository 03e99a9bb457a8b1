package controller

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

type ids = []kafka.BrokerID

// model is a cluster whose processes live and die, with what each replica really has. The controller knows none of the
// latter, and must not elect anybody who lacks what was acknowledged.
type model struct {
	t     *rapid.T
	m     *image.Image
	dead  map[kafka.BrokerID]bool
	heard map[kafka.BrokerID]bool // by this controller
	rules map[string]Rules
	moves int
	// has are the replicas that have everything that was acknowledged. lost: nobody has, which only an unclean stop or a lost
	// directory may bring about, and which the model then forgives.
	has  map[kafka.Partition]ids
	lost map[kafka.Partition]bool
	inc  byte
}

const modelBrokers = 5

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, m: image.Empty(), dead: map[kafka.BrokerID]bool{}, heard: map[kafka.BrokerID]bool{}, has: map[kafka.Partition]ids{}, lost: map[kafka.Partition]bool{},
		moves: rapid.IntRange(0, 3).Draw(t, "moves"),
		rules: map[string]Rules{},
	}
	for id := kafka.BrokerID(1); id <= modelBrokers; id++ {
		m.register(id, byte(id), false)
		m.do(command.SetBrokerState{ID: id, Epoch: m.broker(id).Epoch, State: command.Active})
	}
	for i := range byte(3) {
		var replicas [][]kafka.BrokerID
		for range rapid.IntRange(1, 3).Draw(t, "partitions") {
			replicas = append(replicas, m.some("replicas", 1, 3))
		}
		c := topic(i, replicas...)
		m.do(c)
		m.rules[c.Name] = Rules{
			MinISR: rapid.IntRange(1, 3).Draw(t, "min ISR"), Unclean: rapid.IntRange(0, 3).Draw(t, "unclean") == 0, Async: rapid.Bool().Draw(t, "async"),
		}
		for j, r := range replicas {
			m.has[kafka.Partition{Topic: c.ID, Index: int32(j)}] = r
		}
	}
	return m
}

func (m *model) do(c command.Command) any {
	next, result, _, err := image.Apply(m.m, m.m.Index()+1, command.Envelope{}, c)
	if err != nil {
		m.t.Fatalf("%s: %v", c.Kind(), err)
	}
	m.m = next
	return result
}

func (m *model) broker(id kafka.BrokerID) *image.Broker {
	b, ok := m.m.Broker(id)
	if !ok {
		m.t.Fatalf("no broker %d", id)
	}
	return b
}

func (m *model) some(label string, low, high int) ids {
	return rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(1, modelBrokers), func(n int) kafka.BrokerID { return kafka.BrokerID(n) }), low, high, rapid.ID[kafka.BrokerID]).Draw(m.t, label)
}

func (m *model) register(id kafka.BrokerID, dir byte, unclean bool) {
	m.inc++
	m.do(command.RegisterBroker{
		ID: id, Incarnation: [16]byte{m.inc}, Directory: [16]byte{byte(id), dir}, Unclean: unclean, Fenced: true, Rack: string(rune('a' + id%3)),
	})
	m.dead[id], m.heard[id] = false, false
}

func (m *model) world() World {
	return World{
		Image: m.m, Moves: m.moves,
		Dead:  func(id kafka.BrokerID, _ kafka.BrokerEpoch) bool { return m.dead[id] },
		Heard: func(id kafka.BrokerID) bool { return m.heard[id] },
		Rules: func(name string) Rules { return m.rules[name] },
	}
}

func (m *model) rulesOf(p *image.Partition) Rules {
	t, _ := m.m.TopicByID(p.Topic)
	return m.rules[t.Name]
}

// forget takes what a replica has of the partitions that f names.
func (m *model) forget(id kafka.BrokerID, f func(*image.Partition) bool) {
	m.m.AllPartitions(func(p *image.Partition) bool {
		if f(p) {
			m.has[p.Partition] = without(m.has[p.Partition], id)
			m.lost[p.Partition] = m.lost[p.Partition] || len(m.has[p.Partition]) == 0
		}
		return true
	})
}

// event is something that happens to the cluster.
func (m *model) event() {
	id := kafka.BrokerID(rapid.IntRange(1, modelBrokers).Draw(m.t, "broker"))
	b := m.broker(id)
	up := !m.dead[id]
	kind := rapid.SampledFrom([]string{
		"die", "die", "silent", "restart", "restart", "unclean", "replace", "activate", "activate", "activate", "stop", "produce", "produce", "catch up", "catch up",
		"catch up", "fall behind", "drain", "assign", "minimum", "hear", "hear", "hear", "another controller",
	}).Draw(m.t, "event")
	switch {
	case kind == "hear":
		m.heard[id] = up
	case kind == "another controller":
		clear(m.heard)
	case kind == "die" || kind == "silent":
		m.dead[id] = true
	case kind == "restart":
		m.register(id, b.Directory[1], false)
	case kind == "unclean":
		m.forget(id, func(p *image.Partition) bool {
			async := m.rulesOf(p).Async
			if counts := append(slices.Clone(p.ISR), p.ELR...); async && !slices.ContainsFunc(counts, func(o kafka.BrokerID) bool { return o != id && slices.Contains(m.has[p.Partition], o) }) {
				m.lost[p.Partition] = true // of those that count it was the last
			}
			return async
		})
		m.register(id, b.Directory[1], true)
	case kind == "replace":
		m.forget(id, func(*image.Partition) bool { return true })
		m.register(id, b.Directory[1]+1, rapid.Bool().Draw(m.t, "unclean"))
	case kind == "activate" && up && b.State == command.Fenced && MayActivate(m.world(), id):
		m.do(command.SetBrokerState{ID: id, Epoch: b.Epoch, State: command.Active})
	case kind == "stop" && up && b.State == command.Active:
		m.do(command.SetBrokerState{ID: id, Epoch: b.Epoch, State: command.Stopping})
	case kind == "produce":
		m.produce()
	case kind == "catch up":
		m.alter(func(p *image.Partition) ids {
			if m.broker(id).State != command.Active || !up || slices.Contains(p.ISR, id) || !slices.Contains(p.Replicas, id) {
				return p.ISR
			}
			if slices.Contains(m.has[p.Partition], p.Leader) && !slices.Contains(m.has[p.Partition], id) {
				m.has[p.Partition] = append(slices.Clone(m.has[p.Partition]), id)
			}
			return append(slices.Clone(p.ISR), id)
		})
	case kind == "fall behind":
		m.alter(func(p *image.Partition) ids {
			if p.Leader == id {
				return p.ISR
			}
			return without(p.ISR, id)
		})
	case kind == "drain":
		m.do(command.DrainBroker{ID: id, Drain: rapid.Bool().Draw(m.t, "drain")})
	case kind == "assign":
		p := m.any()
		var target ids
		if rapid.Bool().Draw(m.t, "cancel") == false {
			target = m.some("target", 1, 3)
		}
		m.do(command.AssignReplicas{Changes: []command.Assignment{{Partition: p.Partition, Expected: p.PartitionEpoch, Target: target}}})
	case kind == "minimum":
		t, _ := m.m.TopicByID(m.any().Topic)
		r := m.rules[t.Name]
		r.MinISR = rapid.IntRange(1, 3).Draw(m.t, "min ISR")
		if m.rules[t.Name] != r {
			m.rules[t.Name] = r
			m.do(command.SetConfigs{Type: command.Topic, Name: t.Name, Set: map[string]string{"min.insync.replicas": fmt.Sprint(r.MinISR)}})
		}
	}
}

func (m *model) any() *image.Partition {
	var all []*image.Partition
	m.m.AllPartitions(func(p *image.Partition) bool { all = append(all, p); return true })
	return all[rapid.IntRange(0, len(all)-1).Draw(m.t, "partition")]
}

// produce acknowledges something wherever that can be: then those in sync have everything, and nobody else.
func (m *model) produce() {
	m.m.AllPartitions(func(p *image.Partition) bool {
		if p.Leader != kafka.NoBroker && !m.dead[p.Leader] && len(p.ISR) >= m.rulesOf(p).minISR(p) && !m.lost[p.Partition] {
			m.has[p.Partition] = p.ISR
		}
		return true
	})
}

// alter lets a leader change its ISR, the way a leader does.
func (m *model) alter(isr func(*image.Partition) ids) {
	p := m.any()
	if p.Leader == kafka.NoBroker || m.dead[p.Leader] {
		return
	}
	next := isr(p)
	if same(next, p.ISR) {
		return
	}
	d := newDecider(m.world())
	m.do(command.AlterISR{Changes: []command.ISRChange{{
		Partition: p.Partition, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ISR: d.members(next), ELR: command.NextELR(p.ISR, next, p.ELR, m.rulesOf(p).minISR(p)),
	}}})
}

// decide lets the controller have its way, and holds it against its promises.
func (m *model) decide() {
	before := m.m
	cs := Decide(m.world(), Scope{All: true})
	for _, c := range cs {
		if left := m.do(c); left != nil {
			m.t.Fatalf("%s left out %v", c.Kind(), left)
		}
	}
	if again := Decide(m.world(), Scope{All: true}); len(again) > 0 {
		m.t.Fatalf("decided again: %+v\nafter %+v", again, cs)
	}
	m.m.AllPartitions(func(p *image.Partition) bool {
		m.check(before, p)
		return true
	})
	for shard := range int32(image.CoordinatorShards) {
		if c := m.m.Coordinator(shard); len(Takers(m.m)) > 0 && !slices.Contains(Takers(m.m), c.Broker) {
			m.t.Fatalf("shard %d is with broker %d, takers are %v", shard, c.Broker, Takers(m.m))
		}
	}
}

func (m *model) check(before *image.Image, p *image.Partition) {
	d := newDecider(m.world())
	r := m.rulesOf(p)
	was, _ := before.Partition(p.Partition)
	if p.Leader != kafka.NoBroker && d.standing(p.Leader) == gone {
		m.t.Fatalf("%+v is led by a broker that is gone", p)
	}
	if p.Leader != kafka.NoBroker && p.Leader != was.Leader && !d.isActive(p.Leader) {
		m.t.Fatalf("%+v: elected a broker that is %v", p, m.broker(p.Leader).State)
	}
	if p.Leader != kafka.NoBroker && !m.lost[p.Partition] && !slices.Contains(m.has[p.Partition], p.Leader) {
		if !r.Unclean {
			m.t.Fatalf("%+v: the leader lacks what was acknowledged, %v have it; was %+v", p, m.has[p.Partition], was)
		}
		m.lost[p.Partition] = true // the topic allows it; what follows is the new history
	}
	electable := append(slices.Clone(p.ISR), p.ELR...)
	if r.Unclean {
		electable = p.Replicas
	}
	if p.Leader == kafka.NoBroker && slices.ContainsFunc(electable, d.isActive) {
		m.t.Fatalf("%+v: nobody leads, of %v somebody could", p, electable)
	}
	if p.Leader != kafka.NoBroker && slices.ContainsFunc(p.ISR, func(id kafka.BrokerID) bool { return !d.isUp(id) }) {
		up := filter(p.ISR, d.isUp)
		if slices.ContainsFunc(up, d.heard) || slices.ContainsFunc(p.ISR, func(id kafka.BrokerID) bool { return m.dead[id] }) {
			m.t.Fatalf("%+v: a broker that is gone is in sync", p)
		}
	}
	if len(p.ISR) >= r.minISR(p) && len(p.ELR) > 0 {
		m.t.Fatalf("%+v: eligible replicas beside an ISR of the minimum, %d", p, r.minISR(p))
	}
}

// Whatever happens to the brokers: a decision is a fixed point; every partition with an eligible active replica has a leader;
// nobody fenced is chosen; and nobody leads who lacks what was acknowledged, unless the topic allows it or nobody is left who has it.
func TestDecisionsAreSafeAndComplete(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt)
		m.decide()
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			m.event()
			if rapid.IntRange(0, 3).Draw(rt, "late") > 0 {
				m.decide()
			}
		}
		m.decide()
	})
}
