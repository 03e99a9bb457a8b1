package image

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

type ids = []kafka.BrokerID

// cluster is a world of three active brokers and one topic of one partition on all of them.
func cluster(t testing.TB) (w *world, epochs map[kafka.BrokerID]kafka.BrokerEpoch, p kafka.Partition) {
	w = newWorld(t)
	epochs = make(map[kafka.BrokerID]kafka.BrokerEpoch)
	for i := kafka.BrokerID(1); i <= 4; i++ {
		epochs[i] = w.do(command.RegisterBroker{ID: i, Incarnation: [16]byte{byte(i)}}).(kafka.BrokerEpoch)
	}
	w.do(command.CreateTopic{ID: id(1), Name: "a", Partitions: [][]kafka.BrokerID{{1, 2, 3}}})
	return w, epochs, part(1, 0)
}

func (w *world) partition(p kafka.Partition) *Partition {
	w.t.Helper()
	found, ok := w.m.Partition(p)
	if !ok {
		w.t.Fatalf("no partition %s", p)
	}
	return found
}

// takes applies a command about one partition and tells whether it was taken, not left out.
func (w *world) takes(c command.Command) bool {
	w.t.Helper()
	return w.do(c) == nil
}

func members(epochs map[kafka.BrokerID]kafka.BrokerEpoch, of ...kafka.BrokerID) (list []command.ISRMember) {
	for _, id := range of {
		list = append(list, command.ISRMember{ID: id, Epoch: epochs[id]})
	}
	return list
}

// A follower comes back into the ISR only as an active broker, under the epoch that it has now (KIP-903); whoever asks twice, or late, is left out.
func TestAlterISR(t *testing.T) {
	w, epochs, p := cluster(t)
	isr := func(c command.ISRChange) bool {
		c.Partition = p
		return w.takes(command.AlterISR{Changes: []command.ISRChange{c}})
	}
	if !isr(command.ISRChange{ISR: members(epochs, 1, 2)}) {
		t.Fatal("shrink")
	}
	for name, c := range map[string]command.ISRChange{
		"late":                   {Expected: 0, ISR: members(epochs, 1)},
		"another leadership":     {Expected: 1, LeaderEpoch: 1, ISR: members(epochs, 1)},
		"without the leader":     {Expected: 1, ISR: members(epochs, 2)},
		"no replica":             {Expected: 1, ISR: members(epochs, 1, 4)},
		"old broker epoch":       {Expected: 1, ISR: []command.ISRMember{{ID: 1}, {ID: 2}, {ID: 3, Epoch: epochs[3] - 1}}},
		"eligible and in sync":   {Expected: 1, ISR: members(epochs, 1, 2), ELR: ids{2}},
		"eligible from nowhere":  {Expected: 1, ISR: members(epochs, 1, 2), ELR: ids{3}},
		"eligible but no member": {Expected: 1, ISR: members(epochs, 1, 2), ELR: ids{9}},
	} {
		if isr(c) {
			t.Errorf("%s: taken", name)
		}
	}
	w.do(command.SetBrokerState{ID: 3, Epoch: epochs[3], State: command.Fenced})
	if isr(command.ISRChange{Expected: 1, ISR: members(epochs, 1, 2, 3)}) {
		t.Error("a fenced broker came in sync")
	}
	w.do(command.SetBrokerState{ID: 3, Epoch: epochs[3], State: command.Active})
	if !isr(command.ISRChange{Expected: 1, ISR: members(epochs, 1, 2, 3)}) || !slices.Equal(w.partition(p).ISR, ids{1, 2, 3}) {
		t.Errorf("%+v", w.partition(p))
	}
	if !isr(command.ISRChange{Expected: 2, ISR: members(epochs, 1), ELR: ids{2}}) || !slices.Equal(w.partition(p).ELR, ids{2}) || w.partition(p).LeaderEpoch != 0 {
		t.Errorf("%+v", w.partition(p))
	}
}

// Only who has everything below the high watermark leads, unless an election is said to be unclean.
func TestElectionsAreClean(t *testing.T) {
	w, epochs, p := cluster(t)
	w.do(command.AlterISR{Changes: []command.ISRChange{{Partition: p, ISR: members(epochs, 1), ELR: ids{2}}}})
	elect := func(e command.Election) bool {
		e.Partition = p
		return w.takes(command.ElectLeaders{Elections: []command.Election{e}})
	}
	if elect(command.Election{Expected: 1, Leader: 3, ISR: ids{3}}) {
		t.Error("a replica that was out of sync leads")
	}
	if elect(command.Election{Expected: 1, Leader: 2, ISR: ids{2, 3}}) {
		t.Error("a replica that was out of sync came into the ISR by an election")
	}
	if !elect(command.Election{Expected: 1, Leader: 2, ISR: ids{2}, ELR: ids{1}}) {
		t.Error("an eligible replica may not lead")
	}
	if got := w.partition(p); got.Leader != 2 || got.LeaderEpoch != 1 || !slices.Equal(got.ELR, ids{1}) {
		t.Errorf("%+v", got)
	}
	if !elect(command.Election{Expected: 2, Leader: 3, ISR: ids{3}, Unclean: true}) {
		t.Error("an unclean election that was asked for")
	}
}

// A reassignment keeps the old replicas until the new ones are in sync, can be cancelled until then, and never drops the only copy.
func TestReassignment(t *testing.T) {
	w, epochs, p := cluster(t)
	assign := func(expected kafka.PartitionEpoch, target ids) bool {
		return w.takes(command.AssignReplicas{Changes: []command.Assignment{{Partition: p, Expected: expected, Target: target}}})
	}
	finish := func(expected kafka.PartitionEpoch, leader kafka.BrokerID) bool {
		return w.takes(command.FinishAssignments{Changes: []command.Finish{{Partition: p, Expected: expected, Leader: leader}}})
	}
	if finish(0, 1) {
		t.Error("finished without a reassignment")
	}
	if !assign(0, ids{4, 3}) {
		t.Fatal("not begun")
	}
	got := w.partition(p)
	if !slices.Equal(got.Replicas, ids{4, 3, 1, 2}) || !slices.Equal(got.Adding, ids{4}) || !slices.Equal(got.Removing, ids{1, 2}) || !slices.Equal(got.ISR, ids{1, 2, 3}) || got.Leader != 1 {
		t.Fatalf("%+v", got)
	}
	if finish(1, 4) || finish(1, 3) {
		t.Error("finished before the new replica was in sync")
	}
	if !assign(1, nil) || !slices.Equal(w.partition(p).Replicas, ids{3, 1, 2}) || len(w.partition(p).Adding)+len(w.partition(p).Removing) != 0 {
		t.Fatalf("cancelled: %+v", w.partition(p))
	}
	if !assign(2, ids{4, 3}) || !w.takes(command.AlterISR{Changes: []command.ISRChange{{Partition: p, Expected: 3, ISR: members(epochs, 1, 2, 3, 4)}}}) {
		t.Fatalf("%+v", w.partition(p))
	}
	if finish(4, 1) {
		t.Error("a replica that goes leads")
	}
	if !finish(4, 4) {
		t.Fatal("not finished")
	}
	if got := w.partition(p); !slices.Equal(got.Replicas, ids{4, 3}) || !slices.Equal(got.ISR, ids{3, 4}) || got.Leader != 4 || got.LeaderEpoch != 1 || len(got.Adding)+len(got.Removing) != 0 {
		t.Errorf("%+v", got)
	}
}

// A person's wish to drain a broker outlives its restarts, a state does not; a broker is forgotten only when it is fenced and empty.
func TestBrokerLife(t *testing.T) {
	w, epochs, _ := cluster(t)
	w.do(command.DrainBroker{ID: 3, Drain: true})
	w.do(command.SetBrokerState{ID: 3, Epoch: epochs[3], State: command.Stopping})
	if e := w.do(command.RegisterBroker{ID: 3, Incarnation: [16]byte{3}}); e != epochs[3] {
		t.Errorf("the same incarnation got epoch %v, had %v", e, epochs[3])
	}
	if b, _ := w.m.Broker(3); b.State != command.Stopping || !b.Drain {
		t.Errorf("%+v", b)
	}
	w.do(command.RegisterBroker{ID: 3, Incarnation: [16]byte{33}, Fenced: true})
	if b, _ := w.m.Broker(3); b.State != command.Fenced || !b.Drain || b.Epoch <= epochs[3] {
		t.Errorf("%+v", b)
	}
	for _, c := range []struct {
		c    command.Command
		want error
	}{
		{command.SetBrokerState{ID: 3, Epoch: epochs[3]}, ErrFenced},
		{command.SetBrokerState{ID: 9}, ErrUnknownBroker},
		{command.SetBrokerState{ID: 1, Epoch: epochs[1], State: 3}, ErrInvalid},
		{command.DrainBroker{ID: 9}, ErrUnknownBroker},
		{command.UnregisterBroker{ID: 9}, ErrUnknownBroker},
		{command.UnregisterBroker{ID: 4}, ErrBrokerInUse},
		{command.UnregisterBroker{ID: 3}, ErrBrokerInUse},
	} {
		if _, ch, err := w.apply(command.Envelope{}, c.c); !errors.Is(err, c.want) || !ch.Empty() {
			t.Errorf("%+v: %v, %+v; want %v", c.c, err, ch, c.want)
		}
	}
	w.do(command.SetBrokerState{ID: 4, Epoch: epochs[4], State: command.Fenced})
	w.do(command.UnregisterBroker{ID: 4})
	if _, ok := w.m.Broker(4); ok {
		t.Error("not forgotten")
	}
}

// What a coordinator that was replaced still proposes for a group is refused.
func TestCoordinatorsAreFenced(t *testing.T) {
	w, _, p := cluster(t)
	shard := CoordinatorShard("g")
	if c := w.m.Coordinator(shard); c != (Coordinator{Broker: kafka.NoBroker}) {
		t.Fatalf("%+v", c)
	}
	place := func(b kafka.BrokerID, expected kafka.CoordinatorEpoch) {
		w.do(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: shard, Broker: b, Expected: expected}}})
	}
	place(1, 0)
	place(2, 0) // late
	if c := w.m.Coordinator(shard); c != (Coordinator{Broker: 1, Epoch: 1}) {
		t.Fatalf("%+v", c)
	}
	commit := func(epoch kafka.CoordinatorEpoch) command.Command {
		return command.CommitOffsets{Group: "g", Coordinator: epoch, Offsets: []command.OffsetCommit{{Partition: p, Offset: 5}}}
	}
	w.do(commit(1))
	place(2, 1)
	for _, c := range []command.Command{
		commit(1),
		command.PutGroup{Group: "g", State: []byte{1}, Coordinator: 1},
		command.DeleteOffsets{Group: "g", Partitions: []kafka.Partition{p}, Coordinator: 1},
		command.DeleteGroup{Group: "g", Coordinator: 1},
	} {
		if _, _, err := w.apply(command.Envelope{}, c); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("%s: %v", c.Kind(), err)
		}
	}
	w.do(commit(2))
	if _, _, err := w.apply(command.Envelope{}, command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: CoordinatorShards}}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A broker that comes back fenced leads nothing, under a new leader epoch, from the very entry of its registration on; with
// another directory it counts for no partition any more, and what it alone had is left without anybody in sync.
func TestNewIncarnationInheritsOnlyItsData(t *testing.T) {
	w := newWorld(t)
	dir := func(b byte) [16]byte { return [16]byte{b} }
	for i := kafka.BrokerID(1); i <= 3; i++ {
		w.do(command.RegisterBroker{ID: i, Incarnation: [16]byte{byte(i)}, Directory: dir(byte(i))})
	}
	w.do(command.CreateTopic{ID: id(1), Name: "a", Partitions: [][]kafka.BrokerID{{1, 2}, {2, 1}, {1}, {2, 3}}})
	w.do(command.RegisterBroker{ID: 1, Incarnation: [16]byte{11}, Directory: dir(1), Fenced: true})
	for i, want := range []struct {
		leader kafka.BrokerID
		epoch  kafka.LeaderEpoch
		isr    ids
	}{{kafka.NoBroker, 1, ids{1, 2}}, {2, 0, ids{2, 1}}, {kafka.NoBroker, 1, ids{1}}, {2, 0, ids{2, 3}}} {
		if p := w.partition(part(1, int32(i))); p.Leader != want.leader || p.LeaderEpoch != want.epoch || !slices.Equal(p.ISR, want.isr) {
			t.Errorf("fenced: %+v", p)
		}
	}
	before := w.m
	w.do(command.RegisterBroker{ID: 1, Incarnation: [16]byte{11}, Directory: dir(1), Fenced: true, Rack: "moved"})
	if d := Diff(before, w.m); len(d.Partitions) > 0 {
		t.Errorf("the same incarnation: %+v", d)
	}
	w.do(command.ElectLeaders{Elections: []command.Election{{Partition: part(1, 2), Leader: 1, ISR: ids{1}, Expected: 1}}})
	w.do(command.RegisterBroker{ID: 1, Incarnation: [16]byte{12}, Directory: dir(9), Fenced: true})
	for i, want := range []struct {
		leader kafka.BrokerID
		epoch  kafka.LeaderEpoch
		isr    ids
	}{{kafka.NoBroker, 1, ids{2}}, {2, 0, ids{2}}, {kafka.NoBroker, 3, nil}, {2, 0, ids{2, 3}}} {
		if p := w.partition(part(1, int32(i))); p.Leader != want.leader || p.LeaderEpoch != want.epoch || !slices.Equal(p.ISR, want.isr) {
			t.Errorf("another directory: %+v", p)
		}
	}
	restored, err := Decode(bytes.NewReader(encoded(t, w.m)))
	if err != nil || !Diff(w.m, restored).Empty() {
		t.Errorf("a partition without anybody in sync is not restored: %v", err)
	}
}

// A broker that stopped uncleanly may lack data until it has been active, however often it starts anew before that.
func TestUncleanStopIsNotForgotten(t *testing.T) {
	w := newWorld(t)
	for i, unclean := range []bool{true, false, false} {
		epoch := w.do(command.RegisterBroker{ID: 1, Incarnation: [16]byte{byte(i + 1)}, Directory: [16]byte{1}, Unclean: unclean, Fenced: true}).(kafka.BrokerEpoch)
		if b, _ := w.m.Broker(1); b.Unclean != (i < 2) {
			t.Errorf("start %d: unclean %v", i+1, b.Unclean)
		}
		if i == 1 {
			w.do(command.SetBrokerState{ID: 1, Epoch: epoch, State: command.Active})
		}
	}
}

// Who was eligible under one minimum of in-sync replicas is not under another, from the very entry that changes it on.
func TestMinimumDecidesWhoIsEligible(t *testing.T) {
	w, epochs, p := cluster(t)
	w.do(command.CreateTopic{ID: id(2), Name: "b", Partitions: [][]kafka.BrokerID{{1, 2}}})
	shrink := func() {
		for _, p := range []kafka.Partition{p, part(2, 0)} {
			now := w.partition(p)
			w.do(command.AlterISR{Changes: []command.ISRChange{{Partition: p, Expected: now.PartitionEpoch, ISR: members(epochs, 1, 2)}}})
			w.do(command.AlterISR{Changes: []command.ISRChange{{Partition: p, Expected: now.PartitionEpoch + 1, ISR: members(epochs, 1), ELR: ids{2}}}})
		}
	}
	shrink()
	w.do(command.SetConfigs{Type: command.Topic, Name: "a", Set: map[string]string{"retention.ms": "1"}})
	if len(w.partition(p).ELR) != 1 {
		t.Fatal("another configuration counts")
	}
	w.do(command.SetConfigs{Type: command.Topic, Name: "a", Set: map[string]string{"min.insync.replicas": "1"}})
	if len(w.partition(p).ELR) != 0 || len(w.partition(part(2, 0)).ELR) != 1 {
		t.Errorf("%+v\n%+v", w.partition(p), w.partition(part(2, 0)))
	}
	shrink()
	w.do(command.SetConfigs{Type: command.Broker, Set: map[string]string{"min.insync.replicas": "2"}})
	if len(w.partition(p).ELR)+len(w.partition(part(2, 0)).ELR) != 0 {
		t.Errorf("%+v\n%+v", w.partition(p), w.partition(part(2, 0)))
	}
}

// Whatever happens to it, a partition's sets keep their invariants: the ISR is within the replicas, the leader is in sync, nobody is both eligible and in sync, epochs never go back.
func TestPartitionInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := Empty()
		for i, s := range rapid.SliceOfN(genStep, 1, 30).Draw(rt, "steps") {
			before := m
			m, _, _ = run(t, m, uint64(i+1), []step{s}, func(int) bool { return true })
			m.AllPartitions(func(p *Partition) bool {
				if !subset(p.ISR, p.Replicas) || !subset(p.ELR, p.Replicas) || len(intersect(p.ELR, p.ISR)) > 0 ||
					!subset(p.Adding, p.Replicas) || !subset(p.Removing, p.Replicas) || len(p.Settled()) == 0 ||
					p.Leader != kafka.NoBroker && !slices.Contains(p.ISR, p.Leader) {
					rt.Fatalf("%+v", p)
				}
				if old, ok := before.Partition(p.Partition); ok && (p.LeaderEpoch < old.LeaderEpoch || p.PartitionEpoch < old.PartitionEpoch) {
					if was, _ := before.TopicByID(p.Topic); was != nil && !recreated(before, m, p.Topic) {
						rt.Fatalf("%+v after %+v", p, old)
					}
				}
				return true
			})
		}
	})
}

// recreated tells whether a topic was deleted and made again between two images: the generators draw from few ids.
func recreated(before, after *Image, id kafka.TopicID) bool {
	a, _ := before.TopicByID(id)
	b, _ := after.TopicByID(id)
	return a != b
}
