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

func apply(t testing.TB, m *image.Image, cs ...command.Command) *image.Image {
	t.Helper()
	for _, c := range cs {
		next, _, _, err := image.Apply(m, m.Index()+1, command.Envelope{}, c)
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	return m
}

func topic(n byte, replicas ...[]kafka.BrokerID) command.CreateTopic {
	return command.CreateTopic{ID: kafka.TopicID{n, 15: 1}, Name: string('a' + rune(n)), Partitions: replicas}
}

// Whatever is there already, a placement has distinct live replicas, is the same when asked again, and leaves the brokers'
// loads no further apart than they were, or than one.
func TestPlaceSpreads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		brokers := rapid.IntRange(1, 6).Draw(rt, "brokers")
		var live []kafka.BrokerID
		for i := range brokers {
			live = append(live, kafka.BrokerID(10+i))
		}
		m := image.Empty()
		var replicas [][]kafka.BrokerID
		for range rapid.IntRange(1, 10).Draw(rt, "existing") {
			replicas = append(replicas, []kafka.BrokerID{rapid.SampledFrom(live).Draw(rt, "replica")})
		}
		m = apply(t, m, topic(1, replicas...))
		count := rapid.IntRange(1, 20).Draw(rt, "count")
		factor := rapid.IntRange(1, brokers).Draw(rt, "factor")
		placed, err := Place(m, live, count, factor)
		if err != nil || len(placed) != count {
			rt.Fatalf("%v, %v", placed, err)
		}
		if again, _ := Place(m, append(slices.Clone(live), live[0]), count, factor); !reflect.DeepEqual(again, placed) {
			rt.Fatalf("asked again: %v, %v", placed, again)
		}
		before := spread(live, replicas)
		for _, r := range placed {
			if len(r) != factor || len(slices.Compact(slices.Sorted(slices.Values(r)))) != factor {
				rt.Fatalf("replicas %v", r)
			}
		}
		if after := spread(live, append(replicas, placed...)); after > max(before, 1) {
			rt.Fatalf("loads %d apart, before %d: %v", after, before, placed)
		}
	})
}

// spread is the difference between the fullest and the emptiest broker.
func spread(live []kafka.BrokerID, partitions [][]kafka.BrokerID) int {
	loads := make(map[kafka.BrokerID]int)
	for _, r := range partitions {
		for _, id := range r {
			loads[id]++
		}
	}
	low, high := loads[live[0]], loads[live[0]]
	for _, id := range live {
		low, high = min(low, loads[id]), max(high, loads[id])
	}
	return high - low
}

// Leaderships are spread as well as replicas, and a partition's replicas stand in different racks while there are any.
func TestPlaceSpreadsLeadersAndRacks(t *testing.T) {
	m := image.Empty()
	live := []kafka.BrokerID{1, 2, 3, 4}
	for _, id := range live {
		m = apply(t, m, command.RegisterBroker{ID: id, Rack: string('a' + rune(id%2))})
	}
	placed, err := Place(m, live, 8, 2)
	if err != nil {
		t.Fatal(err)
	}
	leaders := make(map[kafka.BrokerID]int)
	for _, r := range placed {
		leaders[r[0]]++
		if r[0]%2 == r[1]%2 {
			t.Errorf("replicas %v share a rack", r)
		}
	}
	for _, id := range live {
		if leaders[id] != 2 {
			t.Errorf("leaders %v", leaders)
		}
	}
}

// What cannot be placed is refused by name.
func TestPlaceRefuses(t *testing.T) {
	live := []kafka.BrokerID{1, 2}
	for _, c := range []struct {
		count, factor int
		want          error
	}{{1, 3, ErrTooFewBrokers}, {0, 1, ErrBadCount}, {1, 0, ErrBadCount}, {1, -1, ErrBadCount}} {
		if _, err := Place(image.Empty(), live, c.count, c.factor); !errors.Is(err, c.want) {
			t.Errorf("%d × %d: %v", c.count, c.factor, err)
		}
	}
}

// A starting broker gets a new leader epoch for every partition that it leads, and those without a leader for which it is
// in sync; no other partition is touched, and no command is larger than its bound.
func TestStartLeaders(t *testing.T) {
	many := make([][]kafka.BrokerID, 2*changesPerCommand)
	for i := range many {
		many[i] = []kafka.BrokerID{1}
	}
	m := apply(t, image.Empty(),
		topic(1, []kafka.BrokerID{1, 2}, []kafka.BrokerID{2, 1}, []kafka.BrokerID{2, 1}, []kafka.BrokerID{2, 3}),
		topic(2, many...))
	orphan := kafka.Partition{Topic: topic(1).ID, Index: 2}
	m = apply(t, m, command.ElectLeaders{Elections: []command.Election{{Partition: orphan, Leader: kafka.NoBroker, ISR: []kafka.BrokerID{1}}}})

	commands := StartLeaders(m, 1)
	if len(commands) != 3 {
		t.Errorf("%d commands", len(commands))
	}
	for _, c := range commands {
		if n := len(c.(command.ElectLeaders).Elections); n > changesPerCommand || n == 0 {
			t.Errorf("%d elections in a command", n)
		}
	}
	after := apply(t, m, commands...)
	after.AllPartitions(func(p *image.Partition) bool {
		was, _ := m.Partition(p.Partition)
		starts := was.Leader == 1 || p.Partition == orphan
		if starts && (p.Leader != 1 || p.LeaderEpoch != was.LeaderEpoch+1 || !slices.Equal(p.ISR, was.ISR)) || !starts && p != was {
			t.Errorf("%+v\nwas %+v", p, was)
		}
		return true
	})
	if StartLeaders(m, 9) != nil {
		t.Error("elections for a broker without partitions")
	}
}
