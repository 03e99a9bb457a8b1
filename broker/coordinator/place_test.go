package coordinator

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// two are a quorum and two coordinators, of the brokers 1 and 2; 1 has all shards.
func two(t *testing.T) (q *fakeQuorum, one, other *Coordinator, stop func()) {
	q, one, stopOne := rig(t, DefaultConfig())
	cfg := DefaultConfig()
	cfg.Node = 2
	other, stopOther := running(t, cfg, q)
	synctest.Wait()
	return q, one, other, func() { stopOther(); stopOne() }
}

// A move costs members no rebalance and no commit: at the new coordinator they go on in their generation, the group is not
// written again, and the old one sends everybody away.
func TestMoveCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, one, other, stop := two(t)
		defer stop()
		id := q.topic("t", 1)
		who := alone(t, one, "g")
		if _, err := commit(one, "g", who, at(id, 0, 5)); err != nil {
			t.Fatal(err)
		}
		if err := other.Heartbeat("g", who); !errors.Is(err, ErrNotCoordinator) {
			t.Fatalf("before the move: %v", err)
		}
		q.place(2)
		synctest.Wait()
		if err := other.Heartbeat("g", who); err != nil {
			t.Fatal(err)
		}
		s := sync_(other, "g", group.SyncRequest{MemberID: who.MemberID, Generation: who.Generation})
		if s.Err != nil || string(s.Assignment) != "all" || q.count(command.KindPutGroup) != 1 {
			t.Fatalf("%+v, the group was written %d times", s, q.count(command.KindPutGroup))
		}
		if _, err := commit(other, "g", who, at(id, 0, 6)); err != nil {
			t.Fatal(err)
		}
		if o, _ := q.Image().Offset("g", kafka.Partition{Topic: id}); o.Offset != 6 {
			t.Errorf("%+v", o)
		}
		if err := one.Serves("g"); !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("old coordinator: %v", err)
		}
		if ls, err := one.List(); err != nil || len(ls) != 0 {
			t.Errorf("old coordinator lists %v, %v", ls, err)
		}
		if ls, err := other.List(); err != nil || len(ls) != 1 {
			t.Errorf("new coordinator lists %v, %v", ls, err)
		}
		if one.groups.Load() != 0 || len(one.timers.heap) != 0 {
			t.Errorf("%d groups are left", one.groups.Load())
		}
	})
}

// Who waits at a coordinator whose groups move away is sent to look for the new one, and what it still decides is refused.
func TestMoveSendsEverybodyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, one, other, stop := two(t)
		defer stop()
		id := q.topic("t", 1)
		who := alone(t, one, "g")
		q.every(time.Second)
		time.Sleep(time.Second)
		joins := make(chan group.JoinResult, 1)
		one.Join("parked", ask(""), func(j group.JoinResult) { joins <- j })
		late := make(chan error, 1)
		one.Commit("g", who, []command.OffsetCommit{at(id, 0, 7)}, func(_ []kafka.Partition, err error) { late <- err })
		q.place(2) // applied before the commits
		if j := <-joins; !errors.Is(j.Err, ErrNotCoordinator) {
			t.Errorf("parked join: %+v", j)
		}
		if err := <-late; !errors.Is(err, image.ErrNotCoordinator) {
			t.Errorf("commit that was on its way: %v", err)
		}
		q.every(time.Millisecond)
		if err := other.Heartbeat("g", who); err != nil {
			t.Error(err)
		}
		if _, ok := q.Image().Offset("g", kafka.Partition{Topic: id}); ok {
			t.Error("a commit of the old coordinator was applied")
		}
	})
}

// A broker that is cut off serves nothing of what it coordinated, until it hears from the cluster again.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leased := true
		cfg := DefaultConfig()
		cfg.Leased = func() bool { return leased }
		q, c, stop := rig(t, cfg)
		defer stop()
		id := q.topic("t", 1)
		synctest.Wait()
		who := alone(t, c, "g")
		leased = false
		_, commits := commit(c, "g", who, at(id, 0, 5))
		for what, err := range map[string]error{"heartbeat": c.Heartbeat("g", who), "serves": c.Serves("g"), "commit": commits, "join": join(c, "g", ask("")).Err} {
			if !errors.Is(err, ErrCutOff) {
				t.Errorf("%s: %v", what, err)
			}
		}
		leased = true
		if err := c.Heartbeat("g", who); err != nil {
			t.Error(err)
		}
	})
}
