package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/broker/txncoordinator"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/wire"
	"github.com/qanat-io/qanat/wire/kafka"
)

// What the APIs of transactions have in common.

// Transactions are this broker's parts of transactions: its coordinator, and what its partitions ask.
type Transactions struct {
	Coordinator *txncoordinator.Coordinator
	Leader      *txncoordinator.Leader
}

// Versions from which requests speak of things that others do not know.
const (
	produceEnlistVersion       = 12 // the leader enlists the partition (KIP-890)
	produceAbortableVersion    = 11 // TRANSACTION_ABORTABLE is known (KIP-890)
	endTxnBumpVersion          = 5
	txnOffsetsEnlistVersion    = 5
	txnOffsetsAbortableVersion = 4
)

// enlistTimeout bounds the wait for a transaction's coordinator, which may have just moved.
const enlistTimeout = 3 * time.Second

// transacts tells whether this cluster has transactions: not before every broker knows their commands.
func (h *Handler) transacts() error {
	if h.Transactions == nil {
		return errNoTxn
	}
	if err := h.quorum.Image().Level().Knows(command.KindPutTransaction); err != nil {
		if h.quorum.Image().Supported().Knows(command.KindPutTransaction) == nil {
			return refuse(kerr.CoordinatorLoadInProgress, "the cluster is about to serve transactions")
		}
		return err
	}
	return nil
}

// checkTxnID refuses ids that no record can have.
func checkTxnID(id string) error {
	if id == "" || len(id) > maxTxnIDBytes {
		return refuse(kerr.InvalidRequest, "transactional id of %d bytes", len(id))
	}
	return nil
}

const maxTxnIDBytes = 1 << 15

// fencedCode is the code of an error for clients that do not know PRODUCER_FENCED before a version.
func fencedCode(err error, version, since int16) int16 {
	if errors.Is(err, txn.ErrFenced) && version < since {
		return kerr.InvalidProducerEpoch.Code
	}
	return code(err)
}

// enlisted makes sure that a transaction has what it is about to write to, and that this broker's image shows it.
func (h *Handler) enlisted(x *wire.Exchange, id string, r txn.EnlistRequest, verify bool) error {
	ctx, cancel := context.WithTimeout(gone(x), enlistTimeout)
	defer cancel()
	return h.Transactions.Coordinator.EnlistAnywhere(ctx, id, r, verify)
}

// transaction is what a partition asks of the transaction that a batch is of.
func (h *Handler) transaction(id string, version int16, who txn.Identity, p kafka.Partition) partition.Transaction {
	return partition.Transaction{
		Verify:   func() error { return asProduced(h.Transactions.Leader.Verify(id, who, p), version) },
		FromZero: version >= produceEnlistVersion,
	}
}

// asProduced is what a producer is told when its transaction does not take a batch. What passes is told as what every producer
// tries again.
func asProduced(err error, version int16) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, txn.ErrFenced):
		return refuse(kerr.InvalidProducerEpoch, "%v", err)
	case errors.Is(err, txn.ErrUnknownProducer):
		return refuse(kerr.InvalidProducerIDMapping, "%v", err)
	case (errors.Is(err, txn.ErrNotEnlisted) || errors.Is(err, txn.ErrTooLarge)) && version >= produceAbortableVersion:
		return refuse(kerr.TransactionAbortable, "%v", err)
	case errors.Is(err, txn.ErrNotEnlisted):
		return refuse(kerr.InvalidTxnState, "%v", err)
	case errors.Is(err, txn.ErrConcurrent) && version >= produceEnlistVersion:
		return refuse(kerr.ConcurrentTransactions, "%v", err)
	}
	return refuse(kerr.NotEnoughReplicas, "the transaction could not be verified: %v", err)
}

// txnPartition finds a partition that a request names. The broker's own topics are not for transactions of its users, as in Kafka.
func txnPartition(m *image.Image, topic string, index int32) (kafka.Partition, error) {
	if internalTopic(topic) {
		return kafka.Partition{}, refuse(kerr.TopicAuthorizationFailed, "%q belongs to the broker", topic)
	}
	t, ok := m.TopicByName(topic)
	if !ok {
		return kafka.Partition{}, image.ErrUnknownTopic
	}
	p := kafka.Partition{Topic: t.ID, Index: index}
	if _, ok := m.Partition(p); !ok {
		return p, image.ErrUnknownPartition
	}
	return p, nil
}
