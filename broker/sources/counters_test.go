package sources

import (
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

type step struct {
	t *testing.T
	m *image.Image
	c *Counters
}

// do applies a command, and tells it to the counters of broker 1.
func (s *step) do(c command.Command) {
	s.t.Helper()
	next, _, ch, err := image.Apply(s.m, s.m.Index()+1, command.Envelope{}, c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.c.Follow(1)(s.m, next, ch)
	s.m = next
}

func (s *step) want(elections, shrinks, expands int64) {
	s.t.Helper()
	if e, sh, ex := s.c.elections.Load(), s.c.shrinks.Load(), s.c.expands.Load(); e != elections || sh != shrinks || ex != expands {
		s.t.Errorf("%d elections, %d shrinks, %d expands; want %d, %d, %d", e, sh, ex, elections, shrinks, expands)
	}
}

// A change of an ISR is counted by a broker that does not lead the partition, twice, or not at all.
func TestCountersFollow(t *testing.T) {
	s := &step{t: t, m: image.Empty(), c: &Counters{}}
	for id := range kafka.BrokerID(3) {
		s.do(command.RegisterBroker{ID: id + 1, Incarnation: [16]byte{byte(id) + 1}, Directory: [16]byte{byte(id) + 1}})
	}
	p := kafka.Partition{Topic: kafka.TopicID{1}}
	s.do(command.CreateTopic{ID: p.Topic, Name: "a", Partitions: [][]kafka.BrokerID{{1, 2, 3}}})
	s.elect(p, 2)
	s.want(0, 0, 0) // one that begins is led from the start, and nobody was elected
	s.elect(p, 1)
	s.want(1, 0, 0)
	s.isr(p, 1, 2)
	s.want(1, 1, 0)
	s.isr(p, 1, 2, 3)
	s.want(1, 1, 1)
	s.elect(p, 2)
	s.isr(p, 2)
	s.want(1, 1, 1)
	s.elect(p, 2)
	s.want(1, 1, 1)
}

func (s *step) at(p kafka.Partition) *image.Partition {
	s.t.Helper()
	ip, ok := s.m.Partition(p)
	if !ok {
		s.t.Fatal("no such partition")
	}
	return ip
}

func (s *step) elect(p kafka.Partition, leader kafka.BrokerID) {
	s.t.Helper()
	ip := s.at(p)
	s.do(command.ElectLeaders{Elections: []command.Election{{Partition: p, Leader: leader, ISR: ip.ISR, Expected: ip.PartitionEpoch}}})
}

func (s *step) isr(p kafka.Partition, ids ...kafka.BrokerID) {
	s.t.Helper()
	ip := s.at(p)
	change := command.ISRChange{Partition: p, LeaderEpoch: ip.LeaderEpoch, Expected: ip.PartitionEpoch}
	for _, id := range ids {
		b, _ := s.m.Broker(id)
		change.ISR = append(change.ISR, command.ISRMember{ID: id, Epoch: b.Epoch})
	}
	s.do(command.AlterISR{Changes: []command.ISRChange{change}})
}

// Two places that count one topic's traffic count it in two, or a topic's counters begin anew.
func TestTrafficIsOneByTopic(t *testing.T) {
	var c Counters
	a := c.Traffic("a")
	a.Produced.Add(3)
	if b := c.Traffic("b"); b == a || b.Produced.Load() != 0 {
		t.Error("two topics share their counters")
	}
	if again := c.Traffic("a"); again != a || again.Produced.Load() != 3 {
		t.Error("a topic's counters began anew")
	}
}
