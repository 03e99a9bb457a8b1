package partition

import (
	"testing"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// The scenarios of docs/reliability.md that a partition's replicas decide, by name. Each is a schedule that once lost data, or made
// logs differ, in Apache Kafka or its siblings.

// trio is three brokers, the first of which leads; everybody is in sync and has heard of it.
func trio(t *testing.T, change func(*config.Topic)) *cluster {
	c := newCluster(t, 1, 3, change)
	c.elect(1)
	c.hear()
	return c
}

// hear has every broker that runs act on the newest image.
func (c *cluster) hear() {
	for _, n := range c.nodes {
		if n.p != nil && !n.paused {
			n.hear(len(c.images) - 1)
		}
	}
}

// round has the given followers fetch once and flush what they got.
func (c *cluster) round(followers ...kafka.BrokerID) {
	for _, id := range followers {
		n := c.node(id)
		leader, _, ok := n.p.Following()
		if !ok {
			c.failf("%d follows nobody", id)
		}
		n.ask()
		to := c.node(leader)
		for len(to.requests) > 0 {
			to.serve(0)
		}
		for len(n.responses) > 0 {
			n.take(0)
		}
		n.flush()
		c.note(n)
		c.note(to)
	}
}

// write has the first producer send its next batch to a broker, or the last one again, and returns whether it is acknowledged by now.
func (c *cluster) write(to kafka.BrokerID) func() bool {
	w := c.writers[0]
	w.send(c.node(to))
	value := w.value
	return func() bool { return w.value != value }
}

func (c *cluster) must(ok bool, what string) {
	c.t.Helper()
	if !ok {
		c.failf("%s", what)
	}
}

// power takes a broker's power, with everything that was not flushed.
func (n *node) power() { n.crash(vfs.Cut{Data: vfs.Lose, Names: vfs.Lose}) }

// 1: a follower that restarts before it has heard how far records were committed would cut them off, and be elected.
// Source: KIP-101.
func TestFollowerRestartsAndIsElected(t *testing.T) {
	c := trio(t, nil)
	acked := c.write(1)
	c.node(1).flush()
	c.round(2, 3) // have it, and say so with their next fetch
	c.round(2, 3)
	c.must(acked(), "three in sync have it")
	n := c.node(2)
	c.must(n.p.HighWatermark() < n.p.LocalEnd() || n.p.HighWatermark() == 2, "")
	n.power()
	n.start()
	c.node(1).power()
	c.elect(2)
	c.hear()
	c.checkLeader()
	c.settleDown()
}

// 2: after two changes of leader in quick succession, a follower of the first would keep what neither of the others has.
// Source: KIP-279.
func TestTwoFastLeaderChanges(t *testing.T) {
	c := trio(t, nil)
	c.write(1)
	c.node(1).flush()
	c.round(2, 3)
	// 1 writes what nobody fetches, 2 leads and writes what nobody fetches, 3 leads and writes.
	c.write(1)
	c.node(1).flush()
	c.elect(2, 1)
	c.node(2).hear(len(c.images) - 1)
	c.write(2)
	c.node(2).flush()
	c.elect(3, 2)
	c.node(3).hear(len(c.images) - 1)
	c.write(3)
	c.node(3).flush()
	c.hear()
	for range 3 {
		c.round(1, 2)
	}
	want := c.node(3).records(0)
	for _, n := range c.nodes {
		if got := n.records(0); len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
			c.failf("%d holds %v, the leader %v", n.id, got, want)
		}
	}
	c.settleDown()
}

// 3: a leader or follower of an epoch that is over would move the high watermark. Source: KIP-320.
func TestZombiesAreFenced(t *testing.T) {
	c := trio(t, nil)
	c.write(1)
	c.node(1).flush()
	c.round(2, 3)
	c.node(1).paused = true
	c.elect(2, 1)
	c.hear()
	zombie, leader, follower := c.node(1), c.node(2), c.node(3)
	before := zombie.p.HighWatermark()
	at, _ := follower.p.Position()
	if _, err := zombie.p.ReplicaFetched(Replica{3, follower.epoch}, 2, at); err != ErrUnknownEpoch {
		t.Errorf("a follower of the next leadership asks the last one: %v", err)
	}
	if _, err := leader.p.ReplicaFetched(Replica{3, follower.epoch}, 1, at); err != ErrFencedEpoch {
		t.Errorf("a follower of the last leadership asks the next one: %v", err)
	}
	if _, err := follower.p.AppendFetched(Fetched{Epoch: 1, At: at, HighWatermark: 99}); err != ErrFencedEpoch {
		t.Errorf("an answer of the last leadership: %v", err)
	}
	if zombie.p.HighWatermark() != before || follower.p.HighWatermark() > before {
		t.Errorf("high watermarks %d and %d, were %d", zombie.p.HighWatermark(), follower.p.HighWatermark(), before)
	}
	c.settleDown()
}

// 4: a leader that has lost what it had not flushed would write other records under the same epoch and offsets. Source: KAFKA-10527.
func TestLeaderRestartsWithoutItsTail(t *testing.T) {
	c := trio(t, nil)
	c.write(1) // not flushed
	c.round(2)
	c.must(c.node(2).p.LocalEnd() == 2, "2 has what the leader has not flushed")
	c.node(1).power()
	c.node(1).start() // under an epoch of its own
	c.must(c.node(1).p.LocalEnd() == 0, "the leader has lost it")
	c.write(1)
	c.hear()
	c.settleDown() // note compares what epochs and offsets name
}

// 5: after the in-sync replicas have shrunk to one and that one has lost its power, somebody would lead who lacks acknowledged
// records. Source: KIP-966.
func TestShrunkToOneAndPowerCut(t *testing.T) {
	c := trio(t, nil)
	first := c.write(1)
	c.node(1).flush()
	c.round(2, 3)
	c.round(2, 3)
	c.must(first(), "acknowledged by three")
	c.pass(time.Minute)
	second := c.write(1)
	c.node(1).flush()
	c.node(1).isr(time.Second) // 2 and 3 have fallen behind
	c.node(1).settle(false, false)
	c.hear()
	c.must(!second() && c.node(1).p.HighWatermark() == 2, "one replica is too few to acknowledge")
	c.node(1).power()
	c.elect(kafka.NoBroker)
	leader := c.partition().Leader
	c.must(leader == 2 || leader == 3, "an eligible replica leads")
	c.settleDown()
}

// 6: when all lose their power at once, something that was acknowledged in group mode would be gone.
func TestAllLosePower(t *testing.T) {
	c := trio(t, nil)
	for range 10 {
		c.write(1)
		c.node(1).flush()
		c.round(2, 3)
		c.round(2, 3)
	}
	c.write(1)
	for _, n := range c.nodes {
		n.power()
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.checkLeader()
	c.must(len(c.acked) == 10, "all but the last were acknowledged")
	c.settleDown()
}

// 6: in async mode the same loses records, and would make the logs differ.
func TestAllLosePowerAsync(t *testing.T) {
	c := trio(t, func(s *config.Topic) { s.Async = true })
	for range 10 {
		c.write(1)
		c.round(2, 3)
		c.round(2, 3)
	}
	c.must(len(c.acked) == 10, "acknowledged when written")
	lost := len(c.acked)
	for _, n := range c.nodes {
		n.power()
	}
	c.committed, c.acked = nil, map[kafka.Offset]int64{} // what follows may lack it: that is what async means
	for i, n := range c.nodes {
		if i == 1 {
			n.disk = c.nodes[0].disk.CutNow(vfs.Cut{}) // as if more had come to one disk than to another: nothing has to either
		}
		n.start()
	}
	c.settleDown()
	t.Logf("%d acknowledged records of an async topic were lost to a power cut of all its replicas", lost)
}

// 7: records would be acknowledged without a replica that a change of the ISR, on its way, makes a member; an election then
// takes it for a leader.
func TestISRChangeInFlight(t *testing.T) {
	c := trio(t, nil)
	c.node(3).power()
	c.elect(1)
	c.hear()
	c.node(3).start()
	c.hear()
	c.round(2, 3)
	leader := c.node(1)
	leader.isr(time.Hour)
	c.must(len(leader.proposals) == 1 && len(leader.proposals[0].ISR) == 3, "3 has caught up and is to come in")
	// The change happens, and the leader does not hear of it.
	leader.settle(false, true)
	acked := c.write(1)
	leader.flush()
	c.round(2)
	c.round(2)
	c.must(!acked(), "2 and the leader are not the whole ISR any more")
	leader.power()
	c.elect(3)
	c.must(c.partition().Leader == 3, "3 is a member")
	c.hear()
	c.settleDown()
}

// 8: a replica would come into the ISR by what an earlier process of its broker had fetched. Source: KIP-903.
func TestExpansionWithOldBrokerEpoch(t *testing.T) {
	c := trio(t, nil)
	c.node(3).power()
	c.elect(1)
	c.hear()
	c.node(3).start()
	c.hear()
	c.write(1)
	c.node(1).flush()
	c.round(2, 3)
	c.round(2, 3)
	c.node(1).isr(time.Hour)
	c.must(len(c.node(1).proposals) == 1, "3 has caught up and is to come in")
	c.node(3).power()
	c.node(3).register()
	c.node(1).settle(false, false)
	c.must(len(c.partition().ISR) == 2, "the registration that had caught up is over")
	p := c.node(1).p
	if _, err := p.ReplicaFetched(Replica{3, c.node(3).epoch}, p.LeaderEpoch(), Position{0, kafka.NoEpoch}); err != nil {
		t.Errorf("the new registration fetches: %v", err)
	}
	if _, err := p.ReplicaFetched(Replica{3, c.node(3).epoch - 1}, p.LeaderEpoch(), Position{2, p.LeaderEpoch()}); err != ErrUnknownReplica {
		t.Errorf("the old registration fetches behind it: %v", err)
	}
	c.settleDown()
}

// 9: a leader that was stopped and goes on when another leads would acknowledge what it has taken meanwhile.
func TestPausedLeaderGoesOn(t *testing.T) {
	c := trio(t, nil)
	c.write(1)
	c.node(1).flush()
	c.round(2, 3)
	c.round(2, 3)
	c.node(1).paused = true
	c.elect(2, 1)
	c.hear()
	late := c.write(1) // its socket had it
	c.node(1).flush()
	c.round(3)
	c.must(!late() && c.node(1).p.HighWatermark() == 2, "nobody follows it any more")
	c.must(c.write(2)() == false, "the producer goes to the new leader")
	c.node(2).flush()
	c.round(3)
	c.round(3)
	c.node(1).paused = false
	c.node(1).flush()
	c.must(c.node(1).p.HighWatermark() == 2, "and it learns nothing by waking up")
	c.hear()
	c.settleDown()
}

// 10: a batch that is sent again after its leader was killed would be in the log twice, or be answered with another offset.
func TestRetryAcrossFailover(t *testing.T) {
	c := trio(t, nil)
	for range 3 {
		acked := c.write(1)
		c.node(1).flush()
		c.round(2, 3)
		c.round(2, 3)
		c.must(acked(), "acknowledged by three")
	}
	w := c.writers[0]
	at := c.node(1).p.LocalEnd()
	c.write(1)
	c.node(1).flush()
	c.round(2, 3) // replicated, not acknowledged
	value := w.value
	c.node(1).crash(vfs.Cut{})
	c.elect(3)
	c.hear()
	c.write(3)
	c.node(3).flush()
	c.round(2)
	c.round(2)
	c.must(c.acked[at] == value && c.node(3).p.LocalEnd() == at+2, "it was answered with its first offset")
	// Also by a leader that has rebuilt its state after a truncation.
	c.node(1).start()
	c.hear()
	c.round(1)
	c.round(1)
	c.node(3).isr(time.Hour)
	c.node(3).settle(false, false)
	c.node(3).crash(vfs.Cut{})
	c.elect(2)
	c.hear()
	w.sequence, w.value = w.sequence-2, value
	delete(c.acked, at)
	c.write(2)
	c.round(1)
	c.round(1)
	c.must(c.acked[at] == value, "and by the third leader, too")
	c.settleDown()
}

// 17: a damaged segment on one replica would be served, or its broker lead; or what it lacks would never come back.
func TestDamagedReplicaIsRepaired(t *testing.T) {
	c := trio(t, func(s *config.Topic) { s.SegmentBytes = 300 })
	for range 10 {
		c.write(1)
		c.node(1).flush()
		c.round(2, 3)
		c.round(2, 3)
	}
	n := c.node(3)
	segments := n.p.Log().Local().Segments()
	n.p.Log().Hot().ReportDamage(segments[1].Base, ErrCorruptBatch)
	c.must(n.p.Damage() != nil, "a scan has found a flipped bit")
	// It leaves the ISR before it gives anything up, and is then another new replica.
	p := c.partition()
	c.apply(command.AlterISR{Changes: []command.ISRChange{{
		Partition: c.id, LeaderEpoch: p.LeaderEpoch, Expected: p.PartitionEpoch, ISR: []command.ISRMember{{ID: 1}, {ID: 2}},
	}}})
	c.hear()
	_, epoch, _ := n.p.Following()
	if err := n.p.Rebase(t.Context(), epoch); err != nil || n.p.Damage() != nil {
		t.Fatalf("begin anew: %v, damage %v", err, n.p.Damage())
	}
	c.settleDown()
	c.must(len(c.partition().ISR) == 3, "and is in sync again")
}
