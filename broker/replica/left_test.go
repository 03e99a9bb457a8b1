package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/object"
	"github.com/qanat-io/qanat/wire/kafka"
)

// A partition that only the leader's side of a session still knows would be sent again with every answer, at once, for ever: the
// request behind a waiting one that finds nothing to fetch any more forgets what it was to tell.
func TestNobodysPartitionIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := object.NewMem(time.Now)
		a, b := newHost(t, 1, bucket), newHost(t, 2, bucket)
		l := newLeader(a)
		f := follow(t, b, l)
		for i := range int32(2) {
			a.lead(a.open(id(i), nil), 3)
			q := b.open(id(i), nil)
			q.Follow(1, 3)
			f.Follow(q)
		}
		f.Go()
		synctest.Wait()
		f.Forget(id(0))
		of := f.by[1]
		of.mu.Lock()
		of.left, of.changed = nil, false
		of.mu.Unlock()
		l.mu.Lock()
		before := l.counts.requests
		l.mu.Unlock()
		a.produce(a.parts[id(0)], 100)
		a.produce(a.parts[id(1)], 100)
		if n := l.count().requests - before; n > 5 || b.parts[id(1)].LocalEnd() != 1 {
			t.Errorf("%d requests, the one that is followed ends at %d", n, b.parts[id(1)].LocalEnd())
		}
		l.mu.Lock()
		_, kept := l.slots[id(0)]
		l.mu.Unlock()
		if kept {
			t.Error("the leader still has it in the session")
		}
	})
}

// largest tells of the largest step that was proposed.
type largest struct {
	*quorum
	elections, changes int
}

func (q *largest) ProposeAsync(c command.Command, done func(any, error)) {
	switch c := c.(type) {
	case command.ElectLeaders:
		q.elections = max(q.elections, len(c.Elections))
	case command.AlterISR:
		q.changes = max(q.changes, len(c.Changes))
	}
	q.quorum.ProposeAsync(c, done)
}

// What a broker with many partitions steps back from would be one command: from some tens of thousands on one that is refused for its
// size, again and again.
func TestStepsAreBounded(t *testing.T) {
	const partitions = 2500
	var replicas [][]kafka.BrokerID
	failed := map[kafka.Partition]error{}
	for i := range int32(2 * partitions) {
		order := []kafka.BrokerID{1, 2}
		if i >= partitions {
			order = []kafka.BrokerID{2, 1}
		}
		replicas = append(replicas, order)
		failed[id(i)] = partition.ErrStorage
	}
	q := &largest{quorum: newQuorum(t, command.RegisterBroker{ID: 1}, command.RegisterBroker{ID: 2}, command.CreateTopic{ID: id(0).Topic, Name: "t", Partitions: replicas})}
	r := NewRepair(1, q, func(func(*partition.Partition)) {}, func() map[kafka.Partition]error { return failed }, roomy, quiet)
	r.look(t.Context())
	if q.elections > changesPerCommand || q.changes > changesPerCommand || q.elections == 0 || q.changes == 0 {
		t.Errorf("%d elections, %d changes in one command", q.elections, q.changes)
	}
	for i := range int32(2 * partitions) {
		if p, _ := q.Image().Partition(id(i)); p.Leader != 2 || len(p.ISR) != 1 {
			t.Fatalf("partition %d: leader %d, ISR %v", i, p.Leader, p.ISR)
		}
	}
}
