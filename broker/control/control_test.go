package control

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A killed broker's partitions have new leaders, and its groups new coordinators, within a few hundred milliseconds.
func TestKill(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		w.kill(3)
		time.Sleep(300 * time.Millisecond)
		w.want(3, command.Fenced)
		if w.leads(3) != 0 || w.leads(kafka.NoBroker) != 0 {
			t.Errorf("%d partitions are led by the dead, %d by nobody", w.leads(3), w.leads(kafka.NoBroker))
		}
		for s := range int32(image.CoordinatorShards) {
			if w.now().Coordinator(s).Broker == 3 {
				t.Fatalf("shard %d is still with the dead", s)
			}
		}
		w.start(3)
		time.Sleep(time.Second)
		w.want(3, command.Active)
	})
}

// The quorum's leader dies: the next one finds out at once whose process is dead, and fences nobody else.
func TestControllerIsKilled(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		w.kill(1)
		w.elect(2)
		time.Sleep(300 * time.Millisecond)
		w.want(1, command.Fenced)
		time.Sleep(10 * time.Second)
		w.want(2, command.Active)
		w.want(3, command.Active)
		if len(w.given()) != 1 {
			t.Errorf("brokers became %v", w.given())
		}
	})
}

// A silent broker is fenced after the time of a session and not before, and has lost its lease by then, whenever it falls
// silent; when it is heard again it is active again.
func TestSilence(t *testing.T) {
	for after := time.Duration(0); after < 500*time.Millisecond; after += 30 * time.Millisecond {
		story(t, func(t *testing.T) {
			w := three(t)
			defer w.killAll()
			time.Sleep(after)
			s := w.nodes[3].session
			w.applied = func(m *image.Image) {
				if b, _ := m.Broker(3); b.State == command.Fenced && s.Leased() {
					t.Error("it was fenced while it held a lease")
				}
			}
			w.set(3, true)
			time.Sleep(2400 * time.Millisecond)
			w.want(3, command.Active)
			time.Sleep(1100 * time.Millisecond)
			w.want(3, command.Fenced)
			if w.leads(3) != 0 || s.Leased() {
				t.Errorf("it leads %d, leased: %v", w.leads(3), s.Leased())
			}
			w.applied = nil
			w.set(3, false)
			time.Sleep(2 * time.Second)
			w.want(3, command.Active)
			if !s.Leased() {
				t.Error("heard, but not leased")
			}
		})
	}
}

// The controller is cut off with its stale knowledge: the others get a new one, it loses its lease before it is fenced, and fences nobody.
func TestControllerIsCutOff(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		s := w.nodes[1].session
		w.applied = func(m *image.Image) {
			if b, _ := m.Broker(1); b.State == command.Fenced && s.Leased() {
				t.Error("it was fenced while it held a lease")
			}
		}
		w.set(1, true)
		w.contact = time.Now()
		time.Sleep(1500 * time.Millisecond)
		w.elect(2)
		time.Sleep(2400 * time.Millisecond) // 3.9 s of silence: the election is no reason to wait longer
		w.want(1, command.Fenced)
		time.Sleep(3 * time.Second)
		w.want(2, command.Active)
		w.want(3, command.Active)
		w.set(1, false)
		time.Sleep(2 * time.Second)
		w.want(1, command.Active)
	})
}

// A controller that has slept itself gives everybody the time of a session before it believes their silence.
func TestControllerSleeps(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		c := w.nodes[1].controller
		w.set(2, true)
		time.Sleep(2 * time.Second) // of silence, then the controller's own sleep of 10
		c.tick(time.Now().Add(10*time.Second), 10*time.Second)
		time.Sleep(2 * time.Second)
		w.set(2, false)
		time.Sleep(5 * time.Second)
		if len(w.given()) != 0 {
			t.Errorf("brokers became %v", w.given())
		}
	})
}

// A broker whose network comes and goes is not moved to and fro each time.
func TestFlapping(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		for range 30 {
			w.set(3, true)
			time.Sleep(3500 * time.Millisecond)
			w.set(3, false)
			time.Sleep(700 * time.Millisecond)
		}
		if len(w.given()) > 10 {
			t.Errorf("%d changes of state in two minutes", len(w.given()))
		}
		time.Sleep(10 * time.Second)
		w.want(3, command.Active)
	})
}

// A broker that stops gives away what it leads, and the quorum, before it ends; what nobody else has it does not wait for.
func TestStop(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		if _, err := w.do(command.CreateTopic{ID: kafka.TopicID{15: 2}, Name: "alone", Partitions: [][]kafka.BrokerID{{1}}}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := w.nodes[1].session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if w.leads(1) != 1 || w.leads(kafka.NoBroker) != 0 || w.leader == 1 {
			t.Errorf("it leads %d, nobody %d, the quorum is led by %d", w.leads(1), w.leads(kafka.NoBroker), w.leader)
		}
		if err := w.nodes[1].session.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.kill(1)
		time.Sleep(time.Second)
		w.want(1, command.Fenced)
		w.start(1)
		time.Sleep(time.Second)
		w.want(1, command.Active)
		w.catchUp()
		if _, err := w.nodes[2].session.Stop(t.Context()); err != nil || w.leads(2) != 0 {
			t.Errorf("%v, it leads %d", err, w.leads(2))
		}
	})
}

// A stop waits for a replica that is on the way, as long as it may.
func TestStopWaitsForReplicas(t *testing.T) {
	story(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.killAll()
		w.start(1)
		w.start(2)
		time.Sleep(time.Second)
		w.create([]kafka.BrokerID{1, 2})
		w.kill(2)
		time.Sleep(time.Second)
		w.start(2)
		time.Sleep(time.Second)
		w.want(2, command.Active) // and not in sync
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.nodes[1].session.Stop(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
		stopped := make(chan error, 1)
		go func() {
			_, err := w.nodes[1].session.Stop(t.Context())
			stopped <- err
		}()
		time.Sleep(time.Second)
		w.catchUp()
		if err := <-stopped; err != nil || w.leads(2) != 1 {
			t.Errorf("%v, broker 2 leads %d", err, w.leads(2))
		}
	})
}

// All die, and one comes back, as after a lost majority was given up: what it was in sync with would be led by nobody, since it left the
// ISR, as one that is not active yet, in favour of others that nobody had heard from since.
func TestOneOfAllComesBack(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		for id := kafka.BrokerID(1); id <= 3; id++ {
			w.kill(id)
		}
		for id, state := range map[kafka.BrokerID]command.BrokerState{1: command.Active, 2: command.Active, 3: command.Active} {
			w.want(id, state)
		}
		w.elect(3)
		w.start(3).hangups = 100 // the others' hosts do not answer: only silence tells
		time.Sleep(time.Second)
		w.want(3, command.Active)
		time.Sleep(5 * time.Second)
		w.want(1, command.Fenced)
		if w.leads(3) != 3 {
			t.Errorf("%d of 3 partitions are led by the one that came back, %d by nobody", w.leads(3), w.leads(kafka.NoBroker))
		}
	})
}

// A broker judges the votes that are missing by its own cluster.peers, while that is being changed from broker to broker: each would wait for
// what only the controller's brings about.
func TestVotersAreTheControllers(t *testing.T) {
	story(t, func(t *testing.T) {
		const one, three = "cluster.peers=1@a:1", "cluster.peers=1@a:1,2@b:1,3@c:1"
		w := newWorld(t)
		defer w.killAll()
		w.start(1, one, "cluster.listener=0.0.0.0:1")
		w.start(2, "node.id=2", three, "cluster.listener=0.0.0.0:1")
		for leader, want := range map[kafka.BrokerID]int{1: 1, 2: 3} {
			w.elect(leader)
			time.Sleep(2 * time.Second)
			for id, n := range w.nodes {
				if n.session.Voters() != want {
					t.Errorf("broker %d leads: broker %d wants %d voters, want %d", leader, id, n.session.Voters(), want)
				}
			}
		}
	})
}

// A process whose node id was taken by another one ends.
func TestReplaced(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		old := w.nodes[3]
		if _, err := w.do(command.RegisterBroker{ID: 3, Incarnation: [16]byte{99}, Fenced: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if !errors.Is(old.err, ErrReplaced) {
			t.Errorf("it ended with %v", old.err)
		}
	})
}

// A broker alone is active at once, leads under a new epoch after each start, and coordinates every group.
func TestAlone(t *testing.T) {
	story(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.killAll()
		w.start(1)
		time.Sleep(20 * hop)
		w.want(1, command.Active)
		for s := range int32(image.CoordinatorShards) {
			if w.now().Coordinator(s).Broker != 1 {
				t.Fatalf("shard %d: %+v", s, w.now().Coordinator(s))
			}
		}
		w.create([]kafka.BrokerID{1})
		w.kill(1)
		w.start(1)
		time.Sleep(20 * hop)
		p, _ := w.now().Partition(kafka.Partition{Topic: kafka.TopicID{15: 1}})
		if w.want(1, command.Active); p.Leader != 1 || p.LeaderEpoch != 1 {
			t.Errorf("%+v", p)
		}
		if _, err := w.nodes[1].session.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		w.want(1, command.Active)
	})
}

// A broker that stopped uncleanly becomes active only when it does not count for async topics any more.
func TestUncleanStart(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		if _, err := w.do(command.SetConfigs{Type: command.Topic, Name: "a", Set: map[string]string{"flush.mode": "async", "min.insync.replicas": "3"}}); err != nil {
			t.Fatal(err)
		}
		w.kill(3)
		time.Sleep(time.Second)
		p, _ := w.now().Partition(kafka.Partition{Topic: kafka.TopicID{15: 1}})
		if len(p.ELR) != 1 {
			t.Fatalf("%+v", p)
		}
		w.applied = func(m *image.Image) {
			p, _ := m.Partition(p.Partition)
			if b, _ := m.Broker(3); b.State == command.Active && len(p.ELR) > 0 {
				t.Errorf("active, and eligible: %+v", p)
			}
		}
		w.silence(true)
		if _, err := w.do(command.RegisterBroker{ID: 3, Incarnation: [16]byte{99}, Directory: [16]byte{3}, Unclean: true, Fenced: true}); err != nil {
			t.Fatal(err)
		}
		w.start(3)
		time.Sleep(2 * time.Second)
		w.want(3, command.Fenced) // heard and ready, but what its start calls for is not decided
		w.silence(false)
		time.Sleep(2 * time.Second)
		w.want(3, command.Active)
	})
}

// A throttle of moves would outlive them, or be taken back while some are to come.
func TestThrottleEnds(t *testing.T) {
	story(t, func(t *testing.T) {
		w := three(t)
		defer w.killAll()
		throttled := func() bool {
			_, set := w.now().Configs(command.Broker, "")[ThrottleKey]
			return set
		}
		do := func(c command.Command) {
			t.Helper()
			if _, err := w.do(c); err != nil {
				t.Fatal(err)
			}
		}
		w.start(4)
		time.Sleep(2 * time.Second)
		do(command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.moves.max": "1"}})
		do(command.DrainBroker{ID: 3, Drain: true})
		do(command.SetConfigs{Type: command.Broker, Set: map[string]string{ThrottleKey: "1000"}})
		time.Sleep(5 * time.Second)
		p := w.now()
		if controller.Moving(p) != 1 || !throttled() {
			t.Fatalf("%d partitions are being moved, throttled %t", controller.Moving(p), throttled())
		}
		for range 3 { // what is being moved gets there
			p.AllPartitions(func(x *image.Partition) bool {
				if len(x.Adding) > 0 {
					var isr []command.ISRMember
					for _, id := range x.Replicas {
						b, _ := p.Broker(id)
						isr = append(isr, command.ISRMember{ID: id, Epoch: b.Epoch})
					}
					do(command.AlterISR{Changes: []command.ISRChange{{Partition: x.Partition, LeaderEpoch: x.LeaderEpoch, Expected: x.PartitionEpoch, ISR: isr}}})
				}
				return true
			})
			if !throttled() {
				t.Error("taken back while something is to be moved")
			}
			time.Sleep(time.Second)
			p = w.now()
		}
		if throttled() || controller.Draining(w.now(), 3).Replicas != 0 {
			t.Errorf("throttled %t, %+v", throttled(), controller.Draining(w.now(), 3))
		}
	})
}

// A new broker would have its share of the replicas when `qanat partition balance` is over, and lead none of them until the next look at preferred
// leaders.
func TestBalanceEndsWithLeaders(t *testing.T) {
	story(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.killAll()
		for id := kafka.BrokerID(1); id <= 3; id++ {
			w.start(id)
		}
		time.Sleep(time.Second)
		var replicas [][]kafka.BrokerID
		for i := range 8 {
			r := []kafka.BrokerID{1, 2, 3}
			replicas = append(replicas, slices.Concat(r[i%3:], r[:i%3]))
		}
		w.create(replicas...)
		w.start(4)
		time.Sleep(2 * time.Second)
		if _, err := w.do(command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.balance": "once"}}); err != nil {
			t.Fatal(err)
		}
		for range 30 {
			if _, balancing := w.now().Configs(command.Broker, "")["cluster.balance"]; !balancing {
				break
			}
			time.Sleep(time.Second)
			w.catchUp()
		}
		if _, balancing := w.now().Configs(command.Broker, "")["cluster.balance"]; balancing {
			t.Fatal("it does not end")
		}
		for id := kafka.BrokerID(1); id <= 4; id++ {
			if w.leads(id) != 2 {
				t.Errorf("broker %d leads %d of 8 partitions", id, w.leads(id))
			}
		}
	})
}
