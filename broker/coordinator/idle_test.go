package coordinator

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/group"
)

// Ten thousand groups with a member each cost a few kilobytes and one deadline a group.
func TestTenThousandGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay = 0
		_, c, stop := rig(t, cfg)
		defer stop()
		synctest.Wait()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 10_000
		for i := range n {
			name := fmt.Sprint("group-", i)
			c.Join(name, ask(""), func(j group.JoinResult) {
				r := group.SyncRequest{MemberID: j.MemberID, Generation: j.Generation, Assignments: []group.Assignment{{MemberID: j.MemberID, Data: []byte("all")}}}
				c.Sync(name, r, func(s group.SyncResult) {
					if s.Err != nil {
						t.Errorf("%s: %v", name, s.Err)
					}
				})
			})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
		t.Logf("%d bytes for each of %d groups, their image included", each, n)
		if c.groups.Load() != n || each > 8<<10 {
			t.Errorf("%d groups, %d bytes each", c.groups.Load(), each)
		}
		if got := len(c.timers.heap); got != n {
			t.Errorf("%d deadlines for %d groups", got, n)
		}
	})
}
