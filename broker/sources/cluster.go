package sources

import (
	"time"

	"github.com/qanat-io/qanat/broker/telemetry"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// clusterState is what the image says, of partitions as their leader says it.
func (src *Sources) clusterState() telemetry.ClusterState {
	src.ages.ask(time.Now())
	m := src.parts.Quorum.Image()
	c := src.parts.Counters
	s := telemetry.ClusterState{
		ClockOffset:  src.parts.Clock.Off().Seconds(),
		BrokerStates: map[string]int64{command.Active.String(): 0, command.Fenced.String(): 0, command.Stopping.String(): 0},
		Shrinks:      c.shrinks.Load(), Expands: c.expands.Load(), Elections: c.elections.Load(),
	}
	m.Brokers(func(x *image.Broker) bool {
		s.Brokers++
		s.BrokerStates[x.State.String()]++
		return true
	})
	m.Topics(func(t *image.Topic) bool {
		s.Topics = append(s.Topics, src.topicState(m, t, &s))
		return true
	})
	src.transactionState(m, &s)
	src.groupStates(m, &s)
	return s
}

// topicState tells of a topic, and counts its partitions.
func (src *Sources) topicState(m *image.Image, t *image.Topic, s *telemetry.ClusterState) telemetry.TopicState {
	state := telemetry.TopicState{Name: t.Name, Partitions: int(t.Partitions)}
	m.Partitions(t.ID, func(p *image.Partition) bool {
		if p.Leader == kafka.NoBroker {
			s.Leaderless++
		}
		hosted := src.parts.Hosted.Get(p.Partition)
		if hosted == nil || p.Leader != src.parts.Node {
			return true
		}
		s.Led++
		if len(p.ISR) < len(p.Replicas) {
			s.UnderReplicated++
		}
		if len(p.ISR) < hosted.MinISR() {
			s.UnderMinISR++
		}
		if len(p.Adding)+len(p.Removing) > 0 {
			s.Reassigning++
		}
		state.Led = append(state.Led, telemetry.PartitionState{
			Index: p.Index, Oldest: int64(hosted.LogStart()), End: int64(hosted.HighWatermark()),
			Leader: int32(p.Leader), Replicas: len(p.Replicas), ISR: len(p.ISR), Preferred: p.Replicas[0] == p.Leader,
		})
		return true
	})
	return state
}

func (src *Sources) transactionState(m *image.Image, s *telemetry.ClusterState) {
	s.Transactions = map[string]int64{}
	for state := command.TxnEmpty; state <= command.TxnCompleteAbort; state++ {
		s.Transactions[state.String()] = 0
	}
	oldest := int64(0)
	m.Transactions(func(t *command.Transaction) bool {
		s.Transactions[t.State.String()]++
		if under := t.State == command.TxnOngoing || t.State.Decided(); under && t.StartedMs > 0 && (oldest == 0 || t.StartedMs < oldest) {
			oldest = t.StartedMs
		}
		return true
	})
	if oldest > 0 {
		s.TransactionAge = max(0, src.parts.Clock.Now().Sub(time.UnixMilli(oldest)).Seconds())
	}
}

// groupStates tells of the groups' offsets in partitions that this broker leads, and of the members of those it coordinates.
func (src *Sources) groupStates(m *image.Image, s *telemetry.ClusterState) {
	members := map[string]int{}
	s.GroupKinds = map[telemetry.GroupKind]int64{}
	if list, err := src.parts.Groups.List(); err == nil { // else it coordinates none, for now
		for _, g := range list {
			s.GroupKinds[telemetry.GroupKind{Type: g.Type, State: g.State}]++
			members[g.Name] = src.members(g.Name)
		}
	}
	now := src.parts.Clock.Now().UnixMilli()
	m.Groups(func(g *image.Group) bool {
		state := telemetry.GroupState{Name: g.Name, Members: -1, Offsets: src.groupOffsets(m, g.Name, now)}
		if n, mine := members[g.Name]; mine {
			state.Members = n
			delete(members, g.Name)
		}
		if state.Members >= 0 || len(state.Offsets) > 0 {
			s.Groups = append(s.Groups, state)
		}
		return true
	})
	for name, n := range members { // those that have nothing in the image yet
		s.Groups = append(s.Groups, telemetry.GroupState{Name: name, Members: n})
	}
}

func (src *Sources) members(group string) int {
	if d, err := src.parts.Groups.Describe(group); err == nil {
		return len(d.Members)
	}
	if d, err := src.parts.Groups.ConsumerDescribe(group); err == nil {
		return len(d.Members)
	}
	if d, err := src.parts.Groups.ShareDescribe(group); err == nil {
		return len(d.Members)
	}
	if d, err := src.parts.Groups.StreamsDescribe(group); err == nil {
		return len(d.Members)
	}
	return 0
}

func (src *Sources) groupOffsets(m *image.Image, name string, nowMs int64) (list []telemetry.GroupOffset) {
	m.Offsets(name, func(o *image.Offset) bool {
		p := src.parts.Hosted.Get(o.Partition)
		if p == nil || p.LeaderEpoch() < 0 {
			return true
		}
		at := telemetry.GroupOffset{
			Topic: p.Topic(), Partition: o.Partition.Index, Committed: int64(o.OffsetCommit.Offset),
			Lag: max(0, int64(p.HighWatermark()-o.OffsetCommit.Offset)),
		}
		if at.Lag > 0 {
			at.Age = src.ages.age(name, o.Partition, nowMs)
		}
		list = append(list, at)
		return true
	})
	return list
}
