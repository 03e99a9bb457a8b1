package streams

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/cbor"
)

// formatVersion is the version of the durable form. A newer one is refused, not guessed at.
const formatVersion = 1

// The durable form is parts, by key: the group's own, its topology, and three of each member, since they change at different times.
//
//	g        the group: epochs
//	y        its topology (see Topology)
//	m<id>    what a member is: process, client, timeouts
//	c<id>    where it stands: epoch, state, its tasks
//	t<id>    its target
//
// Values are CBOR (RFC 8949) with integer keys, in core deterministic encoding. Keys are never reused. Text is what clients sent and need not be
// valid UTF-8, but for ids of members, which are keys. Tasks are runs: subtopology, first, length, …
const (
	headKey     = "g"
	topologyKey = "y"
	metaKey     = "m"
	currentKey  = "c"
	targetKey   = "t"
)

type durableGroup struct {
	Version   uint   `cbor:"1,keyasint"`
	Epoch     int32  `cbor:"2,keyasint"`
	Target    int32  `cbor:"3,keyasint"`
	TopicHash uint64 `cbor:"4,keyasint,omitempty"`
	SinceMs   int64  `cbor:"5,keyasint"`
	Ready     bool   `cbor:"6,keyasint,omitempty"`
	Standbys  int    `cbor:"7,keyasint,omitempty"`
}

type durableMember struct {
	Rack          string    `cbor:"1,keyasint,omitempty"`
	Client        string    `cbor:"2,keyasint,omitempty"`
	Host          string    `cbor:"3,keyasint,omitempty"`
	Process       string    `cbor:"4,keyasint,omitempty"`
	RebalanceMs   int64     `cbor:"5,keyasint"`
	TopologyEpoch int32     `cbor:"6,keyasint,omitempty"`
	Endpoint      *Endpoint `cbor:"7,keyasint,omitempty"`
	Tags          []Pair    `cbor:"8,keyasint,omitempty"`
}

type durableCurrent struct {
	Epoch    int32       `cbor:"1,keyasint"`
	Previous int32       `cbor:"2,keyasint"`
	State    memberState `cbor:"3,keyasint,omitempty"`
	Assigned durableRuns `cbor:"4,keyasint,omitempty"`
	Revoking durableRuns `cbor:"5,keyasint,omitempty"`
}

type durableRuns struct {
	Active  []int32 `cbor:"1,keyasint,omitempty"`
	Standby []int32 `cbor:"2,keyasint,omitempty"`
}

var decoding = cbor.Limits{Depth: 10, Elements: 1 << 20, Pairs: 64, AnyText: true}.Decoding()

// encode is all that is dirty, which is clean then.
func (g *Group) encode() *Change {
	c := &Change{Seq: g.next}
	put := func(key string, v any) {
		c.Put = append(c.Put, command.GroupPart{Key: key, Value: cbor.MustMarshal(v)})
	}
	if g.head || !g.kept {
		put(headKey, durableGroup{
			Version: formatVersion, Epoch: g.epoch, Target: g.target, TopicHash: g.topicHash, SinceMs: g.since.UnixMilli(), Ready: g.ready, Standbys: g.standbys,
		})
	}
	if g.plan {
		put(topologyKey, g.topology)
	}
	for _, m := range g.unsaved {
		if m.dirty&metaDirt != 0 {
			put(metaKey+m.id, durableMember{
				Rack: m.rack, Client: m.client, Host: m.host, Process: m.process, RebalanceMs: m.rebalance.Milliseconds(),
				TopologyEpoch: m.topologyEpoch, Endpoint: m.endpoint, Tags: m.tags,
			})
		}
		if m.dirty&currentDirt != 0 {
			put(currentKey+m.id, durableCurrent{Epoch: m.epoch, Previous: m.previous, State: m.state, Assigned: runs(m.assigned), Revoking: runs(m.revoking)})
		}
		if m.dirty&targetDirt != 0 {
			put(targetKey+m.id, runs(m.target))
		}
		m.dirty = 0
	}
	for _, id := range slices.Sorted(maps.Keys(g.gone)) {
		c.Delete = append(c.Delete, metaKey+id, currentKey+id, targetKey+id)
	}
	return c
}

func runs(a Assignment) durableRuns {
	of := func(ts Tasks) (out []int32) {
		for _, t := range ts {
			if n := len(out); n > 0 && out[n-3] == t.Sub && out[n-2]+out[n-1] == t.Index {
				out[n-1]++
			} else {
				out = append(out, t.Sub, t.Index, 1)
			}
		}
		return out
	}
	return durableRuns{of(a.Active), of(a.Standby)}
}

// assignment reads what runs wrote; mostRun bounds what one run may be read as.
func (d durableRuns) assignment() (Assignment, error) {
	const mostRun = mostPartitions
	of := func(rs []int32) (Tasks, error) {
		if len(rs)%3 != 0 {
			return nil, errors.New("a run of tasks that is cut off")
		}
		var ts []Task
		for ; len(rs) > 0; rs = rs[3:] {
			sub, first, n := rs[0], rs[1], rs[2]
			if sub < 0 || first < 0 || n < 1 || n > mostRun || first > mostRun || len(ts) > 8*mostRun {
				return nil, fmt.Errorf("tasks of subtopology %d from %d, %d of them", sub, first, n)
			}
			for k := range n {
				ts = append(ts, Task{sub, first + k})
			}
		}
		if set := setOf(slices.Clone(ts)); !set.Equal(ts) {
			return nil, errors.New("tasks that are not in order")
		}
		return ts, nil
	}
	active, err := of(d.Active)
	if err != nil {
		return Assignment{}, err
	}
	standby, err := of(d.Standby)
	return Assignment{active, standby}, err
}

// Load restores a group from its parts, every session beginning now. No parts are a group that is only a name.
func Load(limits *Limits, now time.Time, session time.Duration, parts func(f func(key string, value []byte) bool)) (*Group, error) {
	g := New(limits, now, 0)
	loading := map[string]*member{}
	seen := map[string]dirt{}
	var failed error
	parts(func(key string, value []byte) bool {
		failed = func() error {
			switch {
			case key == headKey:
				return g.loadHead(value)
			case key == topologyKey:
				var t Topology
				err := decoding.Unmarshal(value, &t)
				if err == nil {
					err = t.sound()
				}
				g.adopt(&t)
				return err
			case len(key) < 2:
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
	if failed == nil && (!g.kept || g.topology == nil) && (g.kept || len(loading) > 0) {
		failed = errors.New("parts of the group are missing")
	}
	for _, id := range slices.Sorted(maps.Keys(loading)) {
		if failed == nil {
			if err := g.restore(now, session, loading[id], seen[id]); err != nil {
				failed = fmt.Errorf("member %q: %w", id, err)
			}
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("group state: %w", failed)
	}
	return g, nil
}

func (g *Group) loadHead(value []byte) error {
	var d durableGroup
	if err := decoding.Unmarshal(value, &d); err != nil {
		return err
	}
	switch {
	case d.Version != formatVersion:
		return fmt.Errorf("format version %d; this broker knows %d", d.Version, formatVersion)
	case d.Target > d.Epoch || d.Target < 1:
		return fmt.Errorf("target of epoch %d in group epoch %d", d.Target, d.Epoch)
	}
	g.epoch, g.target, g.topicHash, g.since, g.ready, g.standbys, g.kept = d.Epoch, d.Target, d.TopicHash, time.UnixMilli(d.SinceMs), d.Ready, d.Standbys, true
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
		if d.RebalanceMs < 0 || d.RebalanceMs > 1<<31-1 {
			return 0, fmt.Errorf("timeout of %d ms", d.RebalanceMs)
		}
		m.rack, m.client, m.host, m.process, m.topologyEpoch = d.Rack, d.Client, d.Host, d.Process, d.TopologyEpoch
		m.rebalance, m.endpoint, m.tags = time.Duration(d.RebalanceMs)*time.Millisecond, d.Endpoint, d.Tags
		return metaDirt, nil
	case currentKey:
		var d durableCurrent
		err := decoding.Unmarshal(value, &d)
		if err == nil {
			m.assigned, err = d.Assigned.assignment()
		}
		if err == nil {
			m.revoking, err = d.Revoking.assignment()
		}
		m.epoch, m.previous, m.state = d.Epoch, d.Previous, d.State
		return currentDirt, err
	case targetKey:
		var d durableRuns
		err := decoding.Unmarshal(value, &d)
		if err == nil {
			m.target, err = d.assignment()
		}
		return targetDirt, err
	}
	return 0, fmt.Errorf("part %q is of no kind", kind)
}

// restore puts a member that was read into the group.
func (g *Group) restore(now time.Time, session time.Duration, m *member, seen dirt) error {
	switch {
	case seen&metaDirt == 0 || seen&currentDirt == 0:
		return errors.New("parts are missing")
	case m.state > unreleased || m.epoch > g.target || (m.state == unrevoked) == m.revoking.empty():
		return fmt.Errorf("state %d, epoch %d of %d, gives up %v", m.state, m.epoch, g.target, m.revoking)
	}
	subs := int32(len(g.topology.Subtopologies))
	for _, a := range []Assignment{m.assigned, m.revoking, m.target} {
		for _, list := range []Tasks{a.Active, a.Standby} {
			if n := len(list); n > 0 && list[n-1].Sub >= subs {
				return fmt.Errorf("a task of subtopology %d, of %d", list[n-1].Sub, subs)
			}
		}
	}
	for _, t := range m.owns().Active {
		if o := g.active[t]; o != nil {
			return fmt.Errorf("task %v is member %q's too", t, o.id)
		}
	}
	g.insert(m)
	g.own(m, m.assigned)
	g.own(m, m.revoking)
	m.held = m.epoch
	g.touch(m, now, session)
	if m.state == unrevoked {
		m.limit = now.Add(m.rebalance)
		g.note(m.limit)
	}
	return nil
}
