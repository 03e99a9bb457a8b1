package image

import "github.com/qanat-io/qanat/wire/kafka"

// A Touch is one committed offset, group or transactional id that an entry has put, replaced or taken away: what Kafka would
// have written a record about. What it is now stands in the image. Only a transaction that is traced keeps them, in the order
// in which they came: Changes leave out offset commits, which are many and which no broker acts on.
type Touch struct {
	Index uint64
	Kind  TouchKind
	Name  string // of the group, or the transactional id

	// Of a TouchOffset. Topic is its name: with the topic deleted, the image has it no more. Never "".
	Partition kafka.Partition
	Topic     string
}

// TouchKind is what was touched.
type TouchKind uint8

const (
	TouchOffset TouchKind = iota + 1
	TouchGroup
	TouchTransaction
)

// Trace has the transaction keep what its commands touch. Before the first of them.
func (tx *Tx) Trace() { tx.traced = true }

// Touches are what was touched, by entry.
func (tx *Tx) Touches() []Touch { return tx.touches }

func (tx *Tx) touchOffset(group string, p kafka.Partition) {
	if !tx.traced {
		return
	}
	if t, ok := tx.topics.get(p.Topic[:]); ok {
		tx.touches = append(tx.touches, Touch{Index: tx.index, Kind: TouchOffset, Name: group, Partition: p, Topic: t.Name})
	}
}

// touchOffsets is touchOffset of all that a group has committed.
func (tx *Tx) touchOffsets(g *groupTx) {
	if tx.traced {
		g.offsets.root().Walk(func(_ []byte, o *Offset) bool { tx.touchOffset(g.Name, o.Partition); return false })
	}
}

func (tx *Tx) touch(kind TouchKind, name string) {
	if tx.traced {
		tx.touches = append(tx.touches, Touch{Index: tx.index, Kind: kind, Name: name})
	}
}
