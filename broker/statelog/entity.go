package statelog

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire/kafka"
)

// entity is what a record is of: a committed offset, a classic group, a transactional id, or what one of them was. Small, as
// there is one for each record; what it shows is in the image.
type entity struct {
	name string // of the group, or the transactional id
	of   any    // *image.Offset, *classic, *command.Transaction, or *tombstone
}

// classic is the state of a classic group.
type classic struct{ state []byte }

// tombstone is the key of something that is gone.
type tombstone struct {
	kind      image.TouchKind
	topic     string // of an offset
	partition int32
	at        int64 // when it went, in milliseconds
}

func (e *entity) gone() bool { _, ok := e.of.(*tombstone); return ok }

// current tells whether the image still holds what the record shows. A tombstone may be followed by what has come after it, and stays.
func (e *entity) current(m *image.Image) bool {
	switch of := e.of.(type) {
	case *image.Offset:
		o, ok := m.Offset(e.name, of.Partition)
		return ok && o == of
	case *classic:
		g, ok := m.Group(e.name)
		return ok && len(g.State) > 0 && &g.State[0] == &of.state[0]
	case *command.Transaction:
		t, ok := m.Transaction(e.name)
		return ok && t == of
	}
	return true
}

// entityOf is what an entry has touched, as the image shows it; false when there is no record of that.
func entityOf(m *image.Image, t *image.Touch) (entity, bool) {
	switch t.Kind {
	case image.TouchOffset:
		if o, ok := m.Offset(t.Name, t.Partition); ok {
			return entity{t.Name, o}, true
		}
	case image.TouchGroup:
		if g, ok := m.Group(t.Name); ok {
			if len(g.State) == 0 {
				return entity{}, false // of another protocol, or nothing but offsets
			}
			return entity{t.Name, &classic{g.State}}, true
		}
	case image.TouchTransaction:
		if x, ok := m.Transaction(t.Name); ok {
			return entity{t.Name, x}, true
		}
	}
	return entity{t.Name, &tombstone{kind: t.Kind, topic: t.Topic, partition: t.Partition.Index, at: time.Now().UnixMilli()}}, true
}

// all is what an image holds of a partition, by when it came to be: who has seen what other brokers showed until shortly before
// has seen the first of it.
func all(m *image.Image, t *image.Topic, index int32) []entity {
	var found []entity
	if t == Transactions {
		m.Transactions(func(x *command.Transaction) bool {
			if PartitionOf(x.ID) == index {
				found = append(found, entity{x.ID, x})
			}
			return true
		})
	} else {
		m.Groups(func(g *image.Group) bool {
			if PartitionOf(g.Name) != index {
				return true
			}
			if len(g.State) > 0 {
				found = append(found, entity{g.Name, &classic{g.State}})
			}
			m.Offsets(g.Name, func(o *image.Offset) bool {
				found = append(found, entity{g.Name, o})
				return true
			})
			return true
		})
	}
	// Of a group it has to be read: once.
	at := make(map[any]int64, len(found))
	for i := range found {
		at[found[i].of] = found[i].timestamp()
	}
	slices.SortStableFunc(found, func(a, b entity) int { return cmp.Compare(at[a.of], at[b.of]) })
	return found
}

// timestamp is the record's; that of a classic group is the one of its last change of generation, or 0 where its state cannot be read.
func (e *entity) timestamp() int64 {
	switch of := e.of.(type) {
	case *image.Offset:
		return of.CommittedMs
	case *command.Transaction:
		return of.ChangedMs
	case *classic:
		if d, err := group.Durable(of.state); err == nil {
			return d.Since.UnixMilli()
		}
	case *tombstone:
		return of.at
	}
	return 0
}

// encode is the record in Kafka's form: the oldest that says everything, since it is what the most programs read. There is
// nothing to show, and ok is false, where an offset's topic is gone, or a group's state is not what this broker can read, of
// which the group's coordinator tells.
func (e *entity) encode(m *image.Image) (timestamp int64, key, value []byte, ok bool) {
	switch of := e.of.(type) {
	case *image.Offset:
		t, there := m.TopicByID(of.Partition.Topic)
		if !there {
			return 0, nil, nil, false
		}
		key, value = offsetKey(e.name, t.Name, of.Partition.Index), offsetValue(of)
	case *classic:
		d, err := group.Durable(of.state)
		if err != nil {
			return 0, nil, nil, false
		}
		key, value = groupKey(e.name), groupValue(&d)
	case *command.Transaction:
		key, value = transactionKey(e.name), transactionValue(m, of)
	case *tombstone:
		switch of.kind {
		case image.TouchOffset:
			key = offsetKey(e.name, of.topic, of.partition)
		case image.TouchGroup:
			key = groupKey(e.name)
		case image.TouchTransaction:
			key = transactionKey(e.name)
		}
	}
	return e.timestamp(), key, value, true
}

func offsetKey(name, topic string, partition int32) []byte {
	k := kmsg.OffsetCommitKey{Version: 1, Group: name, Topic: topic, Partition: partition}
	return k.AppendTo(nil)
}

// offsetValue has version 3, or where the offset's own expiry is set, which only version 1 has, that one.
func offsetValue(o *image.Offset) []byte {
	v := kmsg.OffsetCommitValue{
		Version: 3, Offset: int64(o.Offset), LeaderEpoch: int32(o.LeaderEpoch), Metadata: o.Metadata,
		CommitTimestamp: o.CommittedMs, ExpireTimestamp: o.ExpireMs,
	}
	if o.ExpireMs != 0 {
		v.Version = 1
	}
	return v.AppendTo(nil)
}

func groupKey(name string) []byte {
	k := kmsg.GroupMetadataKey{Version: 2, Group: name}
	return k.AppendTo(nil)
}

func groupValue(d *group.DurableState) []byte {
	v := kmsg.GroupMetadataValue{
		Version: 2, ProtocolType: d.Type, Generation: d.Generation, Protocol: filled(d.Protocol), Leader: filled(d.Leader),
		CurrentStateTimestamp: d.Since.UnixMilli(),
	}
	for _, m := range d.Members {
		if m.InstanceID != "" {
			v.Version = 3 // which has it; not every program reads that one
		}
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID: m.ID, InstanceID: filled(m.InstanceID), ClientID: m.ClientID, ClientHost: m.ClientHost,
			RebalanceTimeoutMillis: int32(m.Rebalance.Milliseconds()), SessionTimeoutMillis: int32(m.Session.Milliseconds()),
			Subscription: m.Metadata, Assignment: m.Assignment,
		})
	}
	return v.AppendTo(nil)
}

// filled is null for an empty string.
func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func transactionKey(id string) []byte {
	k := kmsg.TxnMetadataKey{TransactionalID: id}
	return k.AppendTo(nil)
}

// transactionStates are Kafka's numbers.
var transactionStates = map[command.TxnState]kmsg.TransactionState{
	command.TxnEmpty: 0, command.TxnOngoing: 1, command.TxnPrepareCommit: 2, command.TxnPrepareAbort: 3, command.TxnCompleteCommit: 4, command.TxnCompleteAbort: 5,
}

func transactionValue(m *image.Image, t *command.Transaction) []byte {
	v := kmsg.TxnMetadataValue{
		ProducerID: int64(t.Producer), ProducerEpoch: int16(t.Epoch), TimeoutMillis: t.TimeoutMs, State: transactionStates[t.State],
		LastUpdateTimestamp: t.ChangedMs, StartTimestamp: -1,
	}
	if t.StartedMs != 0 {
		v.StartTimestamp = t.StartedMs
	}
	at := map[kafka.TopicID]int{}
	for _, p := range t.Partitions {
		topic, ok := m.TopicByID(p.Topic)
		if !ok {
			continue
		}
		i, seen := at[p.Topic]
		if !seen {
			i = len(v.Topics)
			at[p.Topic] = i
			v.Topics = append(v.Topics, kmsg.TxnMetadataValueTopic{Topic: topic.Name})
		}
		v.Topics[i].Partitions = append(v.Topics[i].Partitions, p.Index)
	}
	return v.AppendTo(nil)
}
