package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// leveled is rig in a cluster at the newest metadata level.
func leveled(t testing.TB, cfg Config) (q *fakeQuorum, c *Coordinator, stop func()) {
	q, c, stop = rig(t, cfg)
	for _, cmd := range []command.Command{
		command.RegisterBroker{ID: 1, Incarnation: [16]byte{1}, Version: command.WithLevel("v", command.NewestLevel)},
		command.SetLevel{Level: command.NewestLevel},
	} {
		q.must(t, cmd)
	}
	return q, c, stop
}

func consumerJoin(id string, topics ...string) consumer.Heartbeat {
	return consumer.Heartbeat{MemberID: id, ClientID: "client", RebalanceMs: 60_000, Topics: topics, HasTopics: true, HasOwned: true}
}

func consumerBeat(id string, epoch int32) consumer.Heartbeat {
	return consumer.Heartbeat{MemberID: id, Epoch: epoch, ClientID: "client", RebalanceMs: -1}
}

func owning(h consumer.Heartbeat, topic kafka.TopicID, partitions ...int32) consumer.Heartbeat {
	h.HasOwned = true
	for _, p := range partitions {
		h.Owned = append(h.Owned, kafka.Partition{Topic: topic, Index: p})
	}
	return h
}

func consumerSay(c *Coordinator, name string, h consumer.Heartbeat) consumer.Reply {
	ch := make(chan consumer.Reply, 1)
	c.ConsumerHeartbeat(name, &h, func(r consumer.Reply) { ch <- r })
	return <-ch
}

func told(t *testing.T, r consumer.Reply, epoch int32, partitions ...int32) {
	t.Helper()
	var got []int32
	for _, p := range r.Assignment {
		got = append(got, p.Index)
	}
	if r.Err != nil || r.Epoch != epoch || !slices.Equal(got, partitions) {
		t.Fatalf("%+v, want epoch %d and %v", r, epoch, partitions)
	}
}

// A group of the consumer protocol is formed, hands partitions over, moves to another coordinator and back, and nobody has to begin anew; what a
// member was told is in the image when it is told.
func TestConsumerGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := leveled(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		id := q.topic("t", 4)
		told(t, consumerSay(c, "g", consumerJoin("m1", "t")), 1, 0, 1, 2, 3)
		if ig, ok := q.Image().Group("g"); !ok || ig.Type != "consumer" || ig.Version == 0 {
			t.Fatalf("%+v", ig)
		}
		told(t, consumerSay(c, "g", consumerJoin("m2", "t")), 2)
		told(t, consumerSay(c, "g", consumerBeat("m1", 1)), 1, 0, 1)
		told(t, consumerSay(c, "g", owning(consumerBeat("m1", 1), id, 0, 1)), 2)

		q.place(2)
		synctest.Wait()
		if r := consumerSay(c, "g", consumerBeat("m2", 2)); !errors.Is(r.Err, ErrNotCoordinator) {
			t.Fatalf("%+v", r)
		}
		q.place(1)
		synctest.Wait()
		told(t, consumerSay(c, "g", consumerBeat("m2", 2)), 2, 2, 3)
		d, err := c.ConsumerDescribe("g")
		if err != nil || d.State != consumer.Stable || d.Epoch != 2 || len(d.Members) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
		if ls, err := c.List(); err != nil || len(ls) != 1 || ls[0] != (Listed{"g", "consumer", "Stable", "consumer"}) {
			t.Fatalf("%+v, %v", ls, err)
		}
		if _, err := c.Describe("g"); !errors.Is(err, group.ErrNotFound) {
			t.Fatal(err)
		}
		before := q.count(command.KindChangeGroup)
		for range 10 {
			time.Sleep(5 * time.Second)
			told(t, consumerSay(c, "g", consumerBeat("m1", 2)), 2)
			told(t, consumerSay(c, "g", consumerBeat("m2", 2)), 2)
		}
		if q.count(command.KindChangeGroup) != before {
			t.Fatal("heartbeats were written")
		}
		time.Sleep(time.Minute) // both fall silent
		synctest.Wait()
		if d, err := c.ConsumerDescribe("g"); err != nil || d.State != consumer.Empty {
			t.Fatalf("%+v, %v", d, err)
		}
		time.Sleep(2 * linger)
		synctest.Wait()
		if n := c.groups.Load(); n != 0 {
			t.Fatalf("%d groups in memory", n)
		}
		if err := remove(c, "g"); err != nil {
			t.Fatal(err)
		}
		if _, ok := q.Image().Group("g"); ok {
			t.Fatal("deleted, and still in the image")
		}
	})
}

// While the quorum refuses changes members are told to come again; then the group goes on from what is durable.
func TestConsumerGroupWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := leveled(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		told(t, consumerSay(c, "g", consumerJoin("m1", "t")), 1, 0, 1)
		q.setDown(true)
		for range 3 {
			if r := consumerSay(c, "g", consumerJoin("m2", "t")); !errors.Is(r.Err, group.ErrNotAvailable) {
				t.Fatalf("%+v", r)
			}
		}
		told(t, consumerSay(c, "g", consumerBeat("m1", 1)), 1) // changes nothing
		q.setDown(false)
		told(t, consumerSay(c, "g", consumerJoin("m2", "t")), 2)
		told(t, consumerSay(c, "g", consumerBeat("m1", 1)), 1, 0)
	})
}

// A change that nobody knew the outcome of comes through after all: what was decided meanwhile is refused, and the group goes on from there.
func TestConsumerChangeComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := leveled(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		told(t, consumerSay(c, "g", consumerJoin("m1", "t")), 1, 0, 1)
		e := c.shardOf("g").groups["g"]
		late := command.ChangeGroup{Group: "g", Type: "consumer", Base: e.version, Put: []command.GroupPart{{Key: "g", Value: mustPart(q, "g", "g")}}, Coordinator: e.shard.placed.Epoch}
		entry, err := command.Encode(command.Envelope{}, late)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.apply(entry); err != nil {
			t.Fatal(err)
		}
		if r := consumerSay(c, "g", consumerJoin("m2", "t")); !errors.Is(r.Err, image.ErrGroupChanged) {
			t.Fatalf("%+v", r)
		}
		told(t, consumerSay(c, "g", consumerJoin("m2", "t")), 2)
	})
}

func mustPart(q *fakeQuorum, group, key string) (value []byte) {
	q.Image().GroupParts(group, func(k string, v []byte) bool {
		if k == key {
			value = v
		}
		return true
	})
	return value
}

// A name is of one protocol at a time, and changes it when nobody is in the group. Offsets stay.
func TestOneProtocolAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay = 0
		q, c, stop := leveled(t, cfg)
		defer stop()
		synctest.Wait()
		id := q.topic("t", 2)
		if _, err := commit(c, "g", nobody(), at(id, 0, 7)); err != nil {
			t.Fatal(err)
		}
		told(t, consumerSay(c, "g", consumerJoin("m1", "t")), 1, 0, 1)
		if _, err := commit(c, "g", group.Identity{MemberID: "m1", Generation: 1}, at(id, 1, 8)); err != nil {
			t.Fatal(err)
		}
		if _, err := commit(c, "g", group.Identity{MemberID: "m1", Generation: 0}, at(id, 1, 9)); !errors.Is(err, consumer.ErrStaleEpoch) {
			t.Fatal(err)
		}
		if err := c.MayFetch("g", "m1", 3); !errors.Is(err, consumer.ErrStaleEpoch) {
			t.Fatal(err)
		}
		consumerSay(c, "g", consumerBeat("m1", -1))
		who := alone(t, c, "g")
		if ig, _ := q.Image().Group("g"); ig.Type != "classic" || who.Generation != 3 { // generations go on
			t.Fatalf("%+v, %+v", ig, who)
		}
		if r := consumerSay(c, "g", consumerBeat("m1", 1)); !errors.Is(r.Err, group.ErrNotFound) {
			t.Fatalf("%+v", r)
		}
		if r := consumerSay(c, "nobody's", consumerBeat("m1", 1)); !errors.Is(r.Err, group.ErrNotFound) || strings.Contains(r.Err.Error(), "classic") {
			t.Fatalf("a group that there is not: %+v", r)
		}
		if each, err := c.Leave("g", []group.Leaver{{MemberID: who.MemberID}}); err != nil || each[0] != nil {
			t.Fatal(each, err)
		}
		synctest.Wait()
		told(t, consumerSay(c, "g", consumerJoin("m3", "t")), who.Generation+2, 0, 1)
		for p, want := range map[int32]kafka.Offset{0: 7, 1: 8} {
			if o, ok := q.Image().Offset("g", kafka.Partition{Topic: id, Index: p}); !ok || o.Offset != want {
				t.Errorf("offset of %d: %+v", p, o)
			}
		}
	})
}

// A classic group with a member is migrated when the first member of the consumer protocol joins, and back when it leaves; the classic member goes on
// all the while, and is told what it has each time.
func TestMigration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay = 0
		q, c, stop := leveled(t, cfg)
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		who := aloneWith(t, c, "g", []byte("\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"))
		told(t, consumerSay(c, "g", consumerJoin("m1", "t")), 2)
		if ig, _ := q.Image().Group("g"); ig.Type != "consumer" || ig.State != nil {
			t.Fatalf("%+v", ig)
		}
		if err := c.Heartbeat("g", who); !errors.Is(err, group.ErrRebalanceInProgress) {
			t.Fatal(err)
		}
		j := join(c, "g", ask(who.MemberID))
		s := sync_(c, "g", group.SyncRequest{MemberID: who.MemberID, Generation: j.Generation})
		if j.Err != nil || j.Generation != 2 || s.Err != nil || len(s.Assignment) == 0 {
			t.Fatalf("%+v, %+v", j, s)
		}
		who.Generation = j.Generation
		if err := c.Heartbeat("g", who); err != nil {
			t.Fatal(err)
		}
		if r := consumerSay(c, "g", consumerBeat("m1", 2)); r.Err != nil {
			t.Fatal(r.Err)
		}
		d, err := c.ConsumerDescribe("g")
		if err != nil || d.State != consumer.Stable || len(d.Members) != 2 || len(d.Members[0].Assigned) != 1 || len(d.Members[1].Assigned) != 1 {
			t.Fatalf("%+v, %v", d, err)
		}

		if r := consumerSay(c, "g", consumerBeat("m1", -1)); r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := c.Heartbeat("g", who); !errors.Is(err, group.ErrRebalanceInProgress) {
			t.Fatal(err)
		}
		if j = join(c, "g", ask(who.MemberID)); j.Err != nil || j.Leader != who.MemberID || j.Generation != 3 {
			t.Fatalf("%+v", j)
		}
		s = sync_(c, "g", group.SyncRequest{MemberID: who.MemberID, Generation: 3, Assignments: []group.Assignment{{MemberID: who.MemberID, Data: []byte("all")}}})
		if s.Err != nil || string(s.Assignment) != "all" {
			t.Fatalf("%+v", s)
		}
		if ig, _ := q.Image().Group("g"); ig.Type != "classic" || ig.Version != 0 {
			t.Fatalf("%+v", ig)
		}
	})
}

// What a classic group refuses of a member, a group of the consumer protocol would take, and not give back: protocols without a name, or by the thousand.
func TestUnfitForMigration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay = 0
		q, c, stop := leveled(t, cfg)
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		if r := consumerSay(c, "g", consumerJoin("m1", "t")); r.Err != nil {
			t.Fatal(r.Err)
		}
		metadata := []byte("\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff")
		unnamed, many := ask(""), ask("")
		unnamed.Protocols = []group.Protocol{{Name: "", Metadata: metadata}, {Name: "range", Metadata: metadata}}
		for i := range cfg.Limits.MaxProtocols + 1 {
			many.Protocols = append(many.Protocols, group.Protocol{Name: fmt.Sprint(i), Metadata: metadata})
		}
		if j := join(c, "g", unnamed); !errors.Is(j.Err, group.ErrInconsistentProtocol) {
			t.Errorf("%+v", j)
		}
		if j := join(c, "g", many); !errors.Is(j.Err, group.ErrTooLarge) {
			t.Errorf("%+v", j)
		}
		if r := consumerSay(c, "g", consumerBeat("m1", -1)); r.Err != nil {
			t.Fatal(r.Err)
		}
		if d, err := c.ConsumerDescribe("g"); err != nil || d.State != consumer.Empty {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// Where the policy keeps protocols apart, members of the other one are refused while there are members.
func TestNoMigration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Limits.InitialDelay, cfg.Consumer.Upgrade, cfg.Consumer.Downgrade = 0, false, false
		q, c, stop := leveled(t, cfg)
		defer stop()
		synctest.Wait()
		q.topic("t", 2)
		who := alone(t, c, "g")
		if r := consumerSay(c, "g", consumerJoin("m1", "t")); !errors.Is(r.Err, group.ErrNotFound) {
			t.Fatalf("%+v", r)
		}
		if err := c.Heartbeat("g", who); err != nil {
			t.Fatal(err)
		}
	})
}

// Brokers that do not know what the consumer protocol writes would halt.
func TestConsumerGroupNeedsLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, stop := rig(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		if r := consumerSay(c, "g", consumerJoin("m1", "t")); !errors.Is(r.Err, image.ErrLevel) {
			t.Fatalf("%+v", r)
		}
	})
}

// A group's own timeouts are within the broker's bounds.
func TestGroupTimeouts(t *testing.T) {
	b := Bounded{45 * time.Second, 40 * time.Second, 60 * time.Second}
	for set, want := range map[string]time.Duration{"": 45 * time.Second, "50000": 50 * time.Second, "1": 40 * time.Second, "99999999": 60 * time.Second} {
		overrides := map[string]string{sessionKey: set}
		if set == "" {
			overrides = nil
		}
		if got := b.of(overrides, sessionKey); got != want {
			t.Errorf("%q: %v", set, got)
		}
	}
}

// What many members cost that come together is a few changes, not some for each.
func TestManyMembersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, c, stop := leveled(t, DefaultConfig())
		defer stop()
		synctest.Wait()
		q.topic("t", 1000)
		const n = 500
		answers := make(chan consumer.Reply, n)
		for i := range n {
			h := consumerJoin(fmt.Sprint("m", i), "t")
			c.ConsumerHeartbeat("g", &h, func(r consumer.Reply) { answers <- r })
		}
		for range n {
			if r := <-answers; r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if changes := q.count(command.KindChangeGroup); changes > 3 {
			t.Errorf("%d changes", changes)
		}
		if d, err := c.ConsumerDescribe("g"); err != nil || len(d.Members) != n || d.Epoch > 3 {
			t.Errorf("%d members, epoch %d, %v", len(d.Members), d.Epoch, err)
		}
	})
}

// A heartbeat of a stable group of the consumer protocol.
func BenchmarkConsumerHeartbeat(b *testing.B) {
	q, c, stop := leveled(b, DefaultConfig())
	defer stop()
	for c.Serving() != nil {
	}
	q.topic("t", 2)
	if r := consumerSay(c, "g", consumerJoin("m1", "t")); r.Err != nil {
		b.Fatal(r.Err)
	}
	h := consumerBeat("m1", 1)
	reply := func(r consumer.Reply) {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.ConsumerHeartbeat("g", &h, reply)
	}
}
