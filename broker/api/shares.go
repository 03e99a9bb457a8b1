package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/config"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What ShareFetch and ShareAcknowledge have in common.

// ShareSettings are a group's settings as package shareleader wants them.
func ShareSettings(c *config.Broker) func(m *image.Image, group string) shareleader.Settings {
	of := c.ShareSettings()
	return func(m *image.Image, group string) shareleader.Settings {
		s := of(m.Configs(command.Group, group))
		return shareleader.Settings{
			Limits:    share.Limits{Deliveries: int16(s.Deliveries), Locks: s.Locks, Lock: s.Lock},
			Committed: s.Committed, Renews: s.Renews,
			Reset: func(now time.Time) int64 {
				const latest, earliest = -1, -2
				switch {
				case s.Reset.Ago > 0:
					return now.Add(-s.Reset.Ago).UnixMilli()
				case s.Reset.Earliest:
					return earliest
				}
				return latest
			},
		}
	}
}

// shares tells whether this cluster has share groups: not before every broker knows their commands.
func (h *Handler) shares() error {
	if h.Shares == nil {
		return refuse(kerr.UnsupportedVersion, "share groups are not served")
	}
	return h.quorum.Image().Level().Knows(command.KindChangeShare)
}

// shareMember is who asks: both are nullable in the protocol only.
func shareMember(group, member *string) (g, m string, err error) {
	if group == nil || member == nil || *group == "" {
		return "", "", refuse(kerr.InvalidRequest, "a request of a share consumer names its group and its member")
	}
	return *group, *member, share.CheckMemberID(*member)
}

// shareAcks are acknowledgements of a partition, as either request has them.
func shareAcks(m *image.Image, topic kafka.TopicID, index int32, acks []share.Ack, renews bool) shareleader.PartitionAcks {
	out := shareleader.PartitionAcks{Partition: kafka.Partition{Topic: topic, Index: index}, Acks: acks, Err: share.CheckAcks(acks, renews)}
	if _, err := topicWithID(m, topic); err != nil {
		out.Err = err
	} else if _, ok := m.Partition(out.Partition); !ok {
		out.Err = errNoPartition
	}
	return out
}

// shareAck is one of them.
func shareAck(first, last int64, types []int8) share.Ack {
	a := share.Ack{First: kafka.Offset(first), Next: kafka.Offset(last) + 1, Types: make([]share.AckType, len(types))}
	for i, t := range types {
		a.Types[i] = share.AckType(t)
	}
	return a
}

// renews tells whether a request may renew locks; an error: it says so, and its group does not let it (KIP-1222).
func (h *Handler) renews(group string, says bool) error {
	if !says {
		return nil
	}
	if of := h.shareSettings(h.quorum.Image(), group); !of.Renews {
		return refuse(kerr.InvalidRequest, "share.renew.acknowledge.enable of group %q is false", group)
	}
	return nil
}

// lockTimeout is what clients are told of their locks.
func (h *Handler) lockTimeout(group string) int32 {
	return int32(h.shareSettings(h.quorum.Image(), group).Lock.Milliseconds())
}

// shareHint is where a partition's leader is, for who was told that it is not here.
func (h *Handler) shareHint(m *image.Image, p kafka.Partition, err error) (id, epoch int32, hinted bool) {
	if known(err) != kerr.NotLeaderForPartition {
		return -1, -1, false
	}
	ip, ok := m.Partition(p)
	if !ok || ip.Leader == kafka.NoBroker {
		return -1, -1, false
	}
	return int32(ip.Leader), int32(ip.LeaderEpoch), true
}

// shareEndpoints are the addresses of hinted leaders.
func (h *Handler) shareEndpoints(m *image.Image, x *wire.Exchange, ids map[int32]bool) (out []kmsg.ShareFetchResponseNodeEndpoint) {
	for id := range ids {
		b, ok := m.Broker(kafka.BrokerID(id))
		if !ok {
			continue
		}
		if host, port, ok := endpoint(b, listener(x)); ok {
			out = append(out, kmsg.ShareFetchResponseNodeEndpoint{NodeID: id, Host: host, Port: port, Rack: rack(b)})
		}
	}
	return out
}

// expectShares waits while this broker, in sync, may be about to lead what a share consumer asks for.
func (h *Handler) expectShares(x *wire.Exchange, ps []kafka.Partition) {
	m := h.quorum.Image()
	var e expected
	for _, p := range ps {
		if t, ok := m.TopicByID(p.Topic); ok {
			e = h.add(e, t, p.Index, kafka.NoEpoch)
		}
	}
	h.expect(x, e)
}

// ShareLogs finds partitions for package shareleader: nil where they are not hosted.
func ShareLogs(find func(kafka.Partition) *partition.Partition) func(kafka.Partition) shareleader.Log {
	return func(at kafka.Partition) shareleader.Log {
		if p := find(at); p != nil {
			return p
		}
		return nil
	}
}
