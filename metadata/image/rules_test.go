package image

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Every refusal says what it should, and a refused command leaves the state as it was.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for _, c := range []command.Command{
		command.FormCluster{ClusterID: "c"},
		command.RegisterBroker{ID: 1, Incarnation: [16]byte{1}}, // epoch 2
		topic(1, "a", 3),
		command.CommitSegment{Partition: part(1, 0), Entry: segment(0, 100, 0)},
		command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 5}}},
		command.TrimLog{Partition: part(1, 1), Epoch: 0, Start: 50},
		command.ElectLeaders{Elections: []command.Election{{Partition: part(1, 2), Leader: 2, ISR: []kafka.BrokerID{2}, Expected: 0}}},
	} {
		w.do(c)
	}
	stale := command.Envelope{Broker: 1, BrokerEpoch: 1}
	dup := topic(2, "b", 1)
	dup.Partitions = [][]kafka.BrokerID{{1, 1}}
	for _, c := range []struct {
		name string
		env  command.Envelope
		c    command.Command
		want error
	}{
		{"another cluster's log", command.Envelope{}, command.FormCluster{ClusterID: "d"}, ErrOtherCluster},
		{"no cluster id", command.Envelope{}, command.FormCluster{}, ErrInvalid},
		{"negative broker", command.Envelope{}, command.RegisterBroker{ID: -1}, ErrInvalid},
		{"name taken", command.Envelope{}, topic(2, "a", 1), ErrTopicExists},
		{"id taken", command.Envelope{}, topic(1, "b", 1), ErrTopicExists},
		{"no name", command.Envelope{}, topic(2, "", 1), ErrInvalid},
		{"zero id", command.Envelope{}, command.CreateTopic{Name: "b", Partitions: [][]kafka.BrokerID{{1}}}, ErrInvalid},
		{"no partitions", command.Envelope{}, topic(2, "b", 0), ErrInvalid},
		{"replica twice", command.Envelope{}, dup, ErrInvalid},
		{"too many partitions", command.Envelope{}, topic(2, "b", MaxPartitions+1), ErrInvalid},
		{"delete of no topic", command.Envelope{}, command.DeleteTopic{ID: id(9)}, ErrUnknownTopic},
		{"growth of no topic", command.Envelope{}, command.AddPartitions{ID: id(9)}, ErrUnknownTopic},
		{"growth from another count", command.Envelope{}, command.AddPartitions{ID: id(1), From: 2, Replicas: [][]kafka.BrokerID{{1}}}, ErrPartitionCount},
		{"growth by nothing", command.Envelope{}, command.AddPartitions{ID: id(1), From: 3}, ErrInvalid},
		{"configs of no topic", command.Envelope{}, command.SetConfigs{Type: command.Topic, Name: "z", Set: map[string]string{"a": "b"}}, ErrUnknownTopic},
		{"set and deleted", command.Envelope{}, command.SetConfigs{Type: command.Broker, Set: map[string]string{"a": "b"}, Delete: []string{"a"}}, ErrInvalid},
		{"leader out of sync", command.Envelope{}, command.ElectLeaders{Elections: []command.Election{{Partition: part(1, 0), Leader: 1, ISR: []kafka.BrokerID{2}}}}, ErrInvalid},
		{"no ISR", command.Envelope{}, command.ElectLeaders{Elections: []command.Election{{Partition: part(1, 0), Leader: kafka.NoBroker}}}, ErrInvalid},
		{"segment of no partition", command.Envelope{}, command.CommitSegment{Partition: part(1, 3), Entry: segment(0, 1, 0)}, ErrUnknownPartition},
		{"segment of an old leader", command.Envelope{}, command.CommitSegment{Partition: part(1, 2), Entry: segment(0, 1, 0)}, manifest.ErrStaleEpoch},
		{"segment of a future leader", command.Envelope{}, command.CommitSegment{Partition: part(1, 0), Entry: segment(100, 101, 1)}, manifest.ErrStaleEpoch},
		{"gap", command.Envelope{}, command.CommitSegment{Partition: part(1, 0), Entry: segment(101, 102, 0)}, manifest.ErrNotContiguous},
		{"below the log's start", command.Envelope{}, command.CommitSegment{Partition: part(1, 1), Entry: segment(0, 50, 0)}, manifest.ErrNotContiguous},
		{"empty segment", command.Envelope{}, command.CommitSegment{Partition: part(1, 0), Entry: segment(100, 100, 0)}, manifest.ErrInvalid},
		{"trim of no partition", command.Envelope{}, command.TrimLog{Partition: part(2, 0)}, ErrUnknownPartition},
		{"trim by an old leader", command.Envelope{}, command.TrimLog{Partition: part(1, 2), Epoch: 0, Start: 7}, ErrStaleEpoch},
		{"no producer ids", command.Envelope{}, command.AllocateProducerIDs{}, ErrInvalid},
		{"delete of no group", command.Envelope{}, command.DeleteGroup{Group: "h"}, ErrUnknownGroup},
		{"offsets of no group", command.Envelope{}, command.DeleteOffsets{Group: "h"}, ErrUnknownGroup},
		{"replaced incarnation", stale, topic(2, "b", 1), ErrFenced},
		{"unregistered with an epoch", command.Envelope{Broker: 5, BrokerEpoch: 1}, topic(2, "b", 1), ErrFenced},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := encoded(t, at(w.m, w.index+1))
			_, ch, err := w.apply(c.env, c.c)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if !ch.Empty() {
				t.Errorf("a refused command changed %+v", ch)
			}
			if string(encoded(t, w.m)) != string(before) {
				t.Error("a refused command changed the image")
			}
		})
	}
}

// at is m as if nothing had happened up to an index.
func at(m *Image, index uint64) *Image { c := *m; c.index = index; return &c }

// A topic's partitions begin with epoch 0, every replica in sync and the first replica as leader; growth goes on in the same way.
func TestTopicLife(t *testing.T) {
	w := newWorld(t)
	c := topic(1, "a", 2)
	c.Configs = map[string]string{"k": "v"}
	w.do(c)
	w.do(command.AddPartitions{ID: id(1), From: 2, Replicas: [][]kafka.BrokerID{{2, 1}}})
	byName, _ := w.m.TopicByName("a")
	byID, _ := w.m.TopicByID(id(1))
	if *byName != (Topic{ID: id(1), Name: "a", Partitions: 3, Created: 1000}) || byID != byName {
		t.Fatalf("%+v, %+v", byName, byID)
	}
	var leaders []kafka.BrokerID
	w.m.Partitions(id(1), func(p *Partition) bool {
		if p.Index != int32(len(leaders)) || p.LeaderEpoch != 0 || p.PartitionEpoch != 0 || p.LogStart != 0 || !reflect.DeepEqual(p.ISR, p.Replicas) {
			t.Errorf("%+v", p)
		}
		leaders = append(leaders, p.Leader)
		return true
	})
	if !reflect.DeepEqual(leaders, []kafka.BrokerID{1, 1, 2}) {
		t.Errorf("leaders %v", leaders)
	}
	if got := w.m.Configs(command.Topic, "a"); got["k"] != "v" {
		t.Errorf("configs %v", got)
	}
}

// A deleted topic takes its partitions, configs and committed offsets with it, and the groups that were nothing else; a namesake starts empty.
func TestDeleteTopicLeavesNothing(t *testing.T) {
	w := newWorld(t)
	c := topic(1, "a", 2)
	c.Configs = map[string]string{"k": "v"}
	w.do(c)
	w.do(topic(2, "b", 1))
	w.do(command.CommitOffsets{Group: "both", Offsets: []command.OffsetCommit{{Partition: part(1, 1), Offset: 5}, {Partition: part(2, 0), Offset: 6}}})
	w.do(command.CommitOffsets{Group: "only", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 7}}})
	w.do(command.PutGroup{Group: "state", Type: "classic", State: []byte{1}})
	w.do(command.CommitOffsets{Group: "state", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 7}}})
	// The open group of the same entry is cleaned as well.
	w.index++
	tx := Begin(w.m)
	for _, c := range []command.Command{
		command.CommitOffsets{Group: "fresh", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 7}}},
		command.DeleteTopic{ID: id(1)},
	} {
		if _, err := tx.Apply(w.index, command.Envelope{}, c); err != nil {
			t.Fatal(err)
		}
	}
	var ch Changes
	w.m, ch = tx.Commit()
	want := Changes{Topics: []kafka.TopicID{id(1)}, Configs: []ConfigKey{{command.Topic, "a"}}, Groups: []string{"fresh", "only"}}
	if !reflect.DeepEqual(ch, want) {
		t.Errorf("changes %+v\nwant    %+v", ch, want)
	}
	var groups []string
	w.m.Groups(func(g *Group) bool { groups = append(groups, g.Name); return true })
	if !reflect.DeepEqual(groups, []string{"both", "state"}) {
		t.Errorf("groups %v", groups)
	}
	if _, ok := w.m.Offset("both", part(1, 1)); ok {
		t.Error("offset of the deleted topic is still there")
	}
	if o, ok := w.m.Offset("both", part(2, 0)); !ok || o.OffsetCommit.Offset != 6 {
		t.Error("offset of the other topic is gone")
	}
	if _, ok := w.m.Partition(part(1, 0)); ok || w.m.Configs(command.Topic, "a") != nil || w.m.PartitionCount() != 1 {
		t.Error("partition or configs are still there")
	}
	w.do(topic(3, "a", 1))
	if _, ok := w.m.Offset("both", part(3, 0)); ok || w.m.Configs(command.Topic, "a") != nil {
		t.Error("the namesake inherited something")
	}
}

// An election is a compare-and-set on the partition epoch: of two that expect the same, one happens; the rest of the command is not held up.
func TestElectLeaders(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 2))
	elect := func(i int32, leader kafka.BrokerID, isr []kafka.BrokerID, expected kafka.PartitionEpoch) command.Election {
		return command.Election{Partition: part(1, i), Leader: leader, ISR: isr, Expected: expected}
	}
	left := w.do(command.ElectLeaders{Elections: []command.Election{
		elect(0, 2, []kafka.BrokerID{2}, 0),
		elect(0, 1, []kafka.BrokerID{1}, 0), // too late
		elect(1, 3, []kafka.BrokerID{3}, 0), // no replica
		elect(7, 1, []kafka.BrokerID{1}, 0), // no partition
		elect(1, kafka.NoBroker, []kafka.BrokerID{2}, 0),
	}})
	if want := []kafka.Partition{part(1, 0), part(1, 1), part(1, 7)}; !reflect.DeepEqual(left, want) {
		t.Errorf("left out %v, want %v", left, want)
	}
	p, _ := w.m.Partition(part(1, 0))
	if p.Leader != 2 || p.LeaderEpoch != 1 || p.PartitionEpoch != 1 || len(p.ISR) != 1 || len(p.Replicas) != 2 {
		t.Errorf("%+v", p)
	}
	if p, _ := w.m.Partition(part(1, 1)); p.Leader != kafka.NoBroker || p.LeaderEpoch != 1 {
		t.Errorf("%+v", p)
	}
	if r := w.do(command.ElectLeaders{Elections: []command.Election{elect(0, 2, []kafka.BrokerID{2}, 1)}}); r != nil {
		t.Errorf("nothing was left out, the result is %v", r)
	}
}

// A log's start only moves forward and takes the manifest with it; what lies below is not committed again.
func TestTrimLog(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	for _, s := range [][2]kafka.Offset{{0, 100}, {100, 200}, {200, 300}} {
		w.do(command.CommitSegment{Partition: part(1, 0), Entry: segment(s[0], s[1], 0)})
	}
	w.do(command.CommitSegment{Partition: part(1, 0), Entry: segment(100, 200, 0)}) // a retry
	for _, c := range []struct{ start, want, remote kafka.Offset }{{150, 150, 100}, {20, 150, 100}, {200, 200, 200}, {1000, 1000, 0}} {
		r := w.do(command.TrimLog{Partition: part(1, 0), Start: c.start})
		p, _ := w.m.Partition(part(1, 0))
		if r != c.want || p.LogStart != c.want || p.Remote.Start() != c.remote {
			t.Errorf("trim to %d: result %v, log starts at %d, remote at %d", c.start, r, p.LogStart, p.Remote.Start())
		}
	}
	_, _, err := w.apply(command.Envelope{}, command.CommitSegment{Partition: part(1, 0), Entry: segment(200, 300, 0)})
	if !errors.Is(err, manifest.ErrNotContiguous) {
		t.Errorf("a trimmed segment is back: %v", err)
	}
	w.do(command.CommitSegment{Partition: part(1, 0), Entry: segment(990, 1100, 0)}) // holds the start
}

// A broker's epoch is the index of its registration; the same incarnation keeps it, another one fences it.
func TestRegistration(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	reg := command.RegisterBroker{ID: 1, Incarnation: [16]byte{1}}
	first := w.do(reg)
	reg.Rack = "r"
	if again := w.do(reg); first != kafka.BrokerEpoch(2) || again != first {
		t.Errorf("epochs %v, %v", first, again)
	}
	if b, _ := w.m.Broker(1); b.Rack != "r" || b.Epoch != 2 {
		t.Errorf("%+v", b)
	}
	env := command.Envelope{Broker: 1, BrokerEpoch: 2}
	if _, _, err := w.apply(env, topic(2, "b", 1)); err != nil {
		t.Error(err)
	}
	reg.Incarnation[0]++
	if next := w.do(reg); next != kafka.BrokerEpoch(5) {
		t.Errorf("epoch %v", next)
	}
	if _, _, err := w.apply(env, topic(3, "c", 1)); !errors.Is(err, ErrFenced) {
		t.Errorf("the old incarnation still proposes: %v", err)
	}
}

// Blocks of producer ids do not overlap, and do not wrap.
func TestProducerIDs(t *testing.T) {
	w := newWorld(t)
	for i, want := range []kafka.ProducerID{0, 10, 30} {
		if got := w.do(command.AllocateProducerIDs{Count: int32(10 * (i + 1))}); got != want {
			t.Errorf("block %d begins at %v, want %d", i, got, want)
		}
	}
	w.m.nextProducerID = math.MaxInt64 - 5
	if _, _, err := w.apply(command.Envelope{}, command.AllocateProducerIDs{Count: 6}); !errors.Is(err, ErrInvalid) {
		t.Errorf("ids wrapped: %v", err)
	}
}

// A group is there as long as it has state or offsets, and offsets of partitions that do not exist are left out, not stored.
func TestGroupLife(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	left := w.do(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 5, Metadata: "m"}, {Partition: part(9, 0)}}})
	if !reflect.DeepEqual(left, []kafka.Partition{part(9, 0)}) {
		t.Errorf("left out %v", left)
	}
	w.do(command.CommitOffsets{Group: "none", Offsets: []command.OffsetCommit{{Partition: part(9, 0)}}})
	if _, ok := w.m.Group("none"); ok {
		t.Error("a group without anything")
	}
	w.do(command.PutGroup{Group: "g", Type: "classic", State: []byte("s")})
	if g, _ := w.m.Group("g"); g.Type != "classic" || string(g.State) != "s" {
		t.Errorf("%+v", g)
	}
	if o, ok := w.m.Offset("g", part(1, 0)); !ok || o.OffsetCommit.Offset != 5 || o.Metadata != "m" || o.CommittedMs != 1000 {
		t.Errorf("%+v", o)
	}
	w.do(command.PutGroup{Group: "g"})
	if g, ok := w.m.Group("g"); !ok || g.Type != "" || g.State != nil {
		t.Errorf("%+v, %v", g, ok)
	}
	w.do(command.DeleteOffsets{Group: "g", Partitions: []kafka.Partition{part(1, 0), part(9, 0)}})
	if _, ok := w.m.Group("g"); ok {
		t.Error("the group outlived its last offset")
	}
	w.do(command.PutGroup{Group: "g"}) // no state of no group: nothing
	w.do(command.PutGroup{Group: "h", State: []byte{}})
	if g, ok := w.m.Group("h"); !ok || g.State == nil {
		t.Error("an empty state is a state")
	}
	w.do(command.DeleteGroup{Group: "h"})
	if _, ok := w.m.Group("h"); ok {
		t.Error("deleted group is there")
	}
}

// Overrides are set and deleted key by key; a resource without any is not listed.
func TestConfigs(t *testing.T) {
	w := newWorld(t)
	set := func(name string, kv map[string]string, del ...string) Changes {
		_, ch, err := w.apply(command.Envelope{}, command.SetConfigs{Type: command.Broker, Name: name, Set: kv, Delete: del})
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	set("", map[string]string{"a": "1", "b": "2"})
	set("1", map[string]string{"a": "3"})
	old := w.m.Configs(command.Broker, "")
	set("", map[string]string{"c": "4"}, "a")
	if got := w.m.Configs(command.Broker, ""); !reflect.DeepEqual(got, map[string]string{"b": "2", "c": "4"}) || len(old) != 2 {
		t.Errorf("now %v, before %v", got, old)
	}
	if ch := set("", map[string]string{"c": "4"}); !ch.Empty() {
		t.Errorf("nothing changed, and yet %+v", ch)
	}
	set("1", nil, "a")
	if got := w.m.ConfigNames(command.Broker); !reflect.DeepEqual(got, []string{""}) {
		t.Errorf("names %q", got)
	}
}
