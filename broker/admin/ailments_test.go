package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/qanat-io/qanat/broker/console"
	"github.com/qanat-io/qanat/broker/control"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/archive"
	"github.com/qanat-io/qanat/tier/cold"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A cluster is called healthy while partitions are offline, take no records, have lost objects, or do not get to the bucket, on the broker
// that was asked or on another; or a line does not say where, what and what to do; or one is told of who is not there, or twice.
func TestAilmentHealth(t *testing.T) {
	one, two := []kafka.BrokerID{1}, []kafka.BrokerID{2}
	m := cluster(t, 3, one, two, two)
	b, _ := m.Broker(3)
	m = apply(t, m, command.SetBrokerState{ID: 3, Epoch: b.Epoch, State: command.Fenced})
	ailing := func(indexes ...int32) (list []control.Ailing) {
		for _, i := range indexes {
			list = append(list, control.Ailing{Topic: kafka.TopicID{1}, Index: i, What: "segment 7 is bad"})
		}
		return list
	}
	for _, c := range []struct {
		kind control.AilmentKind
		says []string
		of   func(c console.Cluster) int
	}{
		{control.Offline, []string{"offline", "tried again", "Damaged partition"}, func(c console.Cluster) int { return c.Offline }},
		{control.Damaged, []string{"no records", "restore", "Damaged partition"}, func(c console.Cluster) int { return c.Damaged }},
		{control.Unreadable, []string{"missing or damaged", "bring the objects back", "Objects missing"}, func(c console.Cluster) int { return c.Unreadable }},
		{control.Unarchived, []string{"into the bucket", "mend the bucket", "Bucket down"}, func(c console.Cluster) int { return c.Unarchived }},
	} {
		own := []control.Ailment{{Broker: 1, Kind: c.kind, Partitions: 1, Worst: ailing(0)}}
		told := []control.Ailment{
			{Broker: 1, Kind: c.kind, Partitions: 9, Worst: ailing(0)}, // its own, as it was a moment ago
			{Broker: 2, Kind: c.kind, Partitions: 2, Worst: ailing(1, 2)},
			{Broker: 3, Kind: c.kind, Partitions: 5, Worst: ailing(0)},
			{Broker: 2, Kind: 99, Partitions: 1},
		}
		h := console.Cluster{AskedOf: 1}
		ailmentHealth(&h, m, own, told)
		want := 3
		if c.kind == control.Unreadable {
			want = 2
		}
		if n := c.of(h); n != want {
			t.Errorf("%d: %d are counted, want %d", c.kind, n, want)
		}
		if len(h.Problems) != 2 || !strings.HasPrefix(h.Problems[0], "1 partition on broker 1 ") || !strings.HasPrefix(h.Problems[1], "2 partitions on broker 2 ") {
			t.Errorf("%d: problems are %q", c.kind, h.Problems)
			continue
		}
		for _, want := range append(c.says, "a-1: segment 7 is bad") {
			if !strings.Contains(h.Problems[1], want) {
				t.Errorf("%d: %q does not say %q", c.kind, h.Problems[1], want)
			}
		}
		if len(h.Worst) != 3 || h.Worst[1].Topic != "a" || h.Worst[1].Partition != 1 || h.Worst[1].Leader != 2 || !strings.Contains(h.Worst[1].Problem, "(broker 2)") {
			t.Errorf("%d: the worst are %+v", c.kind, h.Worst)
		}
	}
	h := console.Cluster{AskedOf: 1}
	ailmentHealth(&h, m, nil, nil)
	if len(h.Problems)+len(h.Worst) > 0 {
		t.Errorf("of nothing it says %q", h.Problems)
	}
	all := control.Ailment{Broker: 1, Kind: control.Offline, Partitions: 10 * worstPartitions, Worst: ailing(make([]int32, 10*worstPartitions)...)}
	if ailmentHealth(&h, m, []control.Ailment{all}, nil); len(h.Worst) != worstPartitions {
		t.Errorf("the list of the worst has %d partitions", len(h.Worst))
	}
}

// What reads and sweeps have found of one partition is told twice, added up, or without what was found.
func TestLosses(t *testing.T) {
	p, q := kafka.Partition{Topic: kafka.TopicID{1}}, kafka.Partition{Topic: kafka.TopicID{1}, Index: 1}
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	of := lossesOf(
		[]cold.Broken{{Partition: p, Base: 10, Next: 20, Err: errors.New("gone"), At: at}, {Partition: p, Base: 20, Next: 30, Err: errors.New("too"), At: at.Add(time.Hour)}},
		[]archive.Lost{{Partition: p, Objects: 7, Of: 9, At: at}, {Partition: q, Objects: 3, Of: 3, At: at}},
	)
	if l := of[p]; l.objects != 7 || l.what != "offsets [10, 20): gone" || !l.at.Equal(at.Add(time.Hour)) {
		t.Errorf("%+v", l)
	}
	if l := of[q]; l.objects != 3 || l.what != "3 of 3 objects are missing in the bucket, the sweep of 2026-11-27T12:00:00Z found" || len(of) != 2 {
		t.Errorf("%+v", l)
	}
}
