package txn

import (
	"slices"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/wire/kafka"
)

// EnlistRequest says what a transaction is about to write to.
type EnlistRequest struct {
	Identity
	Partitions []kafka.Partition
	Groups     []string
	// Version is the protocol that the client speaks; see command.Transaction.
	Version uint8
	NowMs   int64
}

// Enlist adds to the transaction under way, or begins one. No next: the record has it all.
func Enlist(old *Record, r EnlistRequest) (next *Record, err error) {
	if err := own(old, r.Identity); err != nil {
		return nil, err
	}
	if old.State.Decided() {
		return nil, ErrConcurrent
	}
	ongoing := old.State == command.TxnOngoing
	n := follow(old, r.NowMs)
	if !ongoing {
		n.State, n.StartedMs, n.Partitions, n.Groups = command.TxnOngoing, n.ChangedMs, nil, nil
	}
	n.Version = r.Version
	grown := !ongoing
	for _, p := range r.Partitions {
		if i, had := slices.BinarySearchFunc(n.Partitions, p, kafka.Partition.Compare); !had {
			n.Partitions, grown = slices.Insert(n.Partitions, i, p), true
		}
	}
	for _, g := range r.Groups {
		if i, had := slices.BinarySearch(n.Groups, g); !had {
			n.Groups, grown = slices.Insert(n.Groups, i, g), true
		}
	}
	if !grown {
		return nil, nil
	}
	if bytes(n) > maxBytes {
		return nil, ErrTooLarge
	}
	return n, nil
}

// maxBytes bounds what a transaction has written to. Every change of a record is the whole record, on every broker: its end, which is a few bytes
// longer, must fit into a command too, and who adds to a large one little by little must not make the quorum write gigabytes. It is as much as
// Kafka's log of transactions takes in one record by default: some 37,000 partitions.
const maxBytes = 1 << 20

// bytes is what a record takes as a command, nearly, but for what every record has.
func bytes(r *Record) int {
	const partition, group = 28, 5
	n := len(r.ID) + partition*len(r.Partitions)
	for _, g := range r.Groups {
		n += group + len(g)
	}
	return n
}

// own checks that a request comes from who has the transactional id.
func own(r *Record, who Identity) error {
	switch {
	case r != nil && r.Next != kafka.NoProducer && who == Identity{r.Next, 0}:
		return ErrConcurrent // it was told already; the record follows when the markers are written
	case r == nil || r.Producer != who.Producer:
		return ErrUnknownProducer
	case r.Epoch != who.Epoch:
		return ErrFenced
	}
	return nil
}

// Verify tells whether a transaction under way has a partition, so that a batch of it may be written there.
func Verify(r *Record, who Identity, p kafka.Partition) error {
	if err := own(r, who); err != nil {
		return err
	}
	switch {
	case r.State.Decided():
		return ErrConcurrent
	case r.State != command.TxnOngoing || !Has(r, p):
		return ErrNotEnlisted
	}
	return nil
}

// VerifyMarker tells whether a marker of the transaction is still to be written.
func VerifyMarker(r *Record, who Identity, commit bool) error {
	if err := own(r, who); err != nil {
		return err
	}
	if want := command.TxnPrepareCommit; commit && r.State != want {
		return ErrState
	}
	if want := command.TxnPrepareAbort; !commit && r.State != want {
		return ErrState
	}
	return nil
}

// Has tells whether the record lists a partition.
func Has(r *Record, p kafka.Partition) bool {
	_, had := slices.BinarySearchFunc(r.Partitions, p, kafka.Partition.Compare)
	return had
}
