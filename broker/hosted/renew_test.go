package hosted

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/vfs"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A replica whose files the disk does not give any more would stay offline for ever although others have the partition; or be thrown away
// while it may be the best copy that there is, or when the disk gives it the next time.
func TestUnreadableReplicaBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCluster(t)
		w.do(topic(1, []kafka.BrokerID{1, 2}))
		p := id(1, 0)
		w.produce(p)
		w.close()
		aside := filepath.Join("/data", p.Topic.String(), "0", "quarantine")
		fails := func(op vfs.Op) error {
			if strings.HasSuffix(op.Path, ".log") && !strings.HasPrefix(op.Path, aside) && (op.Kind == vfs.KindRead || op.Kind == vfs.KindOpen) {
				return syscall.EIO
			}
			return nil
		}
		offline := func(when string) {
			t.Helper()
			if len(w.set.Failed()) != 1 || w.set.Get(p) != nil {
				t.Fatalf("%s: failed %v", when, w.set.Failed())
			}
			if _, err := w.fs.Stat(aside); err == nil {
				t.Fatalf("%s: it was set aside", when)
			}
		}
		w.fs.SetHook(fails)
		w.restart()
		w.wait()
		offline("it leads")
		w.do(w.elect(p, 2, 1, 2))
		w.wait()
		offline("it is in sync")
		now, _ := w.image.Partition(p)
		two, _ := w.image.Broker(2)
		w.do(command.AlterISR{Changes: []command.ISRChange{{
			Partition: p, LeaderEpoch: now.LeaderEpoch, Expected: now.PartitionEpoch, ISR: []command.ISRMember{{ID: 2, Epoch: two.Epoch}},
		}}})
		w.close() // the disk gives it again just now
		w.fs.SetHook(nil)
		w.restart()
		if got := w.set.Get(p); got == nil || got.LocalEnd() != 1 {
			t.Fatalf("failed %v", w.set.Failed())
		}
		w.close()
		w.fs.SetHook(fails)
		w.restart()
		defer w.close()
		offline("before it was tried again")
		w.wait()
		got := w.set.Get(p)
		if got == nil || got.LocalEnd() != 0 || len(w.set.Failed()) != 0 {
			t.Fatalf("others have it: failed %v", w.set.Failed())
		}
		if leader, _, follows := got.Following(); !follows || leader != 2 {
			t.Errorf("it follows %d", leader)
		}
		if _, err := w.fs.Stat(filepath.Join(aside, "00000000000000000000.log")); err != nil {
			t.Error(err)
		}
	})
}
