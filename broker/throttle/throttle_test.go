package throttle

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// More bytes would go than a rate allows over some stretch of time, or far fewer than it gives to who always wants more.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, batch, seconds = 1 << 20, 100_000, 60
		q := NewQuota(time.Now, window)
		q.Set(rate)
		l := Limit{quotas: [2]*Quota{q, nil}}
		var went []int // each second
		began := time.Now()
		for time.Since(began) < seconds*time.Second {
			if l.Room() == 0 {
				time.Sleep(l.Wait())
				continue
			}
			l.Spend(batch)
			for len(went) <= int(time.Since(began)/time.Second) {
				went = append(went, 0)
			}
			went[time.Since(began)/time.Second] += batch
		}
		total := 0
		for from := range went {
			sum := 0
			for to := from; to < len(went); to++ {
				sum += went[to]
				if most := rate*(to-from+2) + batch; sum > most {
					t.Errorf("%d bytes in seconds %d to %d: at most %d were to go", sum, from, to, most)
				}
			}
			total += went[from]
		}
		if total < rate*seconds*9/10 {
			t.Errorf("%d bytes went, %d might have", total, rate*seconds)
		}
	})
}

// A quota that was too low would hold everything back for as long as paying off takes, after it was raised.
func TestQuotaRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(time.Now, window)
		q.Set(1)
		q.Spend(1 << 20)
		time.Sleep(time.Minute)
		if q.room() != 0 || q.wait() != longestWait {
			t.Errorf("room for %d, wait %s", q.room(), q.wait())
		}
		q.Set(1000)
		if q.room() != 1000 {
			t.Errorf("room for %d", q.room())
		}
		q.Set(0)
		if q.room() == 0 {
			t.Error("no room without a rate")
		}
	})
}

// A replica in sync would be held back, one that a throttle names would not be, or the wrong side's rate would hold.
func TestWhom(t *testing.T) {
	topic := kafka.TopicID{1}
	m, index := image.Empty(), uint64(0)
	apply := func(c command.Command) {
		t.Helper()
		index++
		next, _, _, err := image.Apply(m, index, command.Envelope{}, c)
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	for i := range 3 {
		apply(command.RegisterBroker{ID: kafka.BrokerID(i + 1), Incarnation: [16]byte{byte(i)}, Directory: [16]byte{byte(i + 1)}})
	}
	apply(command.CreateTopic{ID: topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}, {1, 2}}})
	moving := kafka.Partition{Topic: topic, Index: 0}
	p, _ := m.Partition(moving)
	apply(command.AssignReplicas{Changes: []command.Assignment{{Partition: moving, Expected: p.PartitionEpoch, Target: []kafka.BrokerID{1, 3}}}})
	settings, err := config.Load("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	leader := New(1, settings, func() *image.Image { return m }, time.Now)
	adding := New(3, settings, func() *image.Image { return m }, time.Now)
	still := kafka.Partition{Topic: topic, Index: 1}
	held := func() map[string]bool {
		leader.Follow()
		adding.Follow()
		return map[string]bool{
			"leader to the new": !leader.Leading(moving, 3).None(), "leader to who is in sync": !leader.Leading(moving, 2).None(),
			"the new": !adding.Following(moving).None(), "elsewhere": !leader.Leading(still, 2).None(),
		}
	}
	is := func(what string, want ...string) {
		t.Helper()
		all := map[string]bool{"leader to the new": false, "leader to who is in sync": false, "the new": false, "elsewhere": false}
		for _, w := range want {
			all[w] = true
		}
		if got := held(); !maps.Equal(got, all) {
			t.Errorf("%s: held are %v", what, got)
		}
	}
	set := func(kind command.ResourceType, name string, kv ...string) {
		t.Helper()
		apply(command.SetConfigs{Type: kind, Name: name, Set: map[string]string{kv[0]: kv[1]}})
	}
	is("no rate is set")
	set(command.Topic, "t", "leader.replication.throttled.replicas", "0:1,0:2,1:1")
	set(command.Topic, "t", "follower.replication.throttled.replicas", "0:3")
	is("replicas are named, without a rate")
	set(command.Broker, "1", "leader.replication.throttled.rate", "5000")
	is("one broker's rate", "leader to the new")
	if room := leader.Leading(moving, 3).Room(); room != 5000 {
		t.Errorf("room for %d", room)
	}
	set(command.Broker, "", "follower.replication.throttled.rate", "7000")
	is("a rate of all followers", "leader to the new", "the new")
	set(command.Topic, "t", "follower.replication.throttled.replicas", "0:2")
	is("another follower", "leader to the new")
	set(command.Topic, "t", "leader.replication.throttled.replicas", "*")
	set(command.Topic, "t", "follower.replication.throttled.replicas", "*")
	is("everybody", "leader to the new", "the new")
	apply(command.SetConfigs{Type: command.Broker, Name: "1", Delete: []string{"leader.replication.throttled.rate"}})
	apply(command.SetConfigs{Type: command.Broker, Delete: []string{"follower.replication.throttled.rate"}})
	is("rates are gone")
	set(command.Broker, "", "cluster.moves.max.bytes.per.second", "100")
	is("moves are bounded", "leader to the new", "the new")
	if leader.Leading(moving, 3).Room() != 100 || adding.Following(moving).Room() != 100 {
		t.Error("another rate")
	}
	if !(*Replication)(nil).Leading(moving, 3).None() {
		t.Error("no throttle holds back")
	}
}
