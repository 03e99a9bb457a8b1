package image

import (
	"encoding/binary"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Transactions: the record of every transactional id, and what groups have committed within transactions that are not decided.
//
//	CommitTxnOffsets ─▸ pending, beside the group's offsets ─┬─ PutTransaction PrepareCommit ─▸ the group's offsets
//	                                                         └─ PutTransaction PrepareAbort ──▸ dropped
//
// What must stay true: a group has pending offsets only of transactions that are under way and have the group. So whoever is
// told that a transaction is committed finds its offsets with the groups.

// Transaction finds the record of a transactional id. Not to be changed.
func (m *Image) Transaction(id string) (*command.Transaction, bool) {
	return m.transactions.Get([]byte(id))
}

// Transactions calls f for every transactional id, in order, until it returns false.
func (m *Image) Transactions(f func(*command.Transaction) bool) { walk(m.transactions, f) }

// Unstable are the partitions of a group whose committed offset a transaction under way may still change (KIP-447); nil
// when there are none.
func (m *Image) Unstable(group string) map[kafka.Partition]bool {
	g, ok := m.groups.Get([]byte(group))
	if !ok || g.pending.Len() == 0 {
		return nil
	}
	found := make(map[kafka.Partition]bool, g.pending.Len())
	walk(g.pending, func(o *pendingOffset) bool { found[o.Partition] = true; return true })
	return found
}

// pendingOffset is an offset that a transaction under way has committed.
type pendingOffset struct {
	Offset
	id    string
	index uint64 // of the entry that brought it: whatever the group was told later is newer
}

// pendingKey orders by transactional id, then partition.
func pendingKey(id string, p kafka.Partition) []byte {
	k := partitionKey(p)
	return append(pendingPrefix(id), k[:]...)
}

func pendingPrefix(id string) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(id)+20), uint16(len(id))), id...)
}

// noPending is the state of groups that have none.
var noPending = iradix.New[*pendingOffset]()

// maxTxnID bounds a transactional id; see pendingPrefix.
const maxTxnID = 1 << 15

func (tx *Tx) putTransaction(c command.PutTransaction) *Refusal {
	t := c.Transaction
	if refusal := tx.coordinates(t.ID, c.Coordinator); refusal != nil {
		return refusal
	}
	if t.ID == "" || len(t.ID) > maxTxnID || t.State > command.TxnCompleteAbort {
		return refuse(ErrInvalid, "transactional id of %d bytes in state %d", len(t.ID), t.State)
	}
	revision := uint64(0)
	old, _ := tx.transactions.get([]byte(t.ID))
	if old != nil {
		revision = old.Revision
	}
	if t.Revision != revision+1 {
		return refuse(ErrTransactionChanged, "%q is at revision %d, this is %d", t.ID, revision, t.Revision)
	}
	if old != nil && old.State == command.TxnOngoing && t.State != command.TxnOngoing {
		tx.settle(old, t.State == command.TxnPrepareCommit || t.State == command.TxnCompleteCommit)
	}
	t.Partitions, t.Groups = slices.Clone(t.Partitions), slices.Clone(t.Groups)
	tx.transactions.put([]byte(t.ID), &t)
	tx.touch(TouchTransaction, t.ID)
	return nil
}

// settle ends what a transaction has pending: it is committed, or dropped. What the group was told later than it stays.
func (tx *Tx) settle(t *command.Transaction, commit bool) {
	for _, name := range t.Groups {
		g := tx.group(name, false)
		if g == nil {
			continue
		}
		var own []*pendingOffset
		prefix := pendingPrefix(t.ID)
		g.pending.root().WalkPrefix(prefix, func(_ []byte, o *pendingOffset) bool { own = append(own, o); return false })
		for i, o := range own {
			g.dropPending(o)
			k := partitionKey(o.Partition)
			if bugForgotten && i > 0 {
				continue
			}
			if _, exists := tx.partitions.get(k[:]); !commit && !bugAborted || !exists {
				continue
			}
			g.outdate(o.Partition, o.index)
			offset := o.Offset
			if _, had := g.offsets.write().Insert(k[:], &offset); !had {
				g.count++
			}
			tx.touchOffset(g.Name, o.Partition)
		}
		tx.noteGone(g)
	}
}

func (g *groupTx) dropPending(o *pendingOffset) {
	if _, had := g.pending.delete(pendingKey(o.id, o.Partition)); had {
		g.pendingCount--
	}
}

// outdate drops what is pending for a partition since before an entry.
func (g *groupTx) outdate(p kafka.Partition, index uint64) {
	if g.pendingCount == 0 {
		return
	}
	g.dropWhere(func(o *pendingOffset) bool { return o.Partition == p && o.index < index })
}

func (g *groupTx) dropWhere(old func(*pendingOffset) bool) {
	var drop []*pendingOffset
	g.pending.root().Walk(func(_ []byte, o *pendingOffset) bool {
		if old(o) {
			drop = append(drop, o)
		}
		return false
	})
	for _, o := range drop {
		g.dropPending(o)
	}
}

func (tx *Tx) deleteTransaction(c command.DeleteTransaction) *Refusal {
	if refusal := tx.coordinates(c.ID, c.Coordinator); refusal != nil {
		return refusal
	}
	t, _ := tx.transactions.get([]byte(c.ID))
	switch {
	case t == nil:
		return refuse(ErrUnknownTransaction, "%q", c.ID)
	case t.Revision != c.Revision:
		return refuse(ErrTransactionChanged, "%q is at revision %d, this is of %d", c.ID, t.Revision, c.Revision)
	case t.State == command.TxnOngoing || t.State.Decided():
		return refuse(ErrTransactionState, "%q has a transaction under way", c.ID)
	}
	tx.transactions.delete([]byte(c.ID))
	tx.touch(TouchTransaction, c.ID)
	return nil
}

// commitTxnOffsets stores pending offsets; its result is the partitions that do not exist.
func (tx *Tx) commitTxnOffsets(index uint64, timeMs int64, c command.CommitTxnOffsets) (any, *Refusal) {
	if refusal := tx.coordinates(c.Group, c.Coordinator); refusal != nil {
		return nil, refusal
	}
	t, _ := tx.transactions.get([]byte(c.ID))
	switch {
	case t == nil || t.Producer != c.Producer:
		return nil, refuse(ErrUnknownTransaction, "%q of producer %d", c.ID, c.Producer)
	case t.Epoch != c.Epoch:
		return nil, refuse(ErrTransactionFenced, "%q is at epoch %d of its producer, the request is of %d", c.ID, t.Epoch, c.Epoch)
	case t.State != command.TxnOngoing || !slices.Contains(t.Groups, c.Group):
		return nil, refuse(ErrTransactionState, "%q is %s, or does not have group %q", c.ID, t.State, c.Group)
	}
	var left []kafka.Partition
	g := tx.group(c.Group, true)
	for _, o := range c.Offsets {
		k := partitionKey(o.Partition)
		if _, ok := tx.partitions.get(k[:]); !ok {
			left = append(left, o.Partition)
			continue
		}
		p := &pendingOffset{Offset: Offset{OffsetCommit: o, CommittedMs: timeMs}, id: c.ID, index: index}
		if _, had := g.pending.write().Insert(pendingKey(c.ID, o.Partition), p); !had {
			g.pendingCount++
		}
	}
	return leftOut(left), nil
}
