package partition

import (
	"errors"

	"github.com/qanat-io/qanat/broker/producer"
)

// Decisions; broker/api turns them into Kafka's codes.
var (
	ErrNotLeader          = errors.New("not leader for the partition")
	ErrFencedEpoch        = errors.New("leader epoch of the request is older than the partition's")
	ErrUnknownEpoch       = errors.New("leader epoch of the request is newer than the partition's")
	ErrOutOfRange         = errors.New("offset out of range")
	ErrOutOfOrderSequence = producer.ErrOutOfOrder
	ErrProducerFenced     = producer.ErrFenced
	ErrCorruptBatch       = errors.New("batch is corrupt")
	ErrUnsupportedMagic   = errors.New("unsupported message format")
	ErrTooLarge           = errors.New("batch exceeds the topic's max.message.bytes")
	ErrInvalidTimestamp   = errors.New("timestamp is outside of the topic's bounds")
	ErrInvalidRecord      = errors.New("invalid record")
	ErrNoSpace            = errors.New("no space left on the data volume: produce again when retention or an operator has made room")
	ErrStorage            = errors.New("partition's storage is offline")
	ErrNotEnoughReplicas  = errors.New("fewer in-sync replicas than min.insync.replicas")

	ErrNotEnoughReplicasAfterAppend = errors.New("written, but there are fewer in-sync replicas than min.insync.replicas by now")

	ErrTiered             = errors.New("the offset is in the bucket, and no longer on the leader's disk")
	ErrStale              = errors.New("the answer speaks of a log that has changed since it was asked for")
	ErrGone               = errors.New("the offset is no longer on the local disk")
	ErrOffsetNotAvailable = errors.New("the new leader does not know yet how far its predecessor's records were acknowledged")
	ErrTimedOut           = errors.New("not durable on all in-sync replicas within the request's timeout: it may be so later")
	ErrUnknownReplica     = errors.New("the broker that fetches is no replica of the partition, or an earlier registration of one")

	ErrTransactional     = errors.New("the batch is of a transaction, the request names none")
	ErrInTransaction     = producer.ErrInTransaction
	ErrCoordinatorFenced = producer.ErrCoordinatorFenced
)
