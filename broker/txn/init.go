package txn

import (
	"math"
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Record is all that is known of a transactional id.
type Record = command.Transaction

// Identity is a producer id with one of its epochs.
type Identity struct {
	Producer kafka.ProducerID
	Epoch    kafka.ProducerEpoch
}

// nobody stands where there is no such identity.
var nobody = Identity{kafka.NoProducer, -1}

// lastEpoch is the newest epoch that a client is ever given. The one behind it is left for the coordinator to fence that client.
const lastEpoch kafka.ProducerEpoch = math.MaxInt16 - 1

// Exhausted tells whether a client with that epoch needs another producer id to go on.
func Exhausted(e kafka.ProducerEpoch) bool { return e >= lastEpoch }

// InitRequest asks for an identity to work under.
type InitRequest struct {
	ID        string
	TimeoutMs int32
	// Expected is what the client had until now, when it wants to go on after an error (KIP-360); else nil.
	Expected *Identity
	// Fresh is a producer id that nobody had, for when one is needed.
	Fresh kafka.ProducerID
	// NowMs is the coordinator's clock.
	NowMs int64
}

// Init gives a client its identity, under which it alone may use the transactional id from then on. old is nil for an id that is
// not known. When next is not nil it is to be kept before anything is answered. With ErrConcurrent and a next, that one ends the
// transaction of the client before: once it is complete, Init is to be asked again.
func Init(old *Record, r InitRequest) (next *Record, me Identity, err error) {
	if old == nil {
		next = &Record{
			ID: r.ID, Revision: 1, Producer: r.Fresh, LastProducer: kafka.NoProducer, LastEpoch: -1, Next: kafka.NoProducer,
			TimeoutMs: r.TimeoutMs, ChangedMs: r.NowMs,
		}
		return next, Identity{r.Fresh, 0}, nil
	}
	if e := r.Expected; e != nil && e.Producer != old.Producer && !(e.Producer == old.LastProducer && Exhausted(e.Epoch)) {
		return nil, nobody, ErrFenced
	}
	switch {
	case old.State.Decided():
		return nil, nobody, ErrConcurrent
	case old.State == command.TxnOngoing:
		if r.Expected != nil && r.Expected.Epoch != old.Epoch {
			return nil, nobody, ErrFenced
		}
		n := Fence(old, r.NowMs)
		if r.Expected != nil {
			n.LastEpoch = old.Epoch // the same client: it goes on once its transaction is aborted
		}
		return n, nobody, ErrConcurrent
	}
	n := follow(old, r.NowMs)
	n.State, n.TimeoutMs, n.StartedMs = command.TxnEmpty, r.TimeoutMs, 0
	switch e := r.Expected; {
	case e == nil || e.Epoch == old.Epoch && e.Producer == old.Producer:
		n.LastProducer, n.LastEpoch = old.Producer, -1
		if e != nil {
			n.LastEpoch = old.Epoch
		}
		if n.Epoch++; Exhausted(old.Epoch) {
			n.Producer, n.Epoch = r.Fresh, 0
		}
	case e.Epoch == old.LastEpoch && old.Epoch > lastEpoch:
		n.LastProducer, n.Producer, n.Epoch = old.Producer, r.Fresh, 0
	case e.Epoch == old.LastEpoch: // the answer was lost: it is given again
	default:
		return nil, nobody, ErrFenced
	}
	return n, Identity{n.Producer, n.Epoch}, nil
}

// follow is a record that is to be changed.
func follow(old *Record, nowMs int64) *Record {
	n := *old
	n.Revision++
	n.ChangedMs = max(nowMs, old.ChangedMs)
	n.Partitions, n.Groups = slices.Clone(old.Partitions), slices.Clone(old.Groups)
	return &n
}
