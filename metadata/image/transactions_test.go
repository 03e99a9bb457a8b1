package image

import (
	"errors"
	"testing"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// ongoing puts a transaction of producer 5 that has groups g and h under way.
func (w *world) ongoing(id string) command.Transaction {
	w.t.Helper()
	t := command.Transaction{ID: id, Revision: 1, Producer: 5, Epoch: 1, State: command.TxnOngoing, Groups: []string{"g", "h"}}
	if old, ok := w.m.Transaction(id); ok {
		t.Revision = old.Revision + 1
	}
	w.do(command.PutTransaction{Transaction: t})
	return t
}

func (w *world) within(id, group string, offset kafka.Offset) {
	w.t.Helper()
	w.do(command.CommitTxnOffsets{Group: group, ID: id, Producer: 5, Epoch: 1, Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: offset}}})
}

func (w *world) turn(t command.Transaction, s command.TxnState) {
	w.t.Helper()
	t.Revision, t.State = t.Revision+1, s
	w.do(command.PutTransaction{Transaction: t})
}

func (w *world) committed(group string) kafka.Offset {
	if o, ok := w.m.Offset(group, part(1, 0)); ok {
		return o.Offset
	}
	return -1
}

// A group would be told of offsets whose transaction is not decided, would not have them once it is, or would have those of one
// that was aborted.
func TestOffsetsFollowTheirTransaction(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 2))
	w.do(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 3}}})
	txn := w.ongoing("t")
	w.within("t", "g", 7)
	w.within("t", "h", 8)
	if at := w.committed("g"); at != 3 || !w.m.Unstable("g")[part(1, 0)] || w.m.Unstable("g")[part(1, 1)] {
		t.Errorf("undecided: offset %d, unstable %v", at, w.m.Unstable("g"))
	}
	w.turn(txn, command.TxnPrepareCommit)
	if g, h := w.committed("g"), w.committed("h"); g != 7 || h != 8 || w.m.Unstable("g") != nil || w.m.Unstable("h") != nil {
		t.Errorf("committed: %d and %d, unstable %v, %v", g, h, w.m.Unstable("g"), w.m.Unstable("h"))
	}
	txn.Revision++
	w.turn(txn, command.TxnCompleteCommit)

	txn = w.ongoing("t")
	w.within("t", "g", 9)
	w.turn(txn, command.TxnPrepareAbort)
	if at := w.committed("g"); at != 7 || w.m.Unstable("g") != nil {
		t.Errorf("aborted: offset %d, unstable %v", at, w.m.Unstable("g"))
	}

	txn = w.ongoing("only pending")
	w.within("only pending", "h", 10)
	w.do(command.DeleteTopic{ID: id(1)})
	if m := w.m.Unstable("h"); m != nil {
		t.Errorf("offsets of a deleted topic are pending: %v", m)
	}
	w.turn(txn, command.TxnPrepareCommit)
	if _, ok := w.m.Group("h"); ok {
		t.Error("a group without anything is there")
	}
}

// An offset that a transaction has committed would take the place of what the group was told later.
func TestLaterOffsetsStay(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 2))
	first, second := w.ongoing("t"), w.ongoing("u")
	w.within("t", "g", 7)
	w.do(command.CommitOffsets{Group: "g", Offsets: []command.OffsetCommit{{Partition: part(1, 0), Offset: 11}}})
	w.turn(first, command.TxnPrepareCommit)
	if at := w.committed("g"); at != 11 {
		t.Errorf("offset %d after a commit of 11 that came behind the transaction's", at)
	}
	third := w.ongoing("v")
	w.within("v", "g", 12)
	w.within("u", "g", 13)
	w.turn(second, command.TxnPrepareCommit)
	w.turn(third, command.TxnPrepareCommit)
	if at := w.committed("g"); at != 13 {
		t.Errorf("offset %d, the newest is 13", at)
	}
}

// What was decided on an older record, or comes from another producer, would take effect.
func TestTransactionsCompareAndSet(t *testing.T) {
	w := newWorld(t)
	w.do(topic(1, "a", 1))
	refused := func(want error, c command.Command) {
		t.Helper()
		if _, _, err := w.apply(command.Envelope{}, c); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", c, err, want)
		}
	}
	txn := w.ongoing("t")
	refused(ErrTransactionChanged, command.PutTransaction{Transaction: txn})
	refused(ErrTransactionState, command.DeleteTransaction{ID: "t", Revision: 1})
	o := []command.OffsetCommit{{Partition: part(1, 0), Offset: 1}}
	refused(ErrUnknownTransaction, command.CommitTxnOffsets{Group: "g", ID: "x", Producer: 5, Epoch: 1, Offsets: o})
	refused(ErrUnknownTransaction, command.CommitTxnOffsets{Group: "g", ID: "t", Producer: 6, Epoch: 1, Offsets: o})
	refused(ErrTransactionFenced, command.CommitTxnOffsets{Group: "g", ID: "t", Producer: 5, Epoch: 0, Offsets: o})
	refused(ErrTransactionState, command.CommitTxnOffsets{Group: "other", ID: "t", Producer: 5, Epoch: 1, Offsets: o})
	w.turn(txn, command.TxnPrepareAbort)
	refused(ErrTransactionState, command.CommitTxnOffsets{Group: "g", ID: "t", Producer: 5, Epoch: 1, Offsets: o})
	w.do(command.PlaceCoordinators{Shards: []command.ShardPlacement{{Shard: CoordinatorShard("t"), Broker: 1}}})
	txn.Revision, txn.State = 3, command.TxnCompleteAbort
	refused(ErrNotCoordinator, command.PutTransaction{Transaction: txn, Coordinator: 9})
	w.do(command.PutTransaction{Transaction: txn, Coordinator: 1})
	refused(ErrTransactionChanged, command.DeleteTransaction{ID: "t", Revision: 2})
	w.do(command.DeleteTransaction{ID: "t", Revision: 3})
	refused(ErrUnknownTransaction, command.DeleteTransaction{ID: "t", Revision: 3})
	if _, ok := w.m.Transaction("t"); ok {
		t.Error("a forgotten transactional id is there")
	}
}
