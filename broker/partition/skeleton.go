package partition

import (
	"context"
	"errors"

	"github.com/qanat-io/qanat/wire/batch"
	"github.com/qanat-io/qanat/wire/kafka"
)

// Decisions; broker/api turns them into Kafka's codes.
var (
	ErrNotLeader          = errors.New("not leader for the partition")
	ErrFencedEpoch        = errors.New("leader epoch of the request is older than the partition's")
	ErrUnknownEpoch       = errors.New("leader epoch of the request is newer than the partition's")
	ErrOutOfRange         = errors.New("offset out of range")
	ErrOutOfOrderSequence = errors.New("producer sequence out of order")
	ErrProducerFenced     = errors.New("producer epoch is older than the newest seen")
	ErrUnknownProducer    = errors.New("producer id is not known here")
	ErrDuplicateSequence  = errors.New("batch is older than the five remembered")
	ErrCorruptBatch       = errors.New("batch is corrupt")     // CRC, lengths, counts
	ErrUnsupportedMagic   = errors.New("message format v0/v1") // UNSUPPORTED_FOR_MESSAGE_FORMAT
	ErrTooLarge           = errors.New("batch exceeds max.message.bytes")
	ErrInvalidTimestamp   = errors.New("timestamp out of the topic's bounds")
	ErrInvalidRecord      = errors.New("invalid record")
	ErrNoSpace            = errors.New("no space left on the data volume") // KAFKA_STORAGE_ERROR, retriable
	ErrStorage            = errors.New("partition's storage is offline")
	ErrNotEnoughReplicas  = errors.New("fewer in-sync replicas than min.insync.replicas")
	ErrTimeout            = errors.New("not replicated in time")
	ErrPolicy             = errors.New("the topic's policy forbids the operation")
)

// Acks is the producer's wish: 0 none, 1 written, -1 all.
type Acks int16

// Produced is the outcome of one partition's produce.
type Produced struct {
	Err           error
	Base          kafka.Offset
	LogAppendTime int64 // -1 with CreateTime
	LogStart      kafka.Offset
	RecordErrors  []RecordError
}
type RecordError struct {
	Index   int32
	Message string
}

// Waiter hears of a produce's end: slot is what Produce was given. Called once per slot, from any goroutine, also from within Produce; it must not block.
type Waiter interface{ Produced(slot int, r Produced) }

// Partition is safe for concurrent use.
type Partition struct{}

// Produce verifies, stamps in place and appends records (one or more batches; they may be written to until the waiter is called), then calls w when acks is satisfied.
// The append happens before it returns.
func (p *Partition) Produce(records []byte, acks Acks, w Waiter, slot int) { panic("skeleton") }

type ReadRequest struct {
	From             kafka.Offset
	CurrentEpoch     kafka.LeaderEpoch // -1: unchecked
	LastFetchedEpoch kafka.LeaderEpoch // -1; v12+ truncation detection
	MaxBytes         int
	Committed        bool   // read_committed: up to the last stable offset
	Stream           any    // cold readahead's key
	Ready            func() // called once when cold data that was Loading is here
}
type ReadResult struct {
	Run                                 batch.Run // may be empty
	HighWatermark, LastStable, LogStart kafka.Offset
	Loading                             bool // cold: Ready will be called
	Cold                                bool
	Diverging                           *EpochEnd // the follower must truncate
}
type EpochEnd struct {
	Epoch kafka.LeaderEpoch
	End   kafka.Offset
}

// Read never blocks. Errors: ErrOutOfRange, ErrNotLeader, epochs, ErrStorage. Result's watermarks are valid with ErrOutOfRange too.
func (p *Partition) Read(r ReadRequest) (ReadResult, error) { panic("skeleton") }

// Listener hears that a partition may have more to read (high watermark, log start or leadership moved). It must not block.
type Listener interface{ Advanced(p *Partition) }

// Subscribe adds l until cancel is called. O(1).
func (p *Partition) Subscribe(l Listener) (cancel func()) { panic("skeleton") }

func (p *Partition) ID() kafka.Partition            { panic("skeleton") }
func (p *Partition) LeaderEpoch() kafka.LeaderEpoch { panic("skeleton") }
func (p *Partition) HighWatermark() kafka.Offset    { panic("skeleton") }
func (p *Partition) LastStable() kafka.Offset       { panic("skeleton") }
func (p *Partition) LogStart() kafka.Offset         { panic("skeleton") }

// Listed is where a timestamp (or -1 … -6) was found; Offset -1 when nothing is.
type Listed struct {
	Offset    kafka.Offset
	Timestamp int64
	Epoch     kafka.LeaderEpoch
}

// ListOffset answers ListOffsets for a timestamp or -1 latest, -2 earliest, -3 max timestamp, -4 earliest local, -5 latest tiered,
// -6 earliest pending upload. May block on the bucket when MayBlock(timestamp): api then calls it off the connection's goroutine.
func (p *Partition) ListOffset(ctx context.Context, timestamp int64, committed bool) (Listed, error) {
	panic("skeleton")
}

// MayBlock tells whether ListOffset for the timestamp could need the bucket.
func (p *Partition) MayBlock(timestamp int64) bool { panic("skeleton") }

// CheckEpoch compares a request's current leader epoch (-1: unchecked) with the partition's: ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch.
func (p *Partition) CheckEpoch(current kafka.LeaderEpoch) error { panic("skeleton") }

// EpochEnd answers OffsetForLeaderEpoch: the largest known epoch at or below requested and where it ends; {-1,-1} when undefined.
func (p *Partition) EpochEnd(requested kafka.LeaderEpoch) EpochEnd { panic("skeleton") }

// LocalEnd is the log end offset.
func (p *Partition) LocalEnd() kafka.Offset { panic("skeleton") }

// Sizes are the bytes on the local disk and in the bucket.
func (p *Partition) Sizes() (local, remote int64) { panic("skeleton") }

type ProducerInfo struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnStart         kafka.Offset // -1: no open transaction
}

// Producers lists the live producer states.
func (p *Partition) Producers() []ProducerInfo { panic("skeleton") }
