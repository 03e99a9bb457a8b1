package txn

import (
	"math"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// EndRequest is a client's wish to end its transaction.
type EndRequest struct {
	Identity
	Commit bool
	// Bump says that the client learns its next epoch from the answer (version 2, EndTxn v5).
	Bump bool
	// Fresh is a producer id that nobody had, for when one is needed.
	Fresh kafka.ProducerID
	NowMs int64
}

// End decides a transaction. me is what the client goes on under; it learns that with Bump. No next and no error: it was
// decided before, and the answer was lost. With ErrConcurrent the markers of the decision are still being written.
func End(old *Record, r EndRequest) (next *Record, me Identity, err error) {
	if !r.Bump {
		return endPlain(old, r)
	}
	if old == nil {
		return nil, nobody, ErrUnknownProducer
	}
	again := old.Producer == r.Producer && old.LastEpoch == r.Epoch && old.Epoch == r.Epoch+1 ||
		old.LastProducer == r.Producer && r.Epoch == lastEpoch && old.LastEpoch == lastEpoch && old.Epoch == 0
	ahead := old.State.Decided() && (old.Next == kafka.NoProducer && r.Identity == Identity{old.Producer, old.Epoch} || old.Next != kafka.NoProducer && r.Identity == Identity{old.Next, 0})
	switch {
	case ahead && !r.Commit:
		// The next transaction, with nothing in it yet: it can be ended when the one before is. Kafka calls this client fenced.
		return nil, nobody, ErrConcurrent
	case old.Producer != r.Producer && !again:
		return nil, nobody, ErrUnknownProducer
	case !again && old.State.Decided(), !again && old.Epoch != r.Epoch, again && old.State == command.TxnOngoing, again && old.State == command.TxnEmpty:
		return nil, nobody, ErrFenced
	}
	me = Identity{old.Producer, old.Epoch}
	switch {
	case old.State.Decided():
		return nil, nobody, ErrConcurrent
	case old.State == command.TxnOngoing, !again && !r.Commit:
		// An abort may come before anything was written: the client does not know whether it was (KIP-890).
		next, me = decide(old, r)
		return next, me, nil
	case again && r.Commit == (old.State == command.TxnCompleteCommit):
		return nil, me, nil
	}
	return nil, nobody, ErrState
}

// endPlain is End for clients whose epoch stays.
func endPlain(old *Record, r EndRequest) (next *Record, me Identity, err error) {
	if err := own(old, r.Identity); err != nil {
		return nil, nobody, err
	}
	same := r.Commit == (old.State == command.TxnPrepareCommit || old.State == command.TxnCompleteCommit)
	switch {
	case old.State == command.TxnOngoing:
		next, me = decide(old, r)
		return next, me, nil
	case old.State == command.TxnEmpty || !same:
		return nil, nobody, ErrState
	case old.State.Decided():
		return nil, nobody, ErrConcurrent
	}
	return nil, r.Identity, nil
}

func decide(old *Record, r EndRequest) (*Record, Identity) {
	n := follow(old, r.NowMs)
	n.State = command.TxnPrepareAbort
	if r.Commit {
		n.State = command.TxnPrepareCommit
	}
	if old.State != command.TxnOngoing {
		n.StartedMs, n.Partitions, n.Groups = n.ChangedMs, nil, nil
	}
	me := Identity{old.Producer, old.Epoch}
	if r.Bump {
		n.LastProducer, n.LastEpoch = old.Producer, old.Epoch
		n.Epoch++
		me.Epoch = n.Epoch
		if Exhausted(old.Epoch) {
			n.Next = r.Fresh
			me = Identity{r.Fresh, 0}
		}
		n.Version = 2
	}
	return completed(n), me
}

// Fence ends the transaction under way without its client: it has run out of time, or another client has taken over. Its epoch
// grows, so that the client learns of it.
func Fence(old *Record, nowMs int64) *Record {
	n := follow(old, nowMs)
	n.State = command.TxnPrepareAbort
	if n.Epoch < math.MaxInt16 {
		n.Epoch++
	}
	n.LastProducer, n.LastEpoch = old.Producer, -1
	return completed(n)
}

// completed takes a record on that was just decided, when no marker is to be written.
func completed(n *Record) *Record {
	if len(n.Partitions) == 0 {
		complete(n)
	}
	return n
}

// Complete is the record once all markers of a decision are written.
func Complete(old *Record, nowMs int64) *Record {
	n := follow(old, nowMs)
	complete(n)
	return n
}

func complete(n *Record) {
	if n.State = n.State + command.TxnCompleteCommit - command.TxnPrepareCommit; n.Next != kafka.NoProducer {
		n.LastProducer, n.Producer, n.Epoch, n.Next = n.Producer, n.Next, 0, kafka.NoProducer
	}
	n.Partitions, n.Groups = nil, nil
}

// TimedOut tells whether a transaction has been under way for longer than its client has allowed.
func TimedOut(r *Record, nowMs int64) bool {
	return r.State == command.TxnOngoing && nowMs-r.StartedMs >= int64(r.TimeoutMs)
}

// Expired tells whether nobody has used a transactional id for a time, so that it may be forgotten.
func Expired(r *Record, nowMs, afterMs int64) bool {
	return r.State != command.TxnOngoing && !r.State.Decided() && nowMs-r.ChangedMs >= afterMs
}
