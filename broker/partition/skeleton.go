package partition

import (
	"errors"
	"time"

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

// ListOffset answers ListOffsets for a timestamp or -1 … -6. May block on the bucket (ctx in the real signature): api calls it off the connection's goroutine when Remote is true.
type Listed struct {
	Offset    kafka.Offset
	Timestamp int64
	Epoch     kafka.LeaderEpoch
}

type ProducerInfo struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnStart         kafka.Offset
}

var _ time.Time
