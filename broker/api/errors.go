package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/qanat-io/qanat/broker/consumer"
	"github.com/qanat-io/qanat/broker/coordinator"
	"github.com/qanat-io/qanat/broker/group"
	"github.com/qanat-io/qanat/broker/partition"
	"github.com/qanat-io/qanat/broker/share"
	"github.com/qanat-io/qanat/broker/shareleader"
	"github.com/qanat-io/qanat/broker/streams"
	"github.com/qanat-io/qanat/broker/txn"
	"github.com/qanat-io/qanat/broker/txncoordinator"
	"github.com/qanat-io/qanat/metadata/command"
	"github.com/qanat-io/qanat/metadata/controller"
	"github.com/qanat-io/qanat/metadata/image"
	"github.com/qanat-io/qanat/metadata/quorum"
)

// verdict pairs a decision of a lower package with the code that Kafka gives to it.
type verdict struct {
	err  error
	code *kerr.Error
}

// verdicts is the one place where Go errors become Kafka codes. The first that errors.Is finds wins. A test holds it against
// the sentinels that the packages below declare.
var verdicts = []verdict{
	// Reading and writing a partition.
	{partition.ErrNotLeader, kerr.NotLeaderForPartition},
	{partition.ErrFencedEpoch, kerr.FencedLeaderEpoch},
	{partition.ErrUnknownEpoch, kerr.UnknownLeaderEpoch},
	{partition.ErrOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{partition.ErrProducerFenced, kerr.InvalidProducerEpoch},
	{partition.ErrCorruptBatch, kerr.CorruptMessage},
	{partition.ErrUnsupportedMagic, kerr.InvalidRecord}, // what Kafka 4 answers
	{partition.ErrTooLarge, kerr.MessageTooLarge},
	{partition.ErrInvalidTimestamp, kerr.InvalidTimestamp},
	{partition.ErrInvalidRecord, kerr.InvalidRecord},
	{partition.ErrNoSpace, kerr.KafkaStorageError}, // retriable: space may return
	{partition.ErrStorage, kerr.KafkaStorageError},
	{partition.ErrNotEnoughReplicas, kerr.NotEnoughReplicas},
	{partition.ErrNotEnoughReplicasAfterAppend, kerr.NotEnoughReplicasAfterAppend},
	{partition.ErrUnknownReplica, kerr.ReplicaNotAvailable},
	{partition.ErrTiered, kerr.OffsetMovedToTieredStorage},
	{partition.ErrOffsetNotAvailable, kerr.OffsetNotAvailable},
	{partition.ErrStale, kerr.FencedLeaderEpoch},
	{partition.ErrGone, kerr.OffsetOutOfRange},
	{partition.ErrTimedOut, kerr.RequestTimedOut},
	{partition.ErrTransactional, kerr.InvalidTxnState},
	{partition.ErrInTransaction, kerr.InvalidTxnState},
	{partition.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},

	// Changing the cluster.
	{image.ErrTopicExists, kerr.TopicAlreadyExists},
	{image.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{image.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
	{image.ErrPartitionCount, kerr.InvalidPartitions},
	{image.ErrStaleEpoch, kerr.FencedLeaderEpoch},
	{image.ErrUnknownGroup, kerr.GroupIDNotFound},
	{image.ErrFenced, kerr.StaleBrokerEpoch},
	{image.ErrInvalid, kerr.InvalidRequest},
	{image.ErrForgotten, kerr.RequestTimedOut}, // applied, but how it ended is not known any more
	{image.ErrOtherCluster, kerr.InconsistentClusterID},
	{controller.ErrNotNeeded, kerr.ElectionNotNeeded},
	{controller.ErrPreferredNotAvailable, kerr.PreferredLeaderNotAvailable},
	{controller.ErrNoneEligible, kerr.EligibleLeadersNotAvailable},
	{image.ErrNotCoordinator, kerr.NotCoordinator},
	{image.ErrUnknownBroker, kerr.BrokerIDNotRegistered},
	{image.ErrBrokerInUse, kerr.InvalidRequest},
	{image.ErrLevel, kerr.UnsupportedVersion},
	{image.ErrUnknownTransaction, kerr.InvalidProducerIDMapping},
	{image.ErrTransactionChanged, kerr.ConcurrentTransactions},
	{image.ErrTransactionFenced, kerr.InvalidProducerEpoch},
	{image.ErrTransactionState, kerr.InvalidTxnState},
	{image.ErrGroupChanged, kerr.CoordinatorNotAvailable},
	{image.ErrShareChanged, kerr.FencedStateEpoch},
	{command.ErrTooLarge, kerr.InvalidRequest},
	{quorum.ErrRefused, kerr.InvalidRequest},
	{quorum.ErrNotReady, kerr.NotController}, // admin clients look for the controller again and retry

	// Groups.
	{group.ErrInvalidGroupID, kerr.InvalidGroupID},
	{group.ErrInvalidSessionTimeout, kerr.InvalidSessionTimeout},
	{group.ErrUnknownMember, kerr.UnknownMemberID},
	{group.ErrFencedInstance, kerr.FencedInstanceID},
	{group.ErrIllegalGeneration, kerr.IllegalGeneration},
	{group.ErrRebalanceInProgress, kerr.RebalanceInProgress},
	{group.ErrInconsistentProtocol, kerr.InconsistentGroupProtocol},
	{group.ErrMemberIDRequired, kerr.MemberIDRequired},
	{group.ErrMaxSize, kerr.GroupMaxSizeReached},
	{group.ErrNotAvailable, kerr.CoordinatorNotAvailable},
	{group.ErrNonEmpty, kerr.NonEmptyGroup},
	{group.ErrNotFound, kerr.GroupIDNotFound},
	{group.ErrSubscribed, kerr.GroupSubscribedToTopic},
	{group.ErrTooLarge, kerr.MessageTooLarge},
	{consumer.ErrFencedEpoch, kerr.FencedMemberEpoch},
	{consumer.ErrOldRequest, kerr.UnsupportedVersion},
	{consumer.ErrStaleEpoch, kerr.StaleMemberEpoch},
	{consumer.ErrUnreleasedInstance, kerr.UnreleasedInstanceID},
	{consumer.ErrUnsupportedAssignor, kerr.UnsupportedAssignor},
	{consumer.ErrInvalidRegex, kerr.InvalidRegularExpression},
	{consumer.ErrInvalidRequest, kerr.InvalidRequest},
	{coordinator.ErrLoading, kerr.CoordinatorLoadInProgress},
	{coordinator.ErrStopped, kerr.CoordinatorNotAvailable},
	{coordinator.ErrNotCoordinator, kerr.NotCoordinator},
	{coordinator.ErrCutOff, kerr.NotCoordinator},

	// Share groups.
	{share.ErrInvalidRequest, kerr.InvalidRequest},
	{share.ErrFencedEpoch, kerr.FencedMemberEpoch},
	{share.ErrRecordState, kerr.InvalidRecordState},
	{share.ErrSessionNotFound, kerr.ShareSessionNotFound},
	{share.ErrSessionEpoch, kerr.InvalidShareSessionEpoch},
	{share.ErrSessionLimit, kerr.ShareSessionLimitReached},
	{shareleader.ErrStopped, kerr.NotLeaderForPartition},
	{shareleader.ErrNotAvailable, kerr.CoordinatorNotAvailable},

	// Streams groups.
	{streams.ErrInvalidRequest, kerr.InvalidRequest},
	{streams.ErrFencedEpoch, kerr.FencedMemberEpoch},
	{streams.ErrStaleEpoch, kerr.StaleMemberEpoch},
	{streams.ErrOldRequest, kerr.UnsupportedVersion},
	{streams.ErrInvalidTopology, kerr.StreamsInvalidTopology},
	{streams.ErrInvalidTopologyEpoch, kerr.StreamsInvalidTopologyEpoch},

	// Transactions.
	{txn.ErrUnknownProducer, kerr.InvalidProducerIDMapping},
	{txn.ErrFenced, kerr.ProducerFenced},
	{txn.ErrConcurrent, kerr.ConcurrentTransactions},
	{txn.ErrState, kerr.InvalidTxnState},
	{txn.ErrNotEnlisted, kerr.TransactionAbortable},
	{txn.ErrTooLarge, kerr.InvalidRequest},
	{txncoordinator.ErrLoading, kerr.CoordinatorLoadInProgress},
	{txncoordinator.ErrNotAvailable, kerr.CoordinatorNotAvailable},
	{txncoordinator.ErrNotCoordinator, kerr.NotCoordinator},
	{txncoordinator.ErrTimeout, kerr.InvalidTransactionTimeout},

	// Waiting.
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
}

// refusal is a decision of this package: a code and why, for a person.
type refusal struct {
	code    *kerr.Error
	message string
}

func (r *refusal) Error() string { return r.message }

// refuse declines a request, or a part of one, with a code and a reason.
func refuse(code *kerr.Error, format string, args ...any) error {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// code is the Kafka error code for err, 0 for nil. An error that nobody decided on is UNKNOWN_SERVER_ERROR, except where a
// caller knows better (see produceCode).
func code(err error) int16 {
	if err == nil {
		return 0
	}
	if c := known(err); c != nil {
		return c.Code
	}
	return kerr.UnknownServerError.Code
}

// known finds the code of an error that somebody decided on, nil for others.
func known(err error) *kerr.Error {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	for i := range verdicts {
		if errors.Is(err, verdicts[i].err) {
			return verdicts[i].code
		}
	}
	return nil
}

// message is what a response's ErrorMessage field says: nil where there is no error.
func message(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	return &s
}
