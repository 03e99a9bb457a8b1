package replica

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// quorum applies commands at once, or loses them.
type quorum struct {
	mu    sync.Mutex
	image *image.Image
	lose  error // what proposals end with, not applied
	asked int
}

func (q *quorum) Image() *image.Image {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.image
}

func (q *quorum) ProposeAsync(c command.Command, done func(any, error)) {
	q.mu.Lock()
	q.asked++
	if err := q.lose; err != nil {
		q.mu.Unlock()
		done(nil, err)
		return
	}
	m, result, _, err := image.Apply(q.image, q.image.Index()+1, command.Envelope{}, c)
	q.image = m
	q.mu.Unlock()
	done(result, err)
}

// proposed is how many commands were proposed.
func (q *quorum) proposed() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked
}

// losing has proposals end with an error, not applied; nil: no more.
func (q *quorum) losing(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lose = err
}

func newQuorum(t *testing.T, commands ...command.Command) *quorum {
	q := &quorum{image: image.Empty()}
	for _, c := range commands {
		q.ProposeAsync(c, func(_ any, err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	q.asked = 0
	return q
}

// partition is what the image says of the one partition.
func (q *quorum) partition() *image.Partition {
	p, _ := q.Image().Partition(id(0))
	return p
}

// lead has a partition act on the image.
func (q *quorum) lead(p *partition.Partition) {
	ip := q.partition()
	p.Lead(partition.Leadership{Epoch: ip.LeaderEpoch, PartitionEpoch: ip.PartitionEpoch, Replicas: ip.Replicas, ISR: ip.ISR, ELR: ip.ELR})
}

// keeping runs a keeper of one partition, until it is stopped.
func keeping(t *testing.T, q *quorum, p *partition.Partition) (k *Keeper, stop func()) {
	k = NewKeeper(q, func(f func(*partition.Partition)) { f(p) }, 30*time.Second, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = k.Run(ctx) })
	return k, func() { cancel(); running.Wait() }
}

// A replica that has caught up would stay out, one that has fallen behind would stay in, or a lost proposal would never be made again.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2, Incarnation: [16]byte{1}},
			command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}}})
		b, _ := q.Image().Broker(2)
		h := newHost(t, 1, object.NewMem(time.Now))
		p := h.open(id(0), nil)
		q.lead(p)
		k, stop := keeping(t, q, p)
		defer stop()
		fetched := func(from kafka.Offset) {
			t.Helper()
			if _, err := p.ReplicaFetched(partition.Replica{ID: 2, Epoch: b.Epoch}, p.LeaderEpoch(), partition.Position{From: from, Last: kafka.NoEpoch}); err != nil {
				t.Fatal(err)
			}
			for _, p := range h.told {
				k.Tell(p)
			}
			h.told = nil
			synctest.Wait()
		}
		fetched(0)
		time.Sleep(10 * time.Minute)
		if q.proposed() != 0 {
			t.Errorf("%d proposals while everything is in sync", q.proposed())
		}
		h.produce(p, 10)
		time.Sleep(time.Minute)
		synctest.Wait()
		if isr := q.partition().ISR; !slices.Equal(isr, []kafka.BrokerID{1}) {
			t.Errorf("ISR %v of a replica that has not come for a minute", isr)
		}
		q.lead(p)
		if p.HighWatermark() != 1 {
			t.Errorf("high watermark %d without it", p.HighWatermark())
		}
		q.losing(errors.New("no leader"))
		fetched(1)
		if isr := q.partition().ISR; q.proposed() != 2 || len(isr) != 1 {
			t.Errorf("%d proposals, ISR %v", q.proposed(), isr)
		}
		q.losing(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if isr := q.partition().ISR; !slices.Equal(isr, []kafka.BrokerID{1, 2}) {
			t.Errorf("ISR %v of a replica that has caught up", isr)
		}
		q.lead(p)
		// Another registration of it would have to fetch first.
		q.ProposeAsync(command.RegisterBroker{ID: 2, Incarnation: [16]byte{2}}, func(any, error) {})
		h.produce(p, 10)
		time.Sleep(time.Minute)
		synctest.Wait()
		q.lead(p)
		fetched(2)
		if isr := q.partition().ISR; len(isr) != 1 {
			t.Errorf("ISR %v by fetches of an earlier registration", isr)
		}
	})
}

// A follower that has fetched everything before it was active would stay out of sync for as long as nothing is produced.
func TestKeeperHearsOfBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2},
			command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}}},
			command.RegisterBroker{ID: 2, Incarnation: [16]byte{1}, Fenced: true})
		ignore := func(any, error) {}
		q.ProposeAsync(command.AlterISR{Changes: []command.ISRChange{{
			Partition: id(0), Expected: q.partition().PartitionEpoch, LeaderEpoch: q.partition().LeaderEpoch, ISR: []command.ISRMember{{ID: 1}},
		}}}, ignore)
		b, _ := q.Image().Broker(2)
		h := newHost(t, 1, object.NewMem(time.Now))
		p := h.open(id(0), nil)
		q.lead(p)
		k, stop := keeping(t, q, p)
		defer stop()
		if _, err := p.ReplicaFetched(partition.Replica{ID: 2, Epoch: b.Epoch}, p.LeaderEpoch(), partition.Position{Last: kafka.NoEpoch}); err != nil {
			t.Fatal(err)
		}
		k.Tell(p)
		synctest.Wait()
		if isr := q.partition().ISR; len(isr) != 1 {
			t.Fatalf("ISR %v with a fenced broker", isr)
		}
		q.ProposeAsync(command.SetBrokerState{ID: 2, Epoch: b.Epoch, State: command.Active}, ignore)
		k.TellAll()
		synctest.Wait()
		if isr := q.partition().ISR; len(isr) != 2 {
			t.Errorf("ISR %v after the broker became active", isr)
		}
	})
}

// A follower that becomes active while another's addition is on its way would stay out of sync for as long as nothing is produced.
func TestKeeperLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2}, command.RegisterBroker{ID: 3},
			command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2, 3}}},
			command.RegisterBroker{ID: 3, Incarnation: [16]byte{1}, Fenced: true})
		ignore := func(any, error) {}
		q.ProposeAsync(command.AlterISR{Changes: []command.ISRChange{{
			Partition: id(0), Expected: q.partition().PartitionEpoch, LeaderEpoch: q.partition().LeaderEpoch, ISR: []command.ISRMember{{ID: 1}},
		}}}, ignore)
		h := newHost(t, 1, object.NewMem(time.Now))
		p := h.open(id(0), nil)
		q.lead(p)
		k, stop := keeping(t, q, p)
		defer stop()
		for _, follower := range []kafka.BrokerID{2, 3} {
			b, _ := q.Image().Broker(follower)
			if _, err := p.ReplicaFetched(partition.Replica{ID: follower, Epoch: b.Epoch}, p.LeaderEpoch(), partition.Position{Last: kafka.NoEpoch}); err != nil {
				t.Fatal(err)
			}
		}
		k.Tell(p)
		synctest.Wait()
		if isr := q.partition().ISR; !slices.Equal(isr, []kafka.BrokerID{1, 2}) {
			t.Fatalf("ISR %v with one fenced broker of three", isr)
		}
		h.told = nil
		b, _ := q.Image().Broker(3)
		q.ProposeAsync(command.SetBrokerState{ID: 3, Epoch: b.Epoch, State: command.Active}, ignore)
		k.TellAll() // the partition has not heard yet that the other one is in
		synctest.Wait()
		q.lead(p)
		for _, p := range h.told {
			k.Tell(p)
		}
		synctest.Wait()
		if isr := q.partition().ISR; len(isr) != 3 {
			t.Errorf("ISR %v after the last broker became active", isr)
		}
	})
}

// A damaged replica would lead, stay in sync, or never be whole again; or the last copy would be thrown away.
func TestRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2},
			command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}}})
		h := newHost(t, 1, object.NewMem(time.Now))
		p := h.open(id(0), nil)
		q.lead(p)
		h.produce(p, 10)
		r := NewRepair(1, q, func(f func(*partition.Partition)) { f(p) }, func() map[kafka.Partition]error { return nil }, roomy, quiet)
		r.look(t.Context())
		if q.proposed() != 0 {
			t.Error("something was done to a healthy replica")
		}
		p.Log().Hot().ReportDamage(0, errors.New("a bit has flipped"))
		r.look(t.Context())
		if ip := q.partition(); ip.Leader != 2 || !slices.Equal(ip.ISR, []kafka.BrokerID{2}) {
			t.Fatalf("leader %d, ISR %v", ip.Leader, ip.ISR)
		}
		if p.Damage() == nil {
			t.Error("begun anew before the image of it was here")
		}
		p.Follow(2, q.partition().LeaderEpoch)
		r.look(t.Context())
		if p.Damage() != nil || p.LocalEnd() != 0 {
			t.Errorf("damage %v, ends at %d", p.Damage(), p.LocalEnd())
		}
		// The last copy is kept, damaged as it is.
		q.ProposeAsync(command.AlterISR{Changes: []command.ISRChange{{
			Partition: id(0), LeaderEpoch: 1, Expected: q.partition().PartitionEpoch, ISR: []command.ISRMember{{ID: 1, Epoch: 1}, {ID: 2}},
		}}}, func(any, error) {})
		q.ProposeAsync(command.ElectLeaders{Elections: []command.Election{{Partition: id(0), Leader: 1, ISR: []kafka.BrokerID{1}, Expected: q.partition().PartitionEpoch}}}, func(any, error) {})
		if q.lead(p); p.LeaderEpoch() != 2 {
			t.Fatalf("%+v", q.partition())
		}
		h.produce(p, 10)
		p.Log().Hot().ReportDamage(0, errors.New("a bit has flipped"))
		asked := q.proposed()
		r.look(t.Context())
		if q.proposed() != asked || p.Damage() == nil {
			t.Errorf("%d proposals about the only copy, damage %v", q.proposed()-asked, p.Damage())
		}
	})
}

func roomy() bool { return false }

// A broker without room would go on leading what it can take no record of, keep everybody waiting as a follower, leave too few behind,
// or hand partitions back and forth with others that have no room either.
func TestFullBrokersStepBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var brokers []command.Command
		for n := range kafka.BrokerID(3) {
			brokers = append(brokers, command.RegisterBroker{ID: n + 1})
		}
		q := newQuorum(t, append(brokers, command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2, 3}}})...)
		full := true
		h := newHost(t, 1, object.NewMem(time.Now))
		p := h.open(id(0), func(c *config.Topic) { c.MinISR = 2 })
		q.lead(p)
		r := NewRepair(1, q, func(f func(*partition.Partition)) { f(p) }, func() map[kafka.Partition]error { return nil }, func() bool { return full }, quiet)
		r.look(t.Context())
		if ip := q.partition(); ip.Leader != 2 || !slices.Equal(ip.ISR, []kafka.BrokerID{2, 3}) {
			t.Fatalf("leader %d, ISR %v", ip.Leader, ip.ISR)
		}
		p.Follow(2, q.partition().LeaderEpoch)
		r.look(t.Context()) // sees that it is out
		elect := func(leader kafka.BrokerID, isr ...kafka.BrokerID) {
			t.Helper()
			q.ProposeAsync(command.ElectLeaders{Elections: []command.Election{{Partition: id(0), Leader: leader, ISR: isr, Expected: q.partition().PartitionEpoch, Unclean: true}}}, func(_ any, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		back := func(what string, leader kafka.BrokerID, isr ...kafka.BrokerID) {
			t.Helper()
			elect(leader, isr...)
			asked := q.proposed()
			r.look(t.Context())
			if ip := q.partition(); q.proposed() != asked {
				t.Errorf("%s: leader %d, ISR %v", what, ip.Leader, ip.ISR)
			}
		}
		back("handed back by one that has no room either", 1, 1, 2, 3)
		full = false
		back("there is room again", 1, 1, 2, 3)
		full = true
		back("too few would be left", 1, 1, 2)
		elect(2, 1, 2, 3)
		r.look(t.Context())
		if ip := q.partition(); ip.Leader != 2 || !slices.Equal(ip.ISR, []kafka.BrokerID{2, 3}) {
			t.Errorf("as a follower: leader %d, ISR %v", ip.Leader, ip.ISR)
		}
	})
}

// While one damaged follower waits for a bucket that does not answer, another damaged replica would go on leading.
func TestRepairTakesLeadersBackFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2},
			command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1, 2}, {2, 1}}})
		bucket := object.NewMem(time.Now)
		a := newHost(t, 2, bucket)
		source := a.open(id(1), tiered)
		source.Lead(partition.Leadership{Replicas: []kafka.BrokerID{2}, ISR: []kafka.BrokerID{2}})
		for range 20 {
			a.produce(source, 1000)
		}
		a.archive.Poke(id(1))
		synctest.Wait()
		h := newHost(t, 1, hanging{bucket})
		led, followed := h.open(id(0), nil), h.open(id(1), nil)
		q.lead(led)
		h.lead(followed, 0)
		h.produce(led, 10)
		h.produce(followed, 10)
		followed.Follow(2, 0)
		followed.Publish(a.manifest, 0)
		out, _ := q.Image().Partition(id(1))
		q.ProposeAsync(command.AlterISR{Changes: []command.ISRChange{{
			Partition: id(1), LeaderEpoch: out.LeaderEpoch, Expected: out.PartitionEpoch, ISR: []command.ISRMember{{ID: 2}},
		}}}, func(any, error) {})
		r := NewRepair(1, q, func(f func(*partition.Partition)) { f(followed); f(led) }, func() map[kafka.Partition]error { return nil }, roomy, quiet)
		for _, p := range []*partition.Partition{led, followed} {
			if p.Log().Hot().ReportDamage(0, errors.New("a bit has flipped")); p.Damage() == nil {
				t.Fatalf("%v is not damaged", p.ID())
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var looking sync.WaitGroup
		looking.Go(func() { r.look(ctx) })
		synctest.Wait()
		if ip := q.partition(); ip.Leader != 2 {
			t.Errorf("broker %d leads the other", ip.Leader)
		}
		stop()
		looking.Wait()
	})
}
