package consumer

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

// The durable form is parts, by key: the group's own, and three of each member, since they change at different times.
//
//	g        the group: epochs, assignor
//	m<id>    what a member is: subscription, client, timeouts
//	c<id>    where it stands: epoch, state, its partitions
//	t<id>    its target
//
// Values are CBOR (RFC 8949) with integer keys, in core deterministic encoding. Keys are never reused. Text is what clients sent and need not be
// valid UTF-8, but for ids of members, which are keys.
const (
	headKey    = "g"
	metaKey    = "m"
	currentKey = "c"
	targetKey  = "t"
)

type durableGroup struct {
	Version   uint   `cbor:"1,keyasint"`
	Epoch     int32  `cbor:"2,keyasint"`
	Target    int32  `cbor:"3,keyasint"`
	Assignor  string `cbor:"4,keyasint,omitempty"`
	TopicHash uint64 `cbor:"5,keyasint,omitempty"`
	SinceMs   int64  `cbor:"6,keyasint"`
}

type durableMember struct {
	Instance    string          `cbor:"1,keyasint,omitempty"`
	Rack        string          `cbor:"2,keyasint,omitempty"`
	Client      string          `cbor:"3,keyasint,omitempty"`
	Host        string          `cbor:"4,keyasint,omitempty"`
	RebalanceMs int64           `cbor:"5,keyasint"`
	Names       []string        `cbor:"6,keyasint,omitempty"`
	Regex       string          `cbor:"7,keyasint,omitempty"`
	Assignor    string          `cbor:"8,keyasint,omitempty"`
	Classic     *durableClassic `cbor:"9,keyasint,omitempty"`
}

type durableClassic struct {
	SessionMs int64             `cbor:"1,keyasint"`
	Protocols []durableProtocol `cbor:"2,keyasint"`
}

type durableProtocol struct {
	Name     string `cbor:"1,keyasint"`
	Metadata []byte `cbor:"2,keyasint,omitempty"`
}

type durableCurrent struct {
	Epoch    int32         `cbor:"1,keyasint"`
	Previous int32         `cbor:"2,keyasint"`
	State    memberState   `cbor:"3,keyasint,omitempty"`
	Assigned []assign.Runs `cbor:"4,keyasint,omitempty"`
	Revoking []assign.Runs `cbor:"5,keyasint,omitempty"`
}

var decoding = cbor.Limits{Depth: 8, Elements: 1 << 20, Pairs: 64, AnyText: true}.Decoding()

// encode is all that is dirty, which is clean then.
func (g *Group) encode() *Change {
	c := &Change{Seq: g.next}
	put := func(key string, v any) {
		c.Put = append(c.Put, command.GroupPart{Key: key, Value: cbor.MustMarshal(v)})
	}
	if g.head || !g.kept {
		put(headKey, durableGroup{
			Version: formatVersion, Epoch: g.epoch, Target: g.target, Assignor: g.assignor, TopicHash: g.topicHash, SinceMs: g.since.UnixMilli(),
		})
	}
	for _, m := range g.unsaved {
		if m.dirty&metaDirt != 0 {
			put(metaKey+m.id, durableMember{
				Instance: m.instance, Rack: m.rack, Client: m.client, Host: m.host, RebalanceMs: m.rebalance.Milliseconds(),
				Names: m.names, Regex: m.regex, Assignor: m.assignor, Classic: m.classic.durable(),
			})
		}
		if m.dirty&currentDirt != 0 {
			put(currentKey+m.id, durableCurrent{
				Epoch: m.epoch, Previous: m.previous, State: m.state, Assigned: assign.ToRuns(m.assigned), Revoking: assign.ToRuns(m.revoking),
			})
		}
		if m.dirty&targetDirt != 0 {
			put(targetKey+m.id, assign.ToRuns(m.target))
		}
		m.dirty = 0
	}
	for _, id := range slices.Sorted(maps.Keys(g.gone)) {
		c.Delete = append(c.Delete, metaKey+id, currentKey+id, targetKey+id)
	}
	return c
}

// Load restores a group from its parts, every session beginning now. No parts are a group that only stores offsets.
func Load(limits *Limits, now time.Time, session time.Duration, parts func(f func(key string, value []byte) bool)) (*Group, error) {
	g := New(limits, now, 0)
	heads := 0
	loading := map[string]*member{}
	seen := map[string]dirt{}
	var failed error
	parts(func(key string, value []byte) bool {
		failed = func() error {
			if key == headKey {
				heads++
				return g.loadHead(value)
			}
			if len(key) < 2 {
				return fmt.Errorf("part %q is of no kind", key)
			}
			m := loading[key[1:]]
			if m == nil {
				m = &member{id: key[1:]}
				loading[m.id] = m
			}
			d, err := m.load(key[:1], value)
			seen[m.id] |= d
			return err
		}()
		return failed == nil
	})
	if failed != nil {
		return nil, fmt.Errorf("group state: %w", failed)
	}
	if heads == 0 && len(loading) > 0 {
		return nil, fmt.Errorf("group state: members without a group")
	}
	g.kept = heads > 0
	for _, id := range slices.Sorted(maps.Keys(loading)) {
		if err := g.restore(now, session, loading[id], seen[id]); err != nil {
			return nil, fmt.Errorf("group state: member %q: %w", id, err)
		}
	}
	return g, nil
}

func (g *Group) loadHead(value []byte) error {
	var d durableGroup
	if err := decoding.Unmarshal(value, &d); err != nil {
		return err
	}
	if d.Version != formatVersion {
		return fmt.Errorf("format version %d; this broker knows %d", d.Version, formatVersion)
	}
	if d.Target > d.Epoch {
		return fmt.Errorf("target of epoch %d in group epoch %d", d.Target, d.Epoch)
	}
	g.epoch, g.target, g.assignor, g.topicHash, g.since = d.Epoch, d.Target, d.Assignor, d.TopicHash, time.UnixMilli(d.SinceMs)
	return nil
}

// load reads one of a member's parts.
func (m *member) load(kind string, value []byte) (dirt, error) {
	switch kind {
	case metaKey:
		var d durableMember
		if err := decoding.Unmarshal(value, &d); err != nil {
			return 0, err
		}
		m.instance, m.rack, m.client, m.host = d.Instance, d.Rack, d.Client, d.Host
		m.names, m.regex, m.assignor = d.Names, d.Regex, d.Assignor
		var err error
		if m.rebalance, err = duration(d.RebalanceMs); err == nil {
			m.classic, err = d.Classic.classic()
		}
		return metaDirt, err
	case currentKey:
		var d durableCurrent
		err := decoding.Unmarshal(value, &d)
		if err == nil {
			m.assigned, err = assign.FromRuns(d.Assigned)
		}
		if err == nil {
			m.revoking, err = assign.FromRuns(d.Revoking)
		}
		m.epoch, m.previous, m.state = d.Epoch, d.Previous, d.State
		return currentDirt, err
	case targetKey:
		var d []assign.Runs
		err := decoding.Unmarshal(value, &d)
		if err == nil {
			m.target, err = assign.FromRuns(d)
		}
		return targetDirt, err
	}
	return 0, fmt.Errorf("part %q is of no kind", kind)
}

func duration(ms int64) (time.Duration, error) {
	if ms < 0 || ms > 1<<31-1 {
		return 0, fmt.Errorf("timeout of %d ms", ms)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// restore puts a member that was read into the group.
func (g *Group) restore(now time.Time, session time.Duration, m *member, seen dirt) error {
	switch {
	case seen&metaDirt == 0 || seen&currentDirt == 0:
		return fmt.Errorf("parts are missing")
	case m.state > unreleased || m.epoch > g.target || (m.state == unrevoked) != (len(m.revoking) > 0):
		return fmt.Errorf("state %d, epoch %d of %d, gives up %d partitions", m.state, m.epoch, g.target, len(m.revoking))
	}
	if _, twice := g.static[m.instance]; m.instance != "" && twice {
		return fmt.Errorf("instance %q twice", m.instance)
	}
	for _, p := range m.owns() {
		if o := g.owners[p]; o != nil {
			return fmt.Errorf("%v is member %q's too", p, o.id)
		}
	}
	if err := g.learn(m.regex); err != nil {
		return err
	}
	m.forget(g.epoch)
	g.insert(m)
	g.own(m, m.assigned)
	g.own(m, m.revoking)
	if m.classic != nil {
		session = m.classic.session
	}
	g.touch(m, now, session)
	if m.state == unrevoked {
		m.limit = now.Add(m.rebalance)
		g.note(m.limit)
	}
	return nil
}
