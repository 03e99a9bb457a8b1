package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/throttle"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// placed is an image in which broker 2 is being added to partition 0, and is in sync in partition 1.
func placed(t *testing.T) (m *image.Image, apply func(command.Command)) {
	m, index := image.Empty(), uint64(0)
	apply = func(c command.Command) {
		t.Helper()
		index++
		next, _, _, err := image.Apply(m, index, command.Envelope{}, c)
		if err != nil {
			t.Fatal(err)
		}
		*m = *next
	}
	for i := range 2 {
		apply(command.RegisterBroker{ID: kafka.BrokerID(i + 1), Incarnation: [16]byte{byte(i)}, Directory: [16]byte{byte(i + 1)}})
	}
	apply(command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: [][]kafka.BrokerID{{1}, {1, 2}}})
	p, _ := m.Partition(id(0))
	apply(command.AssignReplicas{Changes: []command.Assignment{{Partition: id(0), Expected: p.PartitionEpoch, Target: []kafka.BrokerID{1, 2}}}})
	return m, apply
}

// A replica that a move brings would be fetched faster than its throttle allows, or hold up those that are in sync; or, the throttle
// gone, go on being slow.
func TestThrottledFollower(t *testing.T) {
	const rate, record, records = 100_000, 10_000, 200
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		m, apply := placed(t)
		apply(command.SetConfigs{Type: command.Broker, Set: map[string]string{"cluster.moves.max.bytes.per.second": "100000"}})
		settings, err := config.Load("", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		limit := throttle.New(2, settings, func() *image.Image { return m }, time.Now)
		limit.Follow()
		for i := range int32(2) {
			p := a.open(id(i), nil)
			a.lead(p, 3)
		}
		for range records {
			a.produce(a.parts[id(0)], record)
		}
		f := New(Config{Node: 2}, l, b.flusher, func() kafka.BrokerEpoch { return 7 }, quiet)
		f.SetThrottle(limit)
		run(t, f)
		for i := range int32(2) {
			q := b.open(id(i), nil)
			q.Follow(1, 3)
			f.Follow(q)
		}
		f.Go()
		began, q := time.Now(), b.parts[id(0)]
		for second := range 10 {
			a.produce(a.parts[id(1)], 100)
			time.Sleep(time.Second)
			synctest.Wait()
			local, _ := q.Sizes()
			if most := int64(rate*(second+2) + record + 100); local > most {
				t.Fatalf("%d bytes after %s: at most %d were to come", local, time.Since(began), most)
			}
			if in := b.parts[id(1)]; in.LocalEnd() != a.parts[id(1)].LocalEnd() {
				t.Fatalf("who is in sync is at %d of %d", in.LocalEnd(), a.parts[id(1)].LocalEnd())
			}
		}
		if local, _ := q.Sizes(); local < 10*rate*8/10 {
			t.Errorf("%d bytes in ten seconds, at a rate of %d", local, rate)
		}
		apply(command.SetConfigs{Type: command.Broker, Delete: []string{"cluster.moves.max.bytes.per.second"}})
		limit.Follow()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if q.LocalEnd() != records {
			t.Errorf("without the throttle it is at %d of %d", q.LocalEnd(), records)
		}
		if n := l.count(); n.requests > 400 {
			t.Errorf("%d requests", n.requests)
		}
	})
}
