package image

import (
	"errors"
	"fmt"

	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/tier/manifest"
)

// Refusals that Apply decides; returned to the proposer as its result. Segments
// are refused with manifest's errors: ErrStaleEpoch, ErrNotContiguous, ErrInvalid, ErrSpilled, ErrConflict.
var (
	ErrTopicExists      = errors.New("topic already exists")
	ErrUnknownTopic     = errors.New("no such topic")
	ErrUnknownPartition = errors.New("no such partition")
	ErrPartitionCount   = errors.New("partition count changed meanwhile")
	ErrStaleEpoch       = errors.New("epoch is not current")
	ErrUnknownGroup     = errors.New("no such group")
	ErrFenced           = errors.New("broker epoch is not current")
	ErrUnknownBroker    = errors.New("no such broker")
	ErrBrokerInUse      = errors.New("broker cannot be forgotten")
	ErrNotCoordinator   = errors.New("group is coordinated elsewhere by now")
	ErrLevel            = command.ErrLevel

	ErrUnknownTransaction = errors.New("no such transactional id, or another producer has it")
	ErrTransactionChanged = errors.New("transaction has changed meanwhile")
	ErrTransactionFenced  = errors.New("another epoch of the producer has the transactional id")
	ErrTransactionState   = errors.New("transaction is not in the state that this needs")
	ErrGroupChanged       = errors.New("group has changed since this was decided")
	ErrShareChanged       = errors.New("share of a partition has changed since this was decided")

	// ErrInvalid says that a command contradicts itself; whoever built it did not check.
	ErrInvalid = errors.New("invalid metadata command")

	// ErrOtherCluster says that the log belongs to another cluster.
	ErrOtherCluster = errors.New("metadata belongs to another cluster")

	// ErrForgotten says that a request was applied before, so long ago that its outcome is no longer known.
	ErrForgotten = errors.New("request was applied before, its outcome is no longer known")
)

// Refusal is a refused command: a decision (one of the sentinels, which it
// wraps) and the particulars, in words for whoever reads the error.
type Refusal struct {
	code   refusalCode
	detail string
}

type refusalCode uint8

const codeForgotten refusalCode = 10

// refusals numbers the decisions. Numbers are kept in snapshots: they are never used again.
var refusals = map[refusalCode]error{
	1:             ErrTopicExists,
	2:             ErrUnknownTopic,
	3:             ErrUnknownPartition,
	4:             ErrPartitionCount,
	5:             ErrStaleEpoch,
	6:             ErrUnknownGroup,
	7:             ErrFenced,
	8:             ErrInvalid,
	9:             ErrOtherCluster,
	codeForgotten: ErrForgotten,
	11:            ErrUnknownBroker,
	12:            ErrBrokerInUse,
	13:            ErrNotCoordinator,
	14:            ErrLevel,
	15:            ErrGroupChanged,
	16:            ErrUnknownTransaction,
	17:            ErrTransactionChanged,
	18:            ErrTransactionFenced,
	19:            ErrTransactionState,
	20:            ErrShareChanged,
	32:            manifest.ErrStaleEpoch,
	33:            manifest.ErrNotContiguous,
	34:            manifest.ErrInvalid,
	35:            manifest.ErrSpilled,
	36:            manifest.ErrConflict,
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.detail == "" {
		return refusals[r.code].Error()
	}
	return r.detail
}

// Unwrap is the decision.
func (r *Refusal) Unwrap() error { return refusals[r.code] }

// refuse makes a refusal of a decision and particulars.
func refuse(decision error, format string, args ...any) *Refusal {
	return asRefusal(fmt.Errorf("%w: "+format, append([]any{decision}, args...)...))
}

// asRefusal finds the decision that err wraps. An error that wraps none is a
// broken invariant: Apply decides only what is in the table.
func asRefusal(err error) *Refusal {
	for code := refusalCode(1); code < 64; code++ {
		if decision, ok := refusals[code]; ok && errors.Is(err, decision) {
			return &Refusal{code: code, detail: err.Error()}
		}
	}
	panic(fmt.Sprintf("image: refusal without a decision: %v", err))
}
