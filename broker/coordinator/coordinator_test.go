package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/hush"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Before the quorum is ready everything is refused as loading, but heartbeats, which are answered blindly; after Run
// has ended everything is refused as stopped, and what was parked is answered.
func TestPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQuorum(t)
		q.ready = make(chan struct{})
		cfg := DefaultConfig()
		cfg.Node = 1
		c := New(cfg, q, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		if j := join(c, "g", ask("")); !errors.Is(j.Err, ErrLoading) {
			t.Fatalf("join while loading: %v", j.Err)
		}
		if _, err := commit(c, "g", nobody()); !errors.Is(err, ErrLoading) {
			t.Fatalf("commit while loading: %v", err)
		}
		if err := c.Heartbeat("g", group.Identity{MemberID: "x"}); err != nil {
			t.Fatalf("heartbeat while loading: %v", err)
		}
		if _, err := c.List(); !errors.Is(err, ErrLoading) {
			t.Fatalf("list while loading: %v", err)
		}
		close(q.ready)
		synctest.Wait()
		parked := make(chan group.JoinResult, 1)
		c.Join("g", ask(""), func(j group.JoinResult) { parked <- j })
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if j := <-parked; !errors.Is(j.Err, ErrStopped) {
			t.Fatalf("parked join: %v", j.Err)
		}
		if j := join(c, "g", ask("")); !errors.Is(j.Err, ErrStopped) {
			t.Fatalf("join after the end: %v", j.Err)
		}
	})
}

// A commit is answered when it is applied, not before, and shows in the image then.
func TestCommitIsAnsweredWhenApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id := q.topic("t", 2)
		q.every(time.Second)
		synctest.Wait()
		var answered atomic.Bool
		c.Commit("g", nobody(), []command.OffsetCommit{at(id, 0, 7), at(id, 9, 7)}, func(gone []kafka.Partition, err error) {
			answered.Store(true)
			if o, ok := q.Image().Offset("g", kafka.Partition{Topic: id}); !ok || o.Offset != 7 || err != nil {
				t.Errorf("answered with %v, image has %+v", err, o)
			}
			if len(gone) != 1 || gone[0].Index != 9 {
				t.Errorf("partitions that do not exist: %v", gone)
			}
		})
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if answered.Load() {
			t.Fatal("answered before it was applied")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if !answered.Load() {
			t.Fatal("not answered")
		}
	})
}

// A commit larger than a command becomes several, and is answered once, after all of them.
func TestLargeCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id := q.topic("t", 200)
		synctest.Wait()
		var os []command.OffsetCommit
		for i := range int32(200) {
			o := at(id, i, 5)
			o.Metadata = strings.Repeat("m", 4096)
			os = append(os, o)
		}
		if gone, err := commit(c, "g", nobody(), os...); err != nil || gone != nil {
			t.Fatal(gone, err)
		}
		n := 0
		q.Image().Offsets("g", func(*image.Offset) bool { n++; return true })
		if n != 200 || q.count(command.KindCommitOffsets) < 4 {
			t.Fatalf("%d offsets in %d commands", n, q.count(command.KindCommitOffsets))
		}
	})
}

// Errors of the quorum reach clients as "not available", of a commit whose group does not exist as "not found", and
// too much in flight as "loading", upon which clients retry.
func TestCommitErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.MaxInFlight = 1
		q, c, stop := rig(t, cfg)
		defer stop()
		id := q.topic("t", 1)
		synctest.Wait()
		if _, err := commit(c, "g", group.Identity{MemberID: "x", Generation: 1}, at(id, 0, 1)); !errors.Is(err, group.ErrNotFound) {
			t.Fatalf("member of no group: %v", err)
		}
		q.setDown(true)
		if _, err := commit(c, "g", nobody(), at(id, 0, 1)); !errors.Is(err, group.ErrNotAvailable) {
			t.Fatalf("quorum down: %v", err)
		}
		q.setDown(false)
		first := make(chan error, 1)
		c.Commit("g", nobody(), []command.OffsetCommit{at(id, 0, 1)}, func(_ []kafka.Partition, err error) { first <- err })
		if _, err := commit(c, "g", nobody(), at(id, 0, 2)); !errors.Is(err, ErrLoading) {
			t.Fatalf("too much in flight: %v", err)
		}
		if err := <-first; err != nil {
			t.Fatal(err)
		}
	})
}

// Names that no honest client has are refused; the empty name may hold offsets, as Kafka allows, and nothing else.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id := q.topic("t", 1)
		synctest.Wait()
		for _, name := range []string{"", strings.Repeat("n", MaxNameBytes+1), "\xff"} {
			if j := join(c, name, ask("")); !errors.Is(j.Err, group.ErrInvalidGroupID) {
				t.Errorf("join %.10q: %v", name, j.Err)
			}
			if err := c.Heartbeat(name, group.Identity{}); !errors.Is(err, group.ErrInvalidGroupID) {
				t.Errorf("heartbeat %.10q: %v", name, err)
			}
			_, err := commit(c, name, nobody(), at(id, 0, 1))
			if name == "" && err != nil || name != "" && !errors.Is(err, group.ErrInvalidGroupID) {
				t.Errorf("commit %.10q: %v", name, err)
			}
		}
	})
}

// After a restart members go on in the same generation: no rebalance, no new assignment, sessions begin at the load.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQuorum(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.run(ctx)
		c, stop := running(t, DefaultConfig(), q)
		synctest.Wait()
		who := alone(t, c, "g")
		stop()
		time.Sleep(time.Hour)
		c, stop = running(t, DefaultConfig(), q)
		defer stop()
		synctest.Wait()
		time.Sleep(9 * time.Second)
		if err := c.Heartbeat("g", who); err != nil {
			t.Fatal(err)
		}
		if s := sync_(c, "g", group.SyncRequest{MemberID: who.MemberID, Generation: who.Generation}); s.Err != nil || string(s.Assignment) != "all" {
			t.Fatalf("%+v", s)
		}
		if n := q.count(command.KindPutGroup); n != 1 {
			t.Fatalf("the group was stored %d times", n)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if err := c.Heartbeat("g", who); !errors.Is(err, group.ErrUnknownMember) {
			t.Fatalf("after its session: %v", err)
		}
	})
}

// A group by mere joins is gone from memory when its members are, and leaves nothing in the image.
func TestJoinsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.MaxGroups = 100
		q, c, stop := rig(t, cfg)
		defer stop()
		synctest.Wait()
		refused := 0
		for i := range 150 {
			r := ask("")
			r.RequireKnownID = i%2 == 0
			c.Join(fmt.Sprint("g", i), r, func(j group.JoinResult) {
				if errors.Is(j.Err, ErrLoading) {
					refused++
				}
			})
		}
		if n := c.groups.Load(); n != 100 || refused != 50 {
			t.Fatalf("%d groups in memory, %d refused", n, refused)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := c.groups.Load(); n != 0 || len(c.timers.heap) != 0 {
			t.Fatalf("%d groups, %d deadlines are left", n, len(c.timers.heap))
		}
		left := 0
		q.Image().Groups(func(*image.Group) bool { left++; return true })
		if left != 0 || q.count(command.KindPutGroup) != 0 {
			t.Fatalf("%d groups in the image, %d were written", left, q.count(command.KindPutGroup))
		}
	})
}

// Who may be deleted: empty groups, with their offsets; a name is free again once that is answered.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id := q.topic("t", 1)
		synctest.Wait()
		if err := remove(c, "g"); !errors.Is(err, group.ErrNotFound) {
			t.Fatalf("no group: %v", err)
		}
		who := alone(t, c, "g")
		if _, err := commit(c, "g", who, at(id, 0, 3)); err != nil {
			t.Fatal(err)
		}
		if err := remove(c, "g"); !errors.Is(err, group.ErrNonEmpty) {
			t.Fatalf("with a member: %v", err)
		}
		if each, err := c.Leave("g", []group.Leaver{{MemberID: who.MemberID}}); err != nil || each[0] != nil {
			t.Fatal(each, err)
		}
		q.setDown(true)
		if err := remove(c, "g"); !errors.Is(err, group.ErrNotAvailable) {
			t.Fatalf("quorum down: %v", err)
		}
		q.setDown(false)
		q.every(time.Second)
		gone := make(chan error, 1)
		c.Delete("g", func(err error) { gone <- err })
		if j := join(c, "g", ask("")); !errors.Is(j.Err, group.ErrNotAvailable) {
			t.Fatalf("join while it is deleted: %v", j.Err)
		}
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		if _, ok := q.Image().Group("g"); ok {
			t.Fatal("still there")
		}
		if _, err := c.Describe("g"); !errors.Is(err, group.ErrNotFound) {
			t.Fatalf("describe: %v", err)
		}
		if j := join(c, "g", ask("")); j.Err != nil || j.Generation != 1 {
			t.Fatalf("joined %+v", j)
		}
	})
}

// A simple group, of offsets alone, can be described, listed and deleted.
func TestSimpleGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id := q.topic("t", 1)
		synctest.Wait()
		if _, err := commit(c, "simple", nobody(), at(id, 0, 3)); err != nil {
			t.Fatal(err)
		}
		alone(t, c, "busy")
		time.Sleep(2 * linger)
		synctest.Wait()
		if d, err := c.Describe("simple"); err != nil || d.State != group.Empty || d.Type != "" {
			t.Fatalf("%+v, %v", d, err)
		}
		// busy's member is gone by now; its group is in the image alone, like simple.
		ls, err := c.List()
		if err != nil || len(ls) != 2 || ls[0] != (Listed{"busy", "consumer", "Empty", "classic"}) || ls[1] != (Listed{"simple", "", "Empty", "classic"}) {
			t.Fatalf("%+v, %v", ls, err)
		}
		if n := c.groups.Load(); n != 0 {
			t.Fatalf("%d groups in memory", n)
		}
		if err := remove(c, "simple"); err != nil {
			t.Fatal(err)
		}
	})
}

// KIP-496: offsets of topics that a group consumes stay; of others they go; of an empty group all may go.
func TestDeleteOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		id, other := q.topic("t", 1), q.topic("other", 1)
		synctest.Wait()
		who := alone(t, c, "g")
		if _, err := commit(c, "g", who, at(id, 0, 3), at(other, 0, 3)); err != nil {
			t.Fatal(err)
		}
		ts := []TopicOffsets{{"t", []kafka.Partition{{Topic: id}}}, {"other", []kafka.Partition{{Topic: other}}}}
		each, err := deleteOffsets(c, "g", ts...)
		if err != nil || !errors.Is(each[0], group.ErrSubscribed) || each[1] != nil {
			t.Fatal(each, err)
		}
		if _, ok := q.Image().Offset("g", kafka.Partition{Topic: id}); !ok {
			t.Fatal("offset of a consumed topic is gone")
		}
		if _, ok := q.Image().Offset("g", kafka.Partition{Topic: other}); ok {
			t.Fatal("offset of the other topic is left")
		}
		if _, err := deleteOffsets(c, "none", ts...); !errors.Is(err, group.ErrNotFound) {
			t.Fatal(err)
		}
	})
}

// Offsets go when the group has been empty, or for a simple group uncommitted, for the retention; then the group goes.
// Members keep what they consume for ever; a committer's own retention counts instead of the broker's.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.OffsetsRetention = 24 * time.Hour
		q, c, stop := rig(t, cfg)
		defer stop()
		id, other := q.topic("t", 4), q.topic("other", 1)
		synctest.Wait()
		who := alone(t, c, "g")
		if _, err := commit(c, "g", who, at(id, 0, 3), at(other, 0, 3)); err != nil {
			t.Fatal(err)
		}
		short := at(id, 1, 1)
		short.ExpireMs = time.Now().Add(time.Hour).UnixMilli()
		if _, err := commit(c, "simple", nobody(), at(id, 0, 1), short); err != nil {
			t.Fatal(err)
		}
		has := func(name string, id kafka.TopicID, index int32, want bool) {
			t.Helper()
			synctest.Wait()
			if _, ok := q.Image().Offset(name, kafka.Partition{Topic: id, Index: index}); ok != want {
				t.Errorf("offset of %s in partition %d: %v, want %v", name, index, ok, want)
			}
		}
		live := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				if err := c.Heartbeat("g", who); err != nil {
					t.Fatal(err)
				}
			}
		}
		live(90 * time.Minute)
		has("simple", id, 0, true)
		has("simple", id, 1, false)
		live(23 * time.Hour)
		has("simple", id, 0, false)
		has("g", id, 0, true)
		has("g", other, 0, false) // not consumed, and committed a day ago
		if _, ok := q.Image().Group("simple"); ok {
			t.Error("a group without offsets and members is left")
		}
		time.Sleep(23 * time.Hour) // empty for less than a day
		has("g", id, 0, true)
		time.Sleep(80 * time.Minute)
		has("g", id, 0, false)
		if _, ok := q.Image().Group("g"); ok {
			t.Error("the group is left")
		}
	})
}

// A thousand members make one group without strain: one write for a generation, and an idle hour of heartbeats writes nothing.
func TestThousandMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := rig(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		joins := make(chan group.JoinResult, 1000)
		for range 1000 {
			c.Join("g", ask(""), func(j group.JoinResult) { joins <- j })
		}
		syncs := make(chan group.SyncResult, 1000)
		var ids []string
		for range 1000 {
			j := <-joins
			if j.Err != nil || j.Generation != 1 {
				t.Fatalf("%+v", j)
			}
			r := group.SyncRequest{MemberID: j.MemberID, Generation: 1}
			for _, m := range j.Members {
				r.Assignments = append(r.Assignments, group.Assignment{MemberID: m.ID, Data: []byte(m.ID)})
			}
			ids = append(ids, j.MemberID)
			c.Sync("g", r, func(s group.SyncResult) { syncs <- s })
		}
		for range 1000 {
			if s := <-syncs; s.Err != nil || len(s.Assignment) == 0 {
				t.Fatalf("%+v", s)
			}
		}
		for range 100 {
			time.Sleep(5 * time.Second)
			for _, id := range ids {
				if err := c.Heartbeat("g", group.Identity{MemberID: id, Generation: 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := q.count(command.KindPutGroup); n != 1 {
			t.Fatalf("%d writes", n)
		}
	})
}

// A heartbeat of a stable group, with others beside it.
func BenchmarkHeartbeat(b *testing.B) {
	_, c, stop := rig(b, DefaultConfig())
	defer stop()
	for c.Serving() != nil {
	}
	c.cfg.Limits.InitialDelay = 0
	who := alone(b, c, "g")
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Heartbeat("g", who); err != nil {
			b.Fatal(err)
		}
	}
}

// A client whose members come and go in a loop would fill the disk with lines.
func TestMembersInALoopAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay = 0
		c, stop := running(t, cfg, newFakeQuorum(t))
		defer stop()
		synctest.Wait()
		var log bytes.Buffer
		c.said = hush.NewUpTo(eventLines, slog.New(slog.NewTextHandler(&log, nil)))
		const many = 3 * eventLines
		for i := range many {
			r := ask("")
			r.Rebalance = time.Millisecond // and it does not sync
			if j := join(c, fmt.Sprint("g", i), r); j.Err != nil {
				t.Fatal(j.Err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.said.Flush()
		if n := strings.Count(log.String(), "group member failed"); n != eventLines+1 {
			t.Errorf("%d lines, want %d and one that sums up", n, eventLines)
		}
		if !strings.Contains(log.String(), fmt.Sprint("lines=", many-eventLines, " addresses=0")) {
			t.Error("what was left out is not counted")
		}
	})
}
