package image

import (
	"bytes"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// groupTx is a group that a transaction has opened. Opened once, it takes any
// number of offsets without touching the map of groups.
type groupTx struct {
	Group
	offsets   txMap[*Offset]
	count     int // of offsets
	parts     txMap[[]byte]
	partCount int

	pending      txMap[*pendingOffset]
	pendingCount int

	shares txMap[*Share]
}

// noParts is the state of groups that have none.
var noParts = iradix.New[[]byte]()

// group opens a group for change; nil when there is none and create is false.
func (tx *Tx) group(name string, create bool) *groupTx {
	if g, ok := tx.openGroups[name]; ok {
		if g.gone() && !create {
			return nil
		}
		return g
	}
	old, ok := tx.groups.get([]byte(name))
	var g *groupTx
	switch {
	case ok:
		g = &groupTx{Group: old.Group, offsets: txMap[*Offset]{tree: old.offsets}, count: old.offsets.Len(), parts: txMap[[]byte]{tree: old.parts}, partCount: old.parts.Len(), pending: txMap[*pendingOffset]{tree: old.pending}, pendingCount: old.pending.Len(), shares: txMap[*Share]{tree: old.shares}}
	case create:
		g = &groupTx{Group: Group{Name: name}, offsets: txMap[*Offset]{tree: iradix.New[*Offset]()}, parts: txMap[[]byte]{tree: noParts}, pending: txMap[*pendingOffset]{tree: noPending}, shares: txMap[*Share]{tree: noShares}}
	default:
		return nil
	}
	if tx.openGroups == nil {
		tx.openGroups = make(map[string]*groupTx)
	}
	tx.openGroups[name] = g
	return g
}

// gone tells whether nothing is left of a group.
func (g *groupTx) gone() bool {
	return g.State == nil && g.partCount == 0 && g.count == 0 && g.pendingCount == 0
}

// clear leaves of a group what it has committed.
func (g *groupTx) clear() {
	g.Group = Group{Name: g.Name}
	g.parts, g.partCount = txMap[[]byte]{tree: noParts}, 0
	g.shares = txMap[*Share]{tree: noShares}
}

// closeGroups puts the open groups back into the map. In which order does not matter: each has its own key.
func (tx *Tx) closeGroups() {
	for name, g := range tx.openGroups {
		if g.gone() {
			tx.groups.delete([]byte(name))
			continue
		}
		tx.groups.put([]byte(name), &groupState{Group: g.Group, offsets: g.offsets.commit(), parts: g.parts.commit(), pending: g.pending.commit(), shares: g.shares.commit()})
	}
	tx.openGroups = nil
}

func (tx *Tx) putGroup(c command.PutGroup) *Refusal {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return refusal
	}
	g := tx.group(c.Group, c.State != nil)
	if g == nil {
		return nil // no state of no group
	}
	g.clear()
	if c.State != nil {
		g.Type, g.State = c.Type, bytes.Clone(c.State)
	}
	tx.changes.groups.add(c.Group)
	tx.touch(TouchGroup, c.Group)
	return nil
}

// changeGroup changes parts of a group. A part that is named twice is what was said last; deletions come after.
func (tx *Tx) changeGroup(index uint64, c command.ChangeGroup) *Refusal {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return refusal
	}
	g := tx.group(c.Group, len(c.Put) > 0)
	if g == nil {
		if c.Base != 0 {
			return refuse(ErrGroupChanged, "%q is gone", c.Group)
		}
		return nil // nothing of no group
	}
	if g.Version != c.Base {
		return refuse(ErrGroupChanged, "%q is at version %d, this was decided on %d", c.Group, g.Version, c.Base)
	}
	if g.Type != c.Type || g.State != nil {
		g.clear()
	}
	for _, p := range c.Put {
		if _, had := g.parts.write().Insert([]byte(p.Key), bytes.Clone(p.Value)); !had {
			g.partCount++
		}
	}
	for _, k := range c.Delete {
		if _, had := g.parts.delete([]byte(k)); had {
			g.partCount--
		}
	}
	if g.Type, g.Version = c.Type, index; g.partCount == 0 {
		g.clear()
	}
	tx.changes.groups.add(c.Group)
	tx.touch(TouchGroup, c.Group)
	return nil
}

func (tx *Tx) deleteGroup(c command.DeleteGroup) *Refusal {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return refusal
	}
	g := tx.group(c.Group, false)
	if g == nil {
		return refuse(ErrUnknownGroup, "%q", c.Group)
	}
	g.clear()
	tx.touchOffsets(g)
	g.offsets = txMap[*Offset]{tree: iradix.New[*Offset]()}
	g.count = 0
	g.pending, g.pendingCount = txMap[*pendingOffset]{tree: noPending}, 0
	tx.changes.groups.add(c.Group)
	tx.touch(TouchGroup, c.Group)
	return nil
}

// commitOffsets stores offsets; its result is the partitions that do not exist.
func (tx *Tx) commitOffsets(index uint64, timeMs int64, c command.CommitOffsets) (any, *Refusal) {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return nil, refusal
	}
	var left []kafka.Partition
	g := tx.group(c.Group, true)
	for _, o := range c.Offsets {
		k := partitionKey(o.Partition)
		if _, ok := tx.partitions.get(k[:]); !ok {
			left = append(left, o.Partition)
			continue
		}
		if _, updated := g.offsets.write().Insert(k[:], &Offset{OffsetCommit: o, CommittedMs: timeMs}); !updated {
			g.count++
		}
		tx.touchOffset(c.Group, o.Partition)
		g.outdate(o.Partition, index+1) // whatever is pending was told before
	}
	return leftOut(left), nil
}

func (tx *Tx) deleteOffsets(c command.DeleteOffsets) *Refusal {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return refusal
	}
	g := tx.group(c.Group, false)
	if g == nil {
		return refuse(ErrUnknownGroup, "%q", c.Group)
	}
	for _, p := range c.Partitions {
		k := partitionKey(p)
		if _, had := g.offsets.delete(k[:]); had {
			tx.touchOffset(c.Group, p)
			g.count--
		}
	}
	tx.noteGone(g)
	return nil
}

// noteGone makes it a change that the last offset of a stateless group is gone.
func (tx *Tx) noteGone(g *groupTx) {
	if g.gone() {
		tx.changes.groups.add(g.Name)
		tx.touch(TouchGroup, g.Name)
	}
}

// dropOffsets removes a topic's offsets and shares from every group, in name order.
func (tx *Tx) dropOffsets(id kafka.TopicID) {
	holds := func(root *iradix.Node[*Offset], shares *iradix.Node[*Share]) (found bool) {
		root.WalkPrefix(id[:], func([]byte, *Offset) bool { found = true; return true })
		shares.WalkPrefix(id[:], func([]byte, *Share) bool { found = true; return true })
		return found
	}
	awaits := func(root *iradix.Node[*pendingOffset]) (found bool) {
		root.Walk(func(_ []byte, o *pendingOffset) bool { found = o.Partition.Topic == id; return found })
		return found
	}
	var names []string // collected first: opening a group must not disturb the walk
	tx.groups.root().Walk(func(_ []byte, g *groupState) bool {
		if holds(g.offsets.Root(), g.shares.Root()) || awaits(g.pending.Root()) {
			names = append(names, g.Name)
		}
		return false
	})
	for name, g := range tx.openGroups {
		if holds(g.offsets.root(), g.shares.root()) || awaits(g.pending.root()) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if g := tx.group(name, false); g != nil {
			tx.dropGroupOffsets(g, id)
		}
	}
}

func (tx *Tx) dropGroupOffsets(g *groupTx, id kafka.TopicID) {
	var keys [][]byte
	g.offsets.root().WalkPrefix(id[:], func(k []byte, o *Offset) bool {
		tx.touchOffset(g.Name, o.Partition)
		keys = append(keys, k)
		return false
	})
	for _, k := range keys {
		if _, had := g.offsets.delete(k); had {
			g.count--
		}
	}
	g.dropWhere(func(o *pendingOffset) bool { return o.Partition.Topic == id })
	g.shares.deletePrefix(id[:])
	tx.noteGone(g)
}
