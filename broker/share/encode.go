package share

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/qanat-io/qanat/broker/consumer/assign"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
)

// formatVersion is the version of the durable form. A newer one is refused, not guessed at.
const formatVersion = 1

// The durable form of a group is parts, by key: the group's own, and one of each member. Values are CBOR (RFC 8949) with integer keys, in core
// deterministic encoding. Keys are never reused. Text is what clients sent and need not be valid UTF-8, but for ids of members, which are keys.
//
//	g        the group: its epoch
//	m<id>    a member: who it is, what it subscribes to, its partitions in that epoch
//
// Which epoch a member was told is not kept: the next coordinator takes its word for it.
const (
	headKey   = "g"
	memberKey = "m"
)

type durableGroup struct {
	Version   uint   `cbor:"1,keyasint"`
	Epoch     int32  `cbor:"2,keyasint"`
	TopicHash uint64 `cbor:"3,keyasint,omitempty"`
}

type durableMember struct {
	Rack   string        `cbor:"1,keyasint,omitempty"`
	Client string        `cbor:"2,keyasint,omitempty"`
	Host   string        `cbor:"3,keyasint,omitempty"`
	Names  []string      `cbor:"4,keyasint"`
	Target []assign.Runs `cbor:"5,keyasint,omitempty"`
}

var decoding = cbor.Limits{Depth: 8, Elements: 1 << 20, Pairs: 64, AnyText: true}.Decoding()

// encode is all that is dirty, which is clean then.
func (g *Group) encode() *GroupChange {
	c := &GroupChange{Seq: g.next}
	put := func(key string, v any) {
		c.Put = append(c.Put, command.GroupPart{Key: key, Value: cbor.MustMarshal(v)})
	}
	if g.head || !g.kept {
		put(headKey, durableGroup{Version: formatVersion, Epoch: g.epoch, TopicHash: g.topicHash})
	}
	for _, m := range g.order {
		if m.dirty {
			put(memberKey+m.id, durableMember{Rack: m.rack, Client: m.client, Host: m.host, Names: m.names, Target: assign.ToRuns(m.target)})
			m.dirty = false
		}
	}
	for _, id := range slices.Sorted(maps.Keys(g.gone)) {
		c.Delete = append(c.Delete, memberKey+id)
	}
	return c
}

// LoadGroup restores a group from its parts, every session beginning now. No parts are a group that is only a name.
func LoadGroup(limits *GroupLimits, now time.Time, session time.Duration, parts func(f func(key string, value []byte) bool)) (*Group, error) {
	g := NewGroup(limits, 0)
	var failed error
	parts(func(key string, value []byte) bool {
		failed = g.load(now, session, key, value)
		return failed == nil
	})
	if failed == nil && !g.kept && len(g.order) > 0 {
		failed = fmt.Errorf("members without a group")
	}
	if failed != nil {
		return nil, fmt.Errorf("share group's state: %w", failed)
	}
	return g, nil
}

func (g *Group) load(now time.Time, session time.Duration, key string, value []byte) error {
	if key == headKey {
		var d durableGroup
		if err := decoding.Unmarshal(value, &d); err != nil {
			return err
		}
		if d.Version != formatVersion {
			return fmt.Errorf("format version %d; this broker knows %d", d.Version, formatVersion)
		}
		g.epoch, g.topicHash, g.kept = d.Epoch, d.TopicHash, true
		return nil
	}
	if len(key) < 2 || key[:1] != memberKey {
		return fmt.Errorf("part %q is of no kind", key)
	}
	var d durableMember
	if err := decoding.Unmarshal(value, &d); err != nil {
		return fmt.Errorf("member %q: %w", key[1:], err)
	}
	target, err := assign.FromRuns(d.Target)
	if err != nil {
		return fmt.Errorf("member %q: %w", key[1:], err)
	}
	m := &member{id: key[1:], rack: d.Rack, client: d.Client, host: d.Host, names: d.Names, target: target, epoch: -1, previous: -1}
	g.insert(m)
	g.touch(m, now, session)
	return nil
}
