package coordinator

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/streams"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
)

func streamsJoin(id, process string) streams.Heartbeat {
	return streams.Heartbeat{
		MemberID: id, Process: &process, ClientID: "client", RebalanceMs: 60_000, EndpointEpoch: -1,
		Topology: &streams.Topology{Subtopologies: []streams.Subtopology{{ID: "0", Sources: []string{"t"}}}},
		Owned:    streams.Owned{HasActive: true, HasStandby: true, HasWarmup: true},
	}
}

// streamsBeat says what the member has; nil: as before.
func streamsBeat(id string, epoch int32, has []int32) streams.Heartbeat {
	h := streams.Heartbeat{MemberID: id, Epoch: epoch, ClientID: "client", RebalanceMs: -1}
	if has != nil {
		h.Owned = streams.Owned{HasActive: true, HasStandby: true, HasWarmup: true, Active: []streams.TaskIDs{{Subtopology: "0", Partitions: has}}}
	}
	return h
}

func streamsSay(c *Coordinator, name string, h streams.Heartbeat) streams.Reply {
	ch := make(chan streams.Reply, 1)
	c.StreamsHeartbeat(name, &h, func(r streams.Reply) { ch <- r })
	return <-ch
}

func toldTasks(t *testing.T, r streams.Reply, epoch int32, tasks ...int32) {
	t.Helper()
	var got []int32
	for _, task := range r.Assignment.Active {
		got = append(got, task.Index)
	}
	if r.Err != nil || r.Epoch != epoch || !slices.Equal(got, tasks) {
		t.Fatalf("%+v, want epoch %d and %v", r, epoch, tasks)
	}
}

// A streams group is formed when its first members have waited for each other, hands tasks over, moves to another coordinator and back without
// anybody beginning anew, and is gone from memory when nobody is in it.
func TestStreamsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := leveled(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		q.topic("t", 4)
		r := streamsSay(c, "g", streamsJoin("m1", "p1"))
		toldTasks(t, r, 1)
		if len(r.Status) != 1 || r.Status[0].Code != streams.AssignmentDelayed {
			t.Fatalf("%+v", r)
		}
		if ig, ok := q.Image().Group("g"); !ok || ig.Type != "streams" || ig.Version == 0 {
			t.Fatalf("%+v", ig)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		toldTasks(t, streamsSay(c, "g", streamsBeat("m1", 1, nil)), 2, 0, 1, 2, 3)
		time.Sleep(2 * time.Second)
		toldTasks(t, streamsSay(c, "g", streamsJoin("m2", "p2")), 3)
		toldTasks(t, streamsSay(c, "g", streamsBeat("m1", 2, nil)), 2, 0, 1)
		toldTasks(t, streamsSay(c, "g", streamsBeat("m1", 2, []int32{0, 1})), 3)

		q.place(2)
		synctest.Wait()
		if r := streamsSay(c, "g", streamsBeat("m2", 3, nil)); !errors.Is(r.Err, ErrNotCoordinator) {
			t.Fatalf("%+v", r)
		}
		q.place(1)
		synctest.Wait()
		toldTasks(t, streamsSay(c, "g", streamsBeat("m2", 3, nil)), 3, 2, 3)
		d, err := c.StreamsDescribe("g")
		if err != nil || d.State != streams.Stable || d.Epoch != 3 || len(d.Members) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
		if ls, err := c.List(); err != nil || len(ls) != 1 || ls[0] != (Listed{"g", "streams", "Stable", "streams"}) {
			t.Fatalf("%+v, %v", ls, err)
		}
		before := q.count(command.KindChangeGroup)
		for range 10 {
			time.Sleep(5 * time.Second)
			toldTasks(t, streamsSay(c, "g", streamsBeat("m1", 3, nil)), 3)
			toldTasks(t, streamsSay(c, "g", streamsBeat("m2", 3, nil)), 3)
		}
		if q.count(command.KindChangeGroup) != before {
			t.Fatal("heartbeats were written")
		}
		if c.MayFetch("g", "m1", 3) != nil || c.MayFetch("g", "m1", 2) == nil || c.MayFetch("g", "", -1) != nil {
			t.Fatal("who may fetch offsets")
		}
		time.Sleep(time.Minute) // both fall silent
		synctest.Wait()
		if d, err := c.StreamsDescribe("g"); err != nil || d.State != streams.Empty {
			t.Fatalf("%+v, %v", d, err)
		}
		time.Sleep(2 * linger)
		synctest.Wait()
		if n := c.groups.Load(); n != 0 {
			t.Fatalf("%d groups in memory", n)
		}
	})
}

// A classic group that nobody is in goes to the streams protocol and back; one that somebody is in, and groups of other protocols, do not; and
// members of the classic protocol are told that they are none.
func TestStreamsNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay, cfg.Streams.Delay = 0, 0
		q, c, stop := leveled(t, cfg)
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		who := alone(t, c, "g")
		if r := streamsSay(c, "g", streamsJoin("m1", "p1")); !errors.Is(r.Err, group.ErrNotFound) {
			t.Fatalf("%+v", r)
		}
		if _, err := c.Leave("g", []group.Leaver{{MemberID: who.MemberID}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		bad := streamsJoin("m1", "p1")
		bad.RebalanceMs = -1
		if r := streamsSay(c, "g", bad); !errors.Is(r.Err, streams.ErrInvalidRequest) {
			t.Fatalf("%+v", r)
		}
		if _, err := c.Describe("g"); err != nil {
			t.Fatalf("a request that was refused took the group: %v", err)
		}
		twice := streamsJoin("m1", "p1")
		twice.Topology.Subtopologies = append(twice.Topology.Subtopologies, twice.Topology.Subtopologies[0])
		if r := streamsSay(c, "g", twice); !errors.Is(r.Err, streams.ErrInvalidTopology) {
			t.Fatalf("%+v", r)
		}
		if _, err := c.Describe("g"); err != nil {
			t.Fatalf("a topology that was refused took the group: %v", err)
		}
		r := streamsSay(c, "g", streamsJoin("m1", "p1"))
		toldTasks(t, r, r.Epoch, 0, 1)
		if err := c.Heartbeat("g", who); !errors.Is(err, group.ErrUnknownMember) {
			t.Error(err)
		}
		synced := make(chan group.SyncResult, 1)
		c.Sync("g", group.SyncRequest{MemberID: who.MemberID, Generation: who.Generation}, func(r group.SyncResult) { synced <- r })
		if r := <-synced; !errors.Is(r.Err, group.ErrUnknownMember) {
			t.Errorf("%+v", r)
		}
		if each, err := c.Leave("g", []group.Leaver{{MemberID: who.MemberID}}); err != nil || len(each) != 1 || !errors.Is(each[0], group.ErrUnknownMember) {
			t.Error(each, err)
		}
		if r := consumerSay(c, "g", consumerJoin("m2", "t")); !errors.Is(r.Err, group.ErrNotFound) {
			t.Errorf("%+v", r)
		}
		if r := streamsSay(c, "g", streamsBeat("m1", streams.Leaving, nil)); r.Err != nil {
			t.Fatal(r.Err)
		}
		synctest.Wait()
		alone(t, c, "g")
		consumerSay(c, "k", consumerJoin("m1", "t"))
		if r := streamsSay(c, "k", streamsJoin("m1", "p1")); !errors.Is(r.Err, group.ErrNotFound) {
			t.Errorf("%+v", r)
		}
		if _, err := c.StreamsDescribe("k"); !errors.Is(err, group.ErrNotFound) {
			t.Error(err)
		}
	})
}

// Brokers that cannot read a streams group would not start.
func TestStreamsGroupNeedsLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, stop := rig(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		if r := streamsSay(c, "g", streamsJoin("m1", "p1")); !errors.Is(r.Err, image.ErrLevel) && !errors.Is(r.Err, command.ErrLevel) {
			t.Fatalf("%+v", r)
		}
	})
}

// A group's standbys would be more than the broker allows, or its own settings have no effect.
func TestStreamsSettings(t *testing.T) {
	q, c, stop := leveled(t, DefaultConfig())
	defer stop()
	q.must(t, command.SetConfigs{Type: command.Group, Name: "g", Set: map[string]string{
		streamsStandbysKey: "9", streamsDelayKey: "7", streamsIntervalKey: "99999999", streamsSessionKey: "50000",
	}})
	w := c.streamsWorld(q.Image(), "g")
	if w.Standbys != 2 || w.Delay != 7*time.Millisecond || w.Interval != 15*time.Second || w.Session != 50*time.Second || w.Heartbeat != 5*time.Second {
		t.Errorf("%+v", w)
	}
	if w := c.streamsWorld(q.Image(), "other"); w.Standbys != 0 || w.Delay != 3*time.Second || w.Interval != time.Second {
		t.Errorf("%+v", w)
	}
}

// A heartbeat of a stable streams group.
func BenchmarkStreamsHeartbeat(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Streams.Delay = 0
	q, c, stop := leveled(b, cfg)
	defer stop()
	for c.Serving() != nil {
	}
	q.topic("t", 2)
	joined := streamsSay(c, "g", streamsJoin("m1", "p1"))
	if joined.Err != nil {
		b.Fatal(joined.Err)
	}
	h := streamsBeat("m1", joined.Epoch, nil)
	h.EndpointEpoch = joined.EndpointEpoch
	reply := func(r streams.Reply) {
		if r.Err != nil || r.Told {
			b.Fatal(r)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.StreamsHeartbeat("g", &h, reply)
	}
}
