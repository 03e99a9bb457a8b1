package hosted

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/hot"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// register adds a broker to the image, fenced.
func (w *world) register(node kafka.BrokerID) {
	w.t.Helper()
	w.commit(command.RegisterBroker{ID: node, Incarnation: kafka.NewTopicID(), Fenced: true})
}

// activate makes it active, and shows the set what has happened meanwhile.
func (w *world) activate(node kafka.BrokerID) {
	w.t.Helper()
	b, _ := w.image.Broker(node)
	w.do(command.SetBrokerState{ID: node, Epoch: b.Epoch, State: command.Active})
}

// elect gives a partition the lead and the in-sync replicas.
func (w *world) elect(p kafka.Partition, leader kafka.BrokerID, isr ...kafka.BrokerID) command.Command {
	now, _ := w.image.Partition(p)
	return command.ElectLeaders{Elections: []command.Election{{Partition: p, Leader: leader, ISR: isr, Expected: now.PartitionEpoch}}}
}

// move takes a partition from node 1 to 2 and 3.
func (w *world) move(p kafka.Partition) {
	w.t.Helper()
	w.commit(w.elect(p, 2, 1, 2))
	now, _ := w.image.Partition(p)
	w.commit(command.AssignReplicas{Changes: []command.Assignment{{Partition: p, Target: []kafka.BrokerID{2, 3}, Expected: now.PartitionEpoch}}})
	now, _ = w.image.Partition(p)
	three, _ := w.image.Broker(3)
	w.commit(command.AlterISR{Changes: []command.ISRChange{{
		Partition: p, LeaderEpoch: now.LeaderEpoch, Expected: now.PartitionEpoch,
		ISR: []command.ISRMember{{ID: 2}, {ID: 3, Epoch: three.Epoch}},
	}}})
	now, _ = w.image.Partition(p)
	w.commit(command.FinishAssignments{Changes: []command.Finish{{Partition: p, Leader: 2, Expected: now.PartitionEpoch}}})
	if now, _ := w.image.Partition(p); !slices.Equal(now.Replicas, []kafka.BrokerID{2, 3}) {
		w.t.Fatalf("not moved: %+v", now)
	}
}

// onDisk are the partitions of topic 1 that have a directory.
func (w *world) onDisk() []string {
	w.t.Helper()
	names, err := w.fs.ReadDir("/data/" + id(1, 0).Topic.String())
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) finds(want ...string) {
	w.t.Helper()
	if got := w.onDisk(); !slices.Equal(got, want) {
		w.t.Errorf("on the disk are %v, want %v", got, want)
	}
}

// restart starts the set anew with an image of which it has seen nothing.
func (w *world) restart() {
	w.t.Helper()
	w.start()
	var found []kafka.Partition
	for _, name := range w.onDisk() {
		var i int32
		if _, err := fmt.Sscan(name, &i); err == nil {
			found = append(found, id(1, i))
		}
	}
	w.set.Found(found)
	w.set.Load(w.t.Context(), w.image)
}

// newCluster is a world of three active brokers.
func newCluster(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for node := range kafka.BrokerID(3) {
		w.register(node + 1)
		w.activate(node + 1)
	}
	return w
}

// wait lets the set look at strays.
func (w *world) wait() {
	time.Sleep(retryEvery)
	synctest.Wait()
}

// A partition that was moved away while its broker was down would stay on its disk for ever; or go before the broker knows
// that it is not needed, while nobody leads it, or although it holds what the metadata has forgotten. Or one would go that is
// a replica's.
func TestStraysAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		both := []kafka.BrokerID{1, 2}
		w.do(topic(1, both, both, both))
		for i := range int32(3) {
			w.produce(id(1, i))
		}
		w.close()
		w.move(id(1, 0))
		w.move(id(1, 1))
		w.commit(w.elect(id(1, 1), kafka.NoBroker, 2))
		w.register(1)
		w.restart()
		defer w.close()
		w.wait()
		w.finds("0", "1", "2") // the broker is not active
		w.activate(1)
		w.wait()
		w.finds("1", "2") // nobody leads 1
		w.do(w.elect(id(1, 1), 2, 2))
		w.wait()
		w.finds("2")
		if w.set.Get(id(1, 2)) == nil {
			t.Error("a replica is not hosted")
		}
	})
}

// A stray would be removed that became a replica again before the broker looked at it.
func TestStrayComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.do(topic(1, []kafka.BrokerID{1, 2}))
		w.produce(id(1, 0))
		w.close()
		w.move(id(1, 0))
		w.register(1)
		w.restart()
		defer w.close()
		now, _ := w.image.Partition(id(1, 0))
		w.do(command.AssignReplicas{Changes: []command.Assignment{{Partition: now.Partition, Target: []kafka.BrokerID{2, 1}, Expected: now.PartitionEpoch}}})
		w.activate(1)
		w.wait()
		w.finds("0")
		if p := w.set.Get(id(1, 0)); p == nil || p.LocalEnd() != 1 {
			t.Error("what was there is lost")
		}
	})
}

// A stray that holds records of a leader that the image does not know of would be removed: older metadata was restored, and
// it may be the only copy.
func TestStrayOfLaterLeaderStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.do(topic(1, []kafka.BrokerID{2, 3}))
		restored, index := w.image, w.index
		p := id(1, 0)
		now, _ := w.image.Partition(p)
		w.do(command.AssignReplicas{Changes: []command.Assignment{{Partition: p, Target: []kafka.BrokerID{1, 2, 3}, Expected: now.PartitionEpoch}}})
		now, _ = w.image.Partition(p)
		one, _ := w.image.Broker(1)
		w.do(command.AlterISR{Changes: []command.ISRChange{{
			Partition: p, LeaderEpoch: now.LeaderEpoch, Expected: now.PartitionEpoch,
			ISR: []command.ISRMember{{ID: 2}, {ID: 3}, {ID: 1, Epoch: one.Epoch}},
		}}})
		w.do(w.elect(p, 1, 1))
		if r := w.produce(p); r.Err != nil {
			t.Fatal(r.Err)
		}
		w.close()
		w.image, w.index = restored, index
		w.restart()
		defer w.close()
		w.wait()
		w.finds("0")
	})
}

// A partition whose storage had failed when it was moved away would be tried and reported for ever, or stay on the disk.
func TestFailedPartitionMovesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.do(topic(1, []kafka.BrokerID{1, 2}))
		w.produce(id(1, 0))
		w.close()
		w.fs.SetHook(func(op vfs.Op) error {
			if strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
			return nil
		})
		w.restart()
		defer w.close()
		if len(w.set.Failed()) != 1 {
			t.Fatalf("failed %v", w.set.Failed())
		}
		w.fs.SetHook(nil)
		before := w.image
		w.move(id(1, 0))
		w.set.Apply(t.Context(), w.image, image.Diff(before, w.image))
		if len(w.set.Failed()) != 0 {
			t.Errorf("failed %v", w.set.Failed())
		}
		w.wait()
		w.finds()
	})
}

// A crash in the middle of the removal would leave something that the next start trips over, or that stays; or harm others.
func TestCrashWhileStrayIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		both := []kafka.BrokerID{1, 2}
		w.do(topic(1, both, both))
		w.produce(id(1, 0))
		w.produce(id(1, 1))
		w.close()
		w.move(id(1, 0))
		w.restart()
		before := w.disk.Ops()
		w.wait()
		after := w.disk.Ops()
		w.finds("1")
		if after == before {
			t.Fatal("nothing was done")
		}
		disk := w.disk
		w.close()
		for k := before; k <= after; k++ {
			for _, cut := range []vfs.Cut{{}, {Data: vfs.Lose, Names: vfs.Lose}, {Data: vfs.Tear, Names: vfs.Shuffle, Seed: uint64(k)}} {
				w.disk = disk.CutAt(k, cut)
				w.fs = vfs.NewFaulty(w.disk)
				if err := hot.RemoveDeleted(w.fs, "/data"); err != nil {
					t.Fatal(err)
				}
				w.restart()
				w.wait()
				w.finds("1")
				if p := w.set.Get(id(1, 1)); p == nil || p.LocalEnd() != 1 {
					t.Errorf("cut at %d (%v): the other partition has lost something", k, cut)
				}
				w.close()
			}
		}
	})
}
