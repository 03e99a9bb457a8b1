package image

import (
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// An offset commit or a configuration leaves the topology the same; a topic, a partition or a broker does not.
func TestSameTopology(t *testing.T) {
	id := kafka.NewTopicID()
	m := Empty()
	apply := func(index uint64, c command.Command) *Image {
		next, _, _, err := Apply(m, index, command.Envelope{}, c)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		return next
	}
	for i, step := range []struct {
		c    command.Command
		same bool
	}{
		{command.RegisterBroker{ID: 1, Endpoints: []command.Endpoint{{Listener: "PLAIN", Host: "h", Port: 1}}}, false},
		{command.CreateTopic{ID: id, Name: "t", Partitions: [][]kafka.BrokerID{{1}}}, false},
		{command.SetConfigs{Type: 2, Name: "t", Set: map[string]string{"retention.ms": "1"}}, true},
		{command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: kafka.Partition{Topic: id}, Offset: 1}}}, true},
		{command.AddPartitions{ID: id, From: 1, Replicas: [][]kafka.BrokerID{{1}}}, false},
		{command.DeleteTopic{ID: id}, false},
	} {
		next := apply(uint64(i+1), step.c)
		if got := next.SameTopology(m); got != step.same {
			t.Errorf("%T: SameTopology = %v", step.c, got)
		}
		m = next
	}
}
